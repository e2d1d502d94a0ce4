//! Keeping the host's networks as its VMs need them: one pass at a time, for all VMs together.
//!
//! Which other hosts carry a network on a VXLAN is no part of a VM's description, as it changes while the VM stays as it is.
//! The management service tells it on its own; the kernel keeps it, with its number in the interface's alias, so that an
//! agent which starts anew knows it again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use podzol_hostnet::{
    Converged, Desired, Error, Interface, Links, MtuRule, Peers, Segment, Tunnel, bridge_name, converge,
    uplink_name,
};
use podzol_vocab::{Generation, InterfaceName, NetworkId, Tag};
use tokio::sync::watch;

use crate::config::Traffic;
use crate::traffic;

/// How often, and how long each time, to wait for the tap of a VM that has just ended to go.
const TAP_GOES: (u32, Duration) = (20, Duration::from_millis(100));

/// How long to wait for the address where tunnels begin: an agent that has just begun finds it out within moments.
const TUNNEL_IS_KNOWN: Duration = Duration::from_secs(10);

/// What the VMs of this host need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) segments: BTreeSet<Segment>,
    /// The ports that are plugged in, by whoever started their VMs, and must stay so.
    pub(crate) ports: BTreeMap<InterfaceName, Tag>,
}

/// The networks of this host.
#[derive(Debug)]
pub(crate) struct Networks {
    trunk: InterfaceName,
    traffic: Traffic,
    /// The address where tunnels begin, once it is known.
    tunnel: watch::Sender<Option<IpAddr>>,
    /// The peers of networks on VXLANs, as they were told; nothing before the kernel was asked what an agent before this
    /// one was told.
    told: Mutex<Option<BTreeMap<NetworkId, Peers>>>,
    one_pass_at_a_time: tokio::sync::Mutex<()>,
}

impl Networks {
    pub(crate) fn new(trunk: InterfaceName, traffic: Traffic) -> Self {
        Self {
            trunk,
            traffic,
            tunnel: watch::Sender::new(None),
            told: Mutex::default(),
            one_pass_at_a_time: tokio::sync::Mutex::default(),
        }
    }

    /// Notes the address where tunnels begin.
    pub(crate) fn set_tunnel(&self, address: Option<IpAddr>) {
        self.tunnel.send_replace(address);
    }

    /// Notes the peers of a network, unless they are older than those that were told last: then the error is which those
    /// were.
    pub(crate) async fn tell_peers(
        &self,
        links: &impl Links,
        network: NetworkId,
        peers: Peers,
    ) -> Result<Result<(), Generation>, Error> {
        let _turn = self.one_pass_at_a_time.lock().await;
        self.recall(links).await?;
        let mut told = self.told();
        let told = told.get_or_insert_default();
        match told.get(&network) {
            Some(in_force) if in_force.generation > peers.generation => Ok(Err(in_force.generation)),
            _ => {
                told.insert(network, peers);
                Ok(Ok(()))
            }
        }
    }

    /// Asks the kernel what an agent before this one was told.
    async fn recall(&self, links: &impl Links) -> Result<(), Error> {
        if self.told().is_some() {
            return Ok(());
        }
        let observed = links.observe().await?;
        let peers = observed.iter().filter(|link| link.is_ours()).filter_map(|link| {
            let peers = Peers { generation: link.peers_generation()?, addresses: link.peers()?.clone() };
            Some((link.network()?, peers))
        });
        *self.told() = Some(peers.collect());
        Ok(())
    }

    fn told(&self) -> MutexGuard<'_, Option<BTreeMap<NetworkId, Peers>>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What should exist for what is wanted.
    async fn desired(&self, links: &impl Links, wanted: Wanted) -> Result<Desired, Error> {
        let mut desired = Desired {
            trunk: self.trunk.clone(),
            mtu: MtuRule::Trunk,
            tunnel: None,
            peers: BTreeMap::new(),
            segments: wanted.segments,
            traffic: self.traffic.bridges().map(|(traffic, name)| (traffic, name.clone())).collect(),
            ports: wanted.ports,
        };
        if desired.segments.iter().all(|segment| segment.tag.vxlan().is_none()) {
            return Ok(desired);
        }
        self.recall(links).await?;
        let local = *self.tunnel.borrow();
        if let Some(local) = local {
            let interfaces = links.interfaces().await?;
            let has =
                |interface: &&Interface| interface.addresses.iter().any(|(address, _)| *address == local);
            let mtu = interfaces.iter().find(has).map(|interface| interface.link.mtu);
            desired.tunnel = Some(Tunnel { local, mtu });
            desired.peers = self.told().clone().unwrap_or_default();
            // A tunnel to oneself would bring everything back.
            for peers in desired.peers.values_mut() {
                peers.addresses.remove(&local);
            }
        }
        Ok(desired)
    }

    /// Forgets the peers of networks that are not here any more.
    fn forget(&self, left: &BTreeSet<Segment>, segments: &BTreeSet<Segment>) {
        let is_gone = |network: &NetworkId| {
            let is_of = |segment: &Segment| segment.network == *network;
            left.iter().any(is_of) && !segments.iter().any(is_of)
        };
        if let Some(told) = self.told().as_mut() {
            told.retain(|network, _| !is_gone(network));
        }
    }

    /// The bridges into which interfaces with these tags are plugged, in their order: those of segments, which may be still
    /// to be made, and the operator's, which must be there.
    pub(crate) async fn bridges(
        &self,
        links: &impl Links,
        tags: &[Tag],
    ) -> anyhow::Result<Vec<InterfaceName>> {
        let any_traffic = tags.iter().any(|tag| tag.traffic().is_some());
        let observed = if any_traffic { links.observe().await? } else { Vec::new() };
        let bridge = |tag: &Tag| match tag.traffic() {
            Some(traffic) => Ok(traffic::bridge(&self.traffic, traffic, &observed)?),
            None => Ok(bridge_name(*tag)),
        };
        tags.iter().map(bridge).collect()
    }

    /// The operator's bridge into which an interface with this tag is plugged, if it is one on a network of the host's own.
    pub(crate) fn operators_bridge(&self, tag: Tag) -> Option<&InterfaceName> {
        tag.traffic().and_then(|traffic| self.traffic.bridge(traffic))
    }

    /// Brings the links to what is wanted, in one pass. `wanted` is asked when this pass's turn has come.
    pub(crate) async fn converge(
        &self,
        links: &impl Links,
        wanted: impl Fn() -> Wanted,
    ) -> Result<Converged, Error> {
        let _turn = self.one_pass_at_a_time.lock().await;
        let desired = self.desired(links, wanted()).await?;
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
        wanted: impl Fn() -> Wanted,
    ) -> anyhow::Result<()> {
        if needed.iter().any(|segment| segment.tag.vxlan().is_some()) {
            let mut tunnel = self.tunnel.subscribe();
            let known = tokio::time::timeout(TUNNEL_IS_KNOWN, tunnel.wait_for(Option::is_some)).await;
            // If it is not, the segment's refusal says so.
            drop(known);
        }
        let converged = self.converge(links, wanted).await?;
        if let Some(refused) = converged.refused.into_iter().find(|refused| needed.contains(&refused.segment))
        {
            return Err(refused.into());
        }
        let names: BTreeSet<InterfaceName> =
            needed.iter().flat_map(|segment| [bridge_name(segment.tag), uplink_name(segment.tag)]).collect();
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
        wanted: impl Fn() -> Wanted,
    ) -> Result<(), Error> {
        self.forget(left, &wanted().segments);
        let bridges: BTreeSet<InterfaceName> = left.iter().map(|segment| bridge_name(segment.tag)).collect();
        let (times, pause) = TAP_GOES;
        for _ in 0..times {
            let converged = self.converge(links, &wanted).await?;
            if !converged.in_use.iter().any(|kept| bridges.contains(&kept.link)) {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }
}
