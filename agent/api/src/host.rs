//! The host itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use http::Method;
use podzol_rpc::Endpoint;
use podzol_vocab::{Generation, InterfaceName, MacAddr, NetworkId, Tag, VmId};
use serde::{Deserialize, Serialize};

use crate::report::{HostReport, VxlanReport};

/// The host's report, made now. Unavailable as long as the agent would send none: until the hypervisor has answered, and
/// while the agent does not know its own address.
#[derive(Debug)]
pub struct HostGet;

impl Endpoint for HostGet {
    const METHOD: Method = Method::GET;
    const ROUTE: &'static str = "/v1/host";
    type Path = ();
    type Request = ();
    type Answer = HostReport;

    fn path((): &()) -> String {
        Self::ROUTE.into()
    }
}

/// What there is on the host of all that Podzol makes there, looked up now: in libvirt, in the kernel and on disk, and not
/// in what the agent believes.
#[derive(Debug)]
pub struct HostInventoryGet;

impl Endpoint for HostInventoryGet {
    const METHOD: Method = Method::GET;
    const ROUTE: &'static str = "/v1/inventory";
    type Path = ();
    type Request = ();
    type Answer = HostInventory;

    fn path((): &()) -> String {
        Self::ROUTE.into()
    }
}

/// Has the agent look at the hypervisor, and bring networks, rules, mounts and files to what the VMs here need, at once.
#[derive(Debug)]
pub struct HostConverge;

impl Endpoint for HostConverge {
    const METHOD: Method = Method::POST;
    const ROUTE: &'static str = "/v1/converge";
    type Path = ();
    type Request = ();
    type Answer = ();

    fn path((): &()) -> String {
        Self::ROUTE.into()
    }
}

/// Tells a host which other hosts carry a network on a VXLAN. Repeating it is success, and an older description is refused.
/// A host that does not carry the network yet keeps it in mind for when it does.
#[derive(Debug)]
pub struct NetworkPeersPut;

impl Endpoint for NetworkPeersPut {
    const METHOD: Method = Method::PUT;
    const ROUTE: &'static str = "/v1/networks/{network}/peers";
    type Path = NetworkId;
    type Request = NetworkPeers;
    type Answer = ();

    fn path(network: &NetworkId) -> String {
        format!("/v1/networks/{network}/peers")
    }
}

/// The body of [`NetworkPeersPut`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPeers {
    /// The number of this description.
    pub generation: Generation,
    /// Where the tunnels of the other hosts begin.
    pub addresses: BTreeSet<IpAddr>,
}

/// All that Podzol has made on a host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostInventory {
    /// The domains that are Podzol's.
    pub domains: Vec<DomainFound>,
    /// The networks that have both a bridge and a VLAN or VXLAN interface, and those of the host's own that VMs here should be
    /// on and whose bridge is there.
    pub networks: Vec<Tag>,
    /// Where the tunnels of networks on VXLANs end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vxlans: Vec<VxlanReport>,
    /// Links with Podzol's mark that are half of a network.
    pub odd_links: Vec<InterfaceName>,
    /// The MAC addresses of the ports that are guarded.
    pub guarded: Vec<MacAddr>,
    /// Whether somebody else has changed the rules about VMs' ports.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rules_changed: bool,
    /// The links of VMs' ports, each with the network in whose bridge it is, or none if it is in no such bridge; nothing
    /// from agents that do not tell. A network of the host's own is told of the ports that should be on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<BTreeMap<MacAddr, Option<Tag>>>,
    /// What is mounted, such as `10.0.0.3:/srv/podzol`.
    pub mounts: Vec<String>,
    /// The VMs that have files here, such as a config drive.
    pub files: Vec<VmId>,
}

/// A domain of Podzol's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainFound {
    /// Which VM.
    pub vm: VmId,
    /// Whether it runs, or stands still for a while.
    pub runs: bool,
    /// The description that it runs with, if it can be read.
    pub generation: Option<Generation>,
    /// The serial numbers of its disks: the first 20 hexadecimal digits of each volume's id.
    pub disks: Vec<String>,
    /// The MAC addresses of its network interfaces.
    pub nics: Vec<MacAddr>,
    /// In what it is other than its own description, besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<Difference>,
    /// Whether it runs and its hypervisor did not say what devices it has: none are told then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unanswered: bool,
}

/// In what a domain that runs can be other than described, but for which disks and network interfaces it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// It stands still and should run, or the other way round.
    Pause,
    /// The limit of a disk or of a network interface.
    Limits,
    /// The size of a disk: it is smaller.
    DiskSize,
    /// What is in its CD drive.
    Iso,
    /// The file of its config drive is not there.
    ConfigDrive,
}
