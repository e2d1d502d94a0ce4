//! What there is on this host of all that Podzol makes here, looked up and not remembered.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use podzol_agent_api::host::{Difference, DomainFound, HostInventory};
use podzol_agent_api::vm::NicPlan;
use podzol_hostnet::{Interface, Links, bridge_name, uplink_name};
use podzol_hypervisor::{Devices, DomainState, Found, Hypervisor, Record, port_name};
use podzol_vocab::{InterfaceName, MacAddr, Tag, VmId};

use super::Vms;
use crate::guards::guarded;
use crate::mounts::Mounts;
use crate::platform::Platform;

impl<P: Platform> Vms<P> {
    /// Looks all of it up.
    pub(crate) async fn inventory(&self) -> anyhow::Result<HostInventory> {
        let platform = self.platform();
        let (mut domains, mut on_traffic) = (Vec::new(), BTreeMap::new());
        for found in platform.hypervisor().list().await? {
            on_traffic.extend(found.record.iter().flat_map(|record| self.on_traffic(&record.plan.nics)));
            domains.push(self.domain(found).await?);
        }
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

    async fn domain(&self, found: Found) -> anyhow::Result<DomainFound> {
        let devices = if found.runs() { self.devices_of(found.vm).await? } else { None };
        let runs = devices.is_some();
        let devices = devices.unwrap_or_default();
        let mut differs = BTreeSet::new();
        if let (true, Ok(Record { plan, .. })) = (runs, &found.record) {
            differs = devices.differences(plan);
            if (found.state == DomainState::Paused) != plan.paused {
                differs.insert(Difference::Pause);
            }
            let vm = found.vm;
            if !self.with_files(move |files| files.has_seed(vm)).await {
                differs.insert(Difference::ConfigDrive);
            }
        }
        Ok(DomainFound {
            vm: found.vm,
            runs,
            differs: differs.into_iter().collect(),
            generation: found.record.ok().map(|record| record.plan.generation),
            disks: devices.disks.into_iter().map(|disk| disk.serial).collect(),
            nics: devices.nics.into_iter().map(|nic| nic.mac).collect(),
        })
    }

    /// The devices of a VM that runs; none if it has ended meanwhile.
    async fn devices_of(&self, vm: VmId) -> anyhow::Result<Option<Devices>> {
        let hypervisor = self.platform().hypervisor();
        match hypervisor.devices(vm).await {
            Ok(devices) => Ok(Some(devices)),
            Err(error) if hypervisor.find(vm).await?.is_some_and(|found| found.runs()) => Err(error.into()),
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
