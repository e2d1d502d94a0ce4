//! Reporting: on every change, and every few seconds.
//!
//! A report is made in one place, whether it is sent or asked for. What cannot be seen just now (the own address, the
//! links) is told as it was seen last: the management service acts on a report.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use podzol_agent_api::report::{
    HostReport, HostReportPost, HypervisorReport, LinkReport, MountReport, VxlanReport,
};
use podzol_hostnet::{Interface, Links};
use podzol_rpc::daemon::address_towards;
use podzol_rpc::{Client, PeerId, Refusals};
use podzol_vocab::{HostId, Tag, TrafficType};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Traffic};
use crate::inventory;
use crate::mounts::Mounts;
use crate::platform::Platform;
use crate::traffic;
use crate::vms::Vms;
use crate::watch::LinkChanges;

/// Changes that come together are told together.
const GATHER: Duration = Duration::from_millis(30);

/// How long the management service may take to answer a report.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long the management service's name may take to resolve.
const RESOLVE: Duration = Duration::from_secs(3);

/// Makes this host's reports.
pub(crate) struct Reporter<P: Platform> {
    vms: Vms<P>,
    config: Config,
    port: u16,
    refusals: Refusals,
    last_seen: Mutex<LastSeen>,
}

/// What was seen when it could be seen last.
#[derive(Debug, Default)]
struct LastSeen {
    address: Option<IpAddr>,
    links: LinksSeen,
}

/// What is told of links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct LinksSeen {
    links: Vec<LinkReport>,
    vxlans: Vec<VxlanReport>,
    traffic: BTreeSet<TrafficType>,
}

impl LastSeen {
    fn address(&mut self, now: Option<IpAddr>) -> Option<IpAddr> {
        self.address = now.or(self.address);
        self.address
    }

    fn links(&mut self, now: Result<Vec<Interface>, podzol_hostnet::Error>, config: &Traffic) -> LinksSeen {
        match now {
            Ok(interfaces) => {
                self.links = LinksSeen {
                    traffic: traffic::present(config, interfaces.iter().map(|interface| &interface.link)),
                    vxlans: interfaces.iter().filter_map(vxlan).collect(),
                    links: interfaces.into_iter().map(link).collect(),
                };
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "cannot list the links; reporting them as they were");
            }
        }
        self.links.clone()
    }
}

impl<P: Platform> Reporter<P> {
    /// A reporter for the agent that listens on this port.
    pub(crate) fn new(vms: Vms<P>, config: Config, port: u16, refusals: Refusals) -> Arc<Self> {
        Arc::new(Self { vms, config, port, refusals, last_seen: Mutex::default() })
    }

    /// All that is worth knowing of this host, now. Nothing until the hypervisor has answered, as a report would say that
    /// no VM is here; nor while the own address is not known.
    pub(crate) async fn make(&self) -> Option<HostReport> {
        let facts = self.vms.hypervisor()?;
        let address = self.address().await?;
        let platform = self.vms.platform();
        let interfaces = platform.links().interfaces().await;
        let LinksSeen { links, vxlans, traffic } = self.last_seen().links(interfaces, &self.config.traffic);
        let tunnel_address = self.config.tunnel_address.or(Some(address));
        self.vms.set_tunnel(tunnel_address);
        let mounts = platform.mounts().mounted().into_iter();
        let inventory = inventory::read();
        let kvm_problem = facts.kvm_problem.map(|problem| format!("KVM cannot be used: {problem}"));
        Some(HostReport {
            api_address: SocketAddr::new(address, self.port).to_string(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            boot_id: inventory::boot_id(),
            hypervisor: HypervisorReport {
                version: facts.version,
                accelerator: facts.accelerator.filter(|_| facts.trouble.is_none()),
                problem: facts.trouble.or(kvm_problem),
            },
            cpus: inventory.cpus,
            memory_mib: inventory.memory_mib.saturating_sub(self.config.memory_reserved_mib),
            memory_used_mib: inventory.memory_used_mib,
            load: inventory.load,
            vms: self.vms.list(),
            links,
            mounts: mounts
                .map(|(source, target)| MountReport { source, target: target.display().to_string() })
                .collect(),
            tunnel_address,
            vxlans,
            traffic,
            has_ipv6: true,
            refusals: vec![],
        })
    }

    /// Sends reports until stopped.
    pub(crate) async fn run(self: Arc<Self>, client: Client, host: HostId, stop: CancellationToken) {
        stop.run_until_cancelled(self.send_all(client, host)).await;
    }

    async fn send_all(&self, client: Client, host: HostId) {
        let every = Duration::from_secs(self.config.report_secs);
        let mut links = LinkChanges::default();
        let mut heard = true;
        loop {
            if let Some(mut report) = self.make().await {
                report.refusals = self.refusals.take();
                let answer =
                    client.call::<HostReportPost>(PeerId::Management, &host, &report, DEADLINE).await;
                match &answer {
                    Ok(()) if !heard => tracing::info!("the management service hears reports again"),
                    Err(error) if heard => {
                        let error = error as &dyn std::error::Error;
                        tracing::warn!(error, "the management service does not hear");
                    }
                    _ => {}
                }
                heard = answer.is_ok();
                if !heard {
                    self.refusals.put_back(report.refusals);
                }
            }
            tokio::select! {
                () = self.vms.news() => {}
                () = links.next(self.vms.platform().links()) => {}
                () = tokio::time::sleep(every) => {}
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Where the management service reaches this agent: as configured, or the address from which this host reaches it.
    async fn address(&self) -> Option<IpAddr> {
        if self.config.address.is_some() {
            return self.config.address;
        }
        let now =
            tokio::time::timeout(RESOLVE, address_towards(&self.config.management)).await.ok().flatten();
        let known = self.last_seen().address(now);
        if known.is_none() {
            tracing::warn!(
                management = self.config.management,
                "no report: there is no way to the management service"
            );
        }
        known
    }

    fn last_seen(&self) -> MutexGuard<'_, LastSeen> {
        self.last_seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is told of a link that is a VXLAN interface of ours.
pub(crate) fn vxlan(interface: &Interface) -> Option<VxlanReport> {
    let link = &interface.link;
    let (network, id) = (link.network()?, link.tag()?.vxlan()?);
    Some(VxlanReport { network, id, peers: link.peers()?.clone() })
}

fn link(interface: Interface) -> LinkReport {
    let link = interface.link;
    LinkReport {
        kind: link.kind.as_str().map(str::to_owned),
        vlan: link.tag().and_then(Tag::vlan),
        up: link.up,
        mtu: link.mtu,
        ours: link.is_ours(),
        name: link.name,
        master: interface.master,
        speed_mbps: interface.speed_mbps,
        addresses: interface
            .addresses
            .iter()
            .map(|(address, length)| format!("{address}/{length}"))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_found_out_is_the_one_that_was_last() {
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut seen = LastSeen::default();
        let told = [None, Some(one), None, Some(other), None].map(|now| seen.address(now));
        assert_eq!(told, [None, Some(one), Some(one), Some(other), Some(other)]);
    }

    #[test]
    fn links_that_cannot_be_listed_are_as_they_were() {
        let links = vec![LinkReport {
            name: "eth1".parse().unwrap(),
            kind: None,
            vlan: None,
            master: None,
            up: true,
            speed_mbps: None,
            mtu: 1500,
            addresses: vec![],
            ours: false,
        }];
        let before = LinksSeen { links, vxlans: vec![], traffic: [TrafficType::Public].into() };
        let mut seen = LastSeen { links: before.clone(), ..LastSeen::default() };
        let failed = podzol_hostnet::Error::Observe(std::io::ErrorKind::Other.into());
        assert_eq!(seen.links(Err(failed), &Traffic::default()), before);
    }

    #[tokio::test]
    async fn the_hosts_own_networks_are_told_while_their_bridges_are_there() {
        let host = podzol_hostnet::SimulatedLinks::with_trunk("eth1".parse().unwrap());
        let bridge: podzol_vocab::InterfaceName = "br-public".parse().unwrap();
        let config =
            Traffic { management: Some("br-management".parse().unwrap()), public: Some(bridge.clone()) };
        let mut seen = LastSeen::default();
        let mut told = async || seen.links(host.interfaces().await, &config).traffic;
        assert_eq!(told().await, BTreeSet::new());
        host.add_bridge(bridge.clone());
        assert_eq!(told().await, [TrafficType::Public].into());
        host.remove(&bridge);
        assert_eq!(told().await, BTreeSet::new());
    }
}
