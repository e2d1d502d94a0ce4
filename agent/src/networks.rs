//! Keeping the host's networks as its VMs need them: one pass at a time, for all VMs together.

use std::collections::BTreeSet;
use std::time::Duration;

use podzol_hostnet::{Converged, Desired, Links, MtuRule, Segment, converge};
use podzol_vocab::InterfaceName;
use tokio::sync::Mutex;

/// How long, and how often, to wait for the tap of a VM that has just ended to go.
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

    /// Brings the links to what the segments say. `segments` is asked when this pass's turn has come.
    pub(crate) async fn converge(
        &self,
        links: &impl Links,
        segments: impl Fn() -> BTreeSet<Segment>,
    ) -> Result<Converged, String> {
        let _turn = self.one_pass_at_a_time.lock().await;
        let (mut left, pause) = TAP_GOES;
        loop {
            let desired = Desired { trunk: self.trunk.clone(), mtu: MtuRule::Trunk, segments: segments() };
            let converged = converge(links, &desired).await.map_err(|error| error.to_string())?;
            for failure in &converged.failures {
                tracing::error!(error = failure as &dyn std::error::Error, "a change of the network failed");
            }
            if converged.in_use.is_empty() || left == 0 {
                return Ok(converged);
            }
            left -= 1;
            tokio::time::sleep(pause).await;
        }
    }

    /// As [`Networks::converge`], and an error if one of `needed` cannot be had.
    pub(crate) async fn need(
        &self,
        links: &impl Links,
        needed: &BTreeSet<Segment>,
        segments: impl Fn() -> BTreeSet<Segment>,
    ) -> Result<(), String> {
        let converged = self.converge(links, segments).await?;
        if let Some(refused) = converged.refused.iter().find(|refused| needed.contains(&refused.segment)) {
            return Err(refused.to_string());
        }
        let names: BTreeSet<InterfaceName> = needed
            .iter()
            .flat_map(|segment| {
                [podzol_hostnet::bridge_name(segment.vlan), podzol_hostnet::vlan_name(segment.vlan)]
            })
            .collect();
        match converged.failures.iter().find(|failure| names.contains(failure.change.name())) {
            Some(failure) => Err(format!("{failure}: {}", failure.source)),
            None => Ok(()),
        }
    }
}
