//! What a host agent reports: on every change, and every few seconds.

use std::collections::BTreeSet;
use std::net::IpAddr;

use http::Method;
use podzol_rpc::{Endpoint, Refusal};
use podzol_vocab::{HostId, InterfaceName, NetworkId, TrafficType, VlanId, VxlanId};
use serde::{Deserialize, Serialize};

use crate::vm::VmStatus;

/// Sends a report to the management service.
#[derive(Debug)]
pub struct HostReportPost;

impl Endpoint for HostReportPost {
    const METHOD: Method = Method::POST;
    const ROUTE: &'static str = "/v1/hosts/{host}/report";
    type Path = HostId;
    type Request = HostReport;
    type Answer = ();

    fn path(host: &HostId) -> String {
        format!("/v1/hosts/{host}/report")
    }
}

/// All that is worth knowing of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostReport {
    /// Where the agent's API is: `address:port`.
    pub api_address: String,
    /// The agent's version.
    pub agent_version: String,
    /// Which start of the host's kernel this is (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The hypervisor, and how VMs run on it.
    pub hypervisor: HypervisorReport,
    /// Processors that VMs can use.
    pub cpus: u32,
    /// Memory that VMs can use in MiB: all of the host's less what the host keeps for itself.
    pub memory_mib: u64,
    /// Memory in use on the host in MiB.
    pub memory_used_mib: u64,
    /// The host's load average over the last minute.
    pub load: f64,
    /// The VMs on it.
    pub vms: Vec<VmStatus>,
    /// Its network links.
    pub links: Vec<LinkReport>,
    /// The pools that it has mounted.
    pub mounts: Vec<MountReport>,
    /// The address where its tunnels to other hosts begin; none if it can have no tunnels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_address: Option<IpAddr>,
    /// The networks that it carries on VXLANs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vxlans: Vec<VxlanReport>,
    /// On which of its own networks it has a bridge for VMs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub traffic: BTreeSet<TrafficType>,
    /// Whether its agent takes IPv6 addresses in VMs' plans, and guards them. Older ones refuse such plans.
    #[serde(default)]
    pub has_ipv6: bool,
    /// Whom its agent has refused since it was heard last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
}

/// A network that a host carries on a VXLAN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VxlanReport {
    /// The network.
    pub network: NetworkId,
    /// Its id.
    pub id: VxlanId,
    /// Where its tunnels end.
    pub peers: BTreeSet<IpAddr>,
}

/// The hypervisor of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HypervisorReport {
    /// Its name and version, such as `QEMU 7.2.0, libvirt 9.0.0`.
    pub version: String,
    /// How VMs run, or none if they cannot.
    pub accelerator: Option<Accelerator>,
    /// What is wrong, in words, when KVM cannot be used or libvirt does not answer.
    pub problem: Option<String>,
}

/// How a hypervisor runs a VM's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    /// On the processor itself.
    Kvm,
    /// By software emulation, where the operator allows it.
    Emulation,
}

/// A network link of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReport {
    /// Its name.
    pub name: InterfaceName,
    /// What it is, as the kernel names it (`vlan`, `bridge`, `bond`), or none for a physical NIC.
    pub kind: Option<String>,
    /// Its tag, if it is a VLAN interface.
    pub vlan: Option<VlanId>,
    /// The bridge or bond that it is part of.
    pub master: Option<InterfaceName>,
    /// Whether it is up and has a carrier.
    pub up: bool,
    /// Its speed in Mbit/s, if it says.
    pub speed_mbps: Option<u32>,
    /// Its largest packet in bytes.
    pub mtu: u32,
    /// Its addresses, with prefix length.
    pub addresses: Vec<String>,
    /// Whether Podzol made it.
    pub ours: bool,
}

/// A pool that a host has mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountReport {
    /// What is mounted, such as `10.0.0.3:/srv/podzol`.
    pub source: String,
    /// Where.
    pub target: String,
}
