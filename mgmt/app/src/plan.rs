//! What a host is told of a VM: a pure function of the VM's rows.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use podzol_agent_api::vm::{CdromPlan, DiskPlan, DiskSource, NicPlan, Seed, VmPlan};
use podzol_mgmt_api::vm::Attachment;
use podzol_mgmt_db::{network, pool, template, vm, volume};
use podzol_storage_api::iso_file;
use podzol_vocab::{ByteSize, Generation, Name, NetworkId, NicId, PoolId, Secret};
use serde_json::json;

use crate::limits;

/// A VM with all that its plan is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) vm: vm::Model,
    pub(crate) nics: Vec<vm::nic::Model>,
    pub(crate) volumes: Vec<volume::Model>,
    /// The ISO that should be in its drive.
    pub(crate) iso: Option<template::Model>,
    pub(crate) networks: HashMap<NetworkId, network::Model>,
    /// The IPv6 addresses that its host is to guard.
    pub(crate) addresses6: HashMap<NicId, Ipv6Addr>,
    pub(crate) pools: HashMap<PoolId, pool::Model>,
}

impl Parts {
    /// Whether disks, network interfaces or the ISO are on their way in or out.
    pub(crate) fn have_some_on_their_way(&self) -> bool {
        let volumes = self.volumes.iter().map(|volume| volume.attachment.0);
        let nics = self.nics.iter().map(|nic| nic.attachment.0);
        let mut all = volumes.chain(nics).chain([self.vm.iso_attachment.0]);
        all.any(|attachment| attachment != Attachment::Attached)
    }
}

/// The plan, or what is still missing for it.
pub(crate) fn plan(parts: &Parts) -> Result<VmPlan, String> {
    let vm = &parts.vm;
    Ok(VmPlan {
        vm: vm.id.0,
        generation: Generation(vm.generation as u64),
        name: vm.name.0.clone(),
        vcpus: vm.size.vcpus,
        cpu_share: vm.size.cpu_share,
        memory_mib: vm.size.memory_mib,
        disks: staying(&parts.volumes, |volume| volume.attachment.0)
            .map(|volume| disk(parts, volume))
            .collect::<Result<_, _>>()?,
        nics: staying(&parts.nics, |nic| nic.attachment.0)
            .map(|nic| nic_plan(parts, nic))
            .collect::<Result<_, _>>()?,
        seed: seed(parts)?,
        reboots: vm.reboots as u64,
        paused: vm.paused,
        cdrom: parts.iso.as_ref().map(|iso| cdrom(parts, iso)).transpose()?,
    })
}

/// Those that are not on their way out.
fn staying<T>(all: &[T], attachment: impl Fn(&T) -> Attachment) -> impl Iterator<Item = &T> {
    all.iter().filter(move |one| attachment(one) != Attachment::Detaching)
}

fn disk(parts: &Parts, volume: &volume::Model) -> Result<DiskPlan, String> {
    let file = volume.file.clone().ok_or("its volume is not made yet")?;
    Ok(DiskPlan {
        volume: volume.id.0,
        source: beside(parts, volume, file)?,
        iops: limits::of(&parts.vm).iops.map(|limit| limit.value),
        size: volume.has_grown.then_some(ByteSize(volume.size_bytes as u64)),
    })
}

/// An ISO is in the pool of the root volume: whatever host reaches that reaches it.
fn cdrom(parts: &Parts, iso: &template::Model) -> Result<CdromPlan, String> {
    let root = parts.volumes.iter().find(|volume| volume.is_root()).ok_or("its root volume is gone")?;
    Ok(CdromPlan { source: beside(parts, root, iso_file(iso.sha256.0))?, boots: parts.vm.iso_boots })
}

/// A file in the pool of a volume.
fn beside(parts: &Parts, volume: &volume::Model, file: String) -> Result<DiskSource, String> {
    let pool = parts.pools.get(&volume.pool_id.0).ok_or("its pool is gone")?;
    let known =
        |text: &Option<String>| text.clone().ok_or_else(|| format!("pool {} is not exported", pool.name.0));
    Ok(DiskSource::Nfs { server: known(&pool.server)?, export: known(&pool.export)?, file })
}

fn nic_plan(parts: &Parts, nic: &vm::nic::Model) -> Result<NicPlan, String> {
    let network = parts.networks.get(&nic.network_id.0).ok_or("its network is gone")?;
    Ok(NicPlan {
        nic: nic.id.0,
        network: network.id.0,
        tag: network.tag().ok_or("its network has no valid VLAN or VXLAN id")?,
        mac: nic.mac.0,
        address: nic.address.0,
        address6: parts.addresses6.get(&nic.id.0).copied(),
        rate_mbps: limits::of(&parts.vm).network_mbps.map(|limit| limit.value),
        may_route: nic.may_route,
    })
}

/// The NoCloud data. JSON is YAML, so nothing in a name or key can break out of its place.
fn seed(parts: &Parts) -> Result<Seed, String> {
    let vm = &parts.vm;
    if vm.role.is_some() {
        return Ok(own_seed(vm));
    }
    let meta_data = json!({
        "instance-id": vm.id.to_string(),
        "local-hostname": vm.name.to_string(),
        "public-keys": vm.ssh_keys.0,
    });
    let mut ethernets = serde_json::Map::new();
    for nic in staying(&parts.nics, |nic| nic.attachment.0) {
        let network = parts.networks.get(&nic.network_id.0).ok_or("its network is gone")?;
        let mut ethernet = json!({ "match": { "macaddress": nic.mac.to_string() } });
        if network.has_router {
            // The router knows the address, and who is the way to the outside.
            ethernet["dhcp4"] = json!(true);
            if network.prefix6.is_some() {
                ethernet["dhcp6"] = json!(true);
            }
        } else {
            ethernet["addresses"] = json!([format!("{}/{}", nic.address.0, network.cidr.prefix_len())]);
            if nic.slot == 0 {
                ethernet["gateway4"] = json!(network.cidr.gateway().to_string());
            }
        }
        ethernets.insert(format!("nic{}", nic.slot), ethernet);
    }
    let network_config = json!({ "version": 2, "ethernets": ethernets });
    Ok(Seed {
        meta_data: meta_data.to_string(),
        user_data: Secret::new(user_data(&vm.name.0, &vm.ssh_keys.0, vm.user_data.as_deref())),
        network_config: network_config.to_string(),
    })
}

/// What a VM of Podzol's own reads at its start: who it is, as whoever made it has written.
fn own_seed(vm: &vm::Model) -> Seed {
    Seed {
        meta_data: json!({ "instance-id": vm.id.to_string(), "local-hostname": vm.name.to_string() })
            .to_string(),
        user_data: Secret::new(vm.user_data.clone().unwrap_or_default()),
        network_config: json!({ "version": 2 }).to_string(),
    }
}

/// The customer's user-data, or a cloud-config with the name and the keys where there is none.
fn user_data(name: &Name, ssh_keys: &[String], own: Option<&str>) -> String {
    match own {
        Some(own) => own.to_owned(),
        None => format!(
            "#cloud-config\n{}\n",
            json!({ "hostname": name.to_string(), "ssh_authorized_keys": ssh_keys })
        ),
    }
}
