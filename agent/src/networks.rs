//! Keeping the host's networks as its VMs need them: one pass at a time, for all VMs together.

use std::collections::BTreeSet;
use std::time::Duration;

use podzol_hostnet::{Converged, Desired, Error, Links, MtuRule, Segment, bridge_name, converge, vlan_name};
use podzol_vocab::InterfaceName;
use tokio::sync::Mutex;

/// How often, and how long each time, to wait for the tap of a VM that has just ended to go.
const TAP_GOES: (u32, Duration) = (20, Duration::from_millis(100));

/// The networks of this host.
#[derive(Debug)]
pub(crate) struct Networks {
    trunk: InterfaceName,
    one_pass_at_a_time: Mutex<()>,
}

impl Networks {
    pub(crate) fn new(trunk: InterfaceName) -> Self {
        Self { trunk, one_pass_at_a_time: Mutex::default() }
    }

    /// Brings the links to what the segments say, in one pass. `segments` is asked when this pass's turn has come.
    pub(crate) async fn converge(
        &self,
        links: &impl Links,
        segments: impl Fn() -> BTreeSet<Segment>,
    ) -> Result<Converged, Error> {
        let _turn = self.one_pass_at_a_time.lock().await;
        let desired = Desired { trunk: self.trunk.clone(), mtu: MtuRule::Trunk, segments: segments() };
        let converged = converge(links, &desired).await?;
        for failure in &converged.failures {
            tracing::error!(error = failure as &dyn std::error::Error, "a change of the network failed");
        }
        Ok(converged)
    }

    /// As [`Networks::converge`], and an error if one of `needed` cannot be had.
    pub(crate) async fn need(
        &self,
        links: &impl Links,
        needed: &BTreeSet<Segment>,
        segments: impl Fn() -> BTreeSet<Segment>,
    ) -> anyhow::Result<()> {
        let converged = self.converge(links, segments).await?;
        if let Some(refused) = converged.refused.into_iter().find(|refused| needed.contains(&refused.segment))
        {
            return Err(refused.into());
        }
        let names: BTreeSet<InterfaceName> =
            needed.iter().flat_map(|segment| [bridge_name(segment.vlan), vlan_name(segment.vlan)]).collect();
        match converged.failures.into_iter().find(|failure| names.contains(failure.change.name())) {
            Some(failure) => Err(failure.into()),
            None => Ok(()),
        }
    }

    /// As [`Networks::converge`], for a VM that has just ended: its tap may be in one of the bridges that it `left` for
    /// another moment. A bridge that stays in use longer goes with a later pass.
    pub(crate) async fn leave(
        &self,
        links: &impl Links,
        left: &BTreeSet<Segment>,
        segments: impl Fn() -> BTreeSet<Segment>,
    ) -> Result<(), Error> {
        let bridges: BTreeSet<InterfaceName> = left.iter().map(|segment| bridge_name(segment.vlan)).collect();
        let (times, pause) = TAP_GOES;
        for _ in 0..times {
            let converged = self.converge(links, &segments).await?;
            if !converged.in_use.iter().any(|kept| bridges.contains(&kept.link)) {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }
}
