//! What there is on this host of all that Podzol makes here, looked up and not remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures_util::{StreamExt, stream};
use podzol_agent_api::host::{Difference, DomainFound, HostInventory};
use podzol_agent_api::vm::NicPlan;
use podzol_hostnet::{Interface, Links, bridge_name, uplink_name};
use podzol_hypervisor::{Devices, DomainState, Found, Hypervisor, Record, port_name};
use podzol_vocab::{InterfaceName, MacAddr, Tag};

use super::Vms;
use crate::guards::guarded;
use crate::mounts::Mounts;
use crate::platform::Platform;

/// How many VMs are asked for their devices at a time.
const AT_ONCE: usize = 4;

/// How long a VM's hypervisor may take to say what devices it has.
const DEVICES: Duration = Duration::from_secs(10);

impl<P: Platform> Vms<P> {
    /// Looks all of it up.
    pub(crate) async fn inventory(&self) -> anyhow::Result<HostInventory> {
        let platform = self.platform();
        let all = platform.hypervisor().list().await?;
        let plans = all.iter().flat_map(|found| &found.record).map(|record| &record.plan);
        let on_traffic: BTreeMap<_, _> = plans.flat_map(|plan| self.on_traffic(&plan.nics)).collect();
        // Not more than have a place in the hypervisor's, so that one that hangs is not waited for by others.
        let looks = stream::iter(all).map(|found| self.domain(found)).buffer_unordered(AT_ONCE);
        let mut domains: Vec<DomainFound> = looks.collect().await;
        domains.sort_by_key(|domain| domain.vm);
        let links = platform.links().interfaces().await.context("cannot list the links")?;
        let ours: BTreeSet<InterfaceName> =
            links.iter().filter(|link| link.link.is_ours()).map(|link| link.link.name.clone()).collect();
        let tags = links.iter().filter(|link| link.link.is_ours()).filter_map(|link| link.link.tag());
        let is_whole = |tag: &Tag| ours.contains(&bridge_name(*tag)) && ours.contains(&uplink_name(*tag));
        let networks: Vec<Tag> = tags.filter(is_whole).collect();
        let of_networks: BTreeSet<InterfaceName> =
            networks.iter().flat_map(|tag| [bridge_name(*tag), uplink_name(*tag)]).collect();
        let bridges: BTreeMap<InterfaceName, Tag> =
            networks.iter().map(|tag| (bridge_name(*tag), *tag)).collect();
        let nics = domains.iter().flat_map(|domain: &DomainFound| &domain.nics);
        let ports: BTreeMap<InterfaceName, MacAddr> = nics.map(|mac| (port_name(*mac), *mac)).collect();
        let is_there = |bridge: &InterfaceName| {
            links.iter().any(|link| link.link.name == *bridge && link.link.is_operators_bridge())
        };
        let traffic: BTreeSet<Tag> =
            on_traffic.values().filter(|(bridge, _)| is_there(bridge)).map(|(_, tag)| *tag).collect();
        let port = |link: &Interface| {
            let mac = *ports.get(&link.link.name)?;
            let tag = link.master.as_ref().and_then(|master| match on_traffic.get(&mac) {
                Some((bridge, tag)) if bridge == master => Some(*tag),
                _ => bridges.get(master).copied(),
            });
            Some((mac, tag))
        };
        // Where there is no table, nothing is guarded.
        let (rules, rules_changed) = self.0.guards.look(platform.filter()).await.unwrap_or_default();
        Ok(HostInventory {
            domains,
            ports: Some(links.iter().filter_map(port).collect()),
            odd_links: ours.difference(&of_networks).cloned().collect(),
            networks: networks.into_iter().chain(traffic).collect(),
            vxlans: links.iter().filter_map(crate::report::vxlan).collect(),
            guarded: guarded(&rules),
            rules_changed,
            mounts: platform.mounts().mounted().into_iter().map(|(source, _)| source).collect(),
            files: self.with_files(|files| files.list()).await,
        })
    }

    /// The operator's bridges in which interfaces should be, and the networks of the host's own that they are on.
    fn on_traffic(&self, nics: &[NicPlan]) -> Vec<(MacAddr, (InterfaceName, Tag))> {
        let place = |nic: &NicPlan| {
            let bridge = self.0.networks.operators_bridge(nic.tag)?;
            Some((nic.mac, (bridge.clone(), nic.tag)))
        };
        nics.iter().filter_map(place).collect()
    }

    async fn domain(&self, found: Found) -> DomainFound {
        let asked = if found.runs() { self.devices_of(&found).await } else { Ok(None) };
        let unanswered = asked.is_err();
        if let Err(error) = &asked {
            tracing::warn!(vm = %found.vm, error = %format!("{error:#}"), "cannot see what devices a VM has");
        }
        let devices = asked.unwrap_or_default();
        let runs = unanswered || devices.is_some();
        let mut differs = BTreeSet::new();
        if let (Some(devices), Ok(Record { plan, .. })) = (&devices, &found.record) {
            differs = devices.differences(plan);
            if (found.state == DomainState::Paused) != plan.paused {
                differs.insert(Difference::Pause);
            }
            let vm = found.vm;
            if !self.with_files(move |files| files.has_seed(vm)).await {
                differs.insert(Difference::ConfigDrive);
            }
        }
        let devices = devices.unwrap_or_default();
        DomainFound {
            vm: found.vm,
            runs,
            differs: differs.into_iter().collect(),
            generation: found.record.ok().map(|record| record.plan.generation),
            disks: devices.disks.into_iter().map(|disk| disk.serial).collect(),
            nics: devices.nics.into_iter().map(|nic| nic.mac).collect(),
            unanswered,
        }
    }

    /// The devices of a VM that runs; none if it has ended meanwhile.
    async fn devices_of(&self, found: &Found) -> anyhow::Result<Option<Devices>> {
        let hypervisor = self.platform().hypervisor();
        let sized = found.record.as_ref().map(|record| Devices::sized(&record.plan)).unwrap_or_default();
        let asked = tokio::time::timeout(DEVICES, hypervisor.devices(found.vm, sized)).await;
        match asked.map_err(|_| anyhow!("no answer in {} s", DEVICES.as_secs()))? {
            Ok(devices) => Ok(Some(devices)),
            Err(error) if hypervisor.find(found.vm).await?.is_some_and(|found| found.runs()) => {
                Err(error.into())
            }
            Err(_) => Ok(None),
        }
    }

    /// Brings all on this host to what its VMs need, at once.
    pub(crate) async fn mend(&self) -> anyhow::Result<()> {
        self.look().await?;
        self.converge().await;
        Ok(())
    }
}
