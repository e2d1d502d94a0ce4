//! The document: what a router should do.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;
use podzol_vocab::{
    Cidr, ConsoleServerId, DomainName, EgressRuleId, FirewallRuleId, Generation, LoadBalancerId, MacAddr,
    Name, NetworkId, NicId, PortForwardId, PortRange, Prefix64, Secret, StaticNatId, Transport, VmId,
};
use serde::{Deserialize, Serialize};

use crate::firewall::{EgressRule, EgressRule6, IngressRule, IngressRule6};
use crate::http::HttpBalancer;
use crate::limits::DEFAULT_FOLLOWED;
#[cfg(doc)]
use crate::limits::{MAX_FOLLOWED, MIN_FOLLOWED, MIN_FOLLOWED_OF_VM};

/// All that a router should do. What is not in it, the router does not do. Everything that there can be many of is under
/// its id, so that two documents differ by entries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The number of this description.
    pub generation: Generation,
    /// The networks that it is the gateway of. No two of them overlap.
    #[serde(default)]
    pub guests: BTreeMap<NetworkId, GuestNetwork>,
    /// Its side to the outside, if it has one.
    #[serde(default)]
    pub public: Option<PublicSide>,
    /// The name servers that it asks, in order, for what is in none of its own domains. At most 8.
    #[serde(default)]
    pub forwarders: Vec<IpAddr>,
    /// The VMs that it serves.
    #[serde(default)]
    pub vms: BTreeMap<VmId, VmFacts>,
    /// Their network interfaces.
    #[serde(default)]
    pub nics: BTreeMap<NicId, VmNic>,
    /// Ports of public addresses that lead to VMs.
    #[serde(default)]
    pub port_forwards: BTreeMap<PortForwardId, PortForward>,
    /// Public addresses that are a VM's.
    #[serde(default)]
    pub static_nats: BTreeMap<StaticNatId, StaticNat>,
    /// What may come in from outside. All else may not.
    #[serde(default)]
    pub ingress: BTreeMap<FirewallRuleId, IngressRule>,
    /// Exceptions to what networks may send outside.
    #[serde(default)]
    pub egress: BTreeMap<EgressRuleId, EgressRule>,
    /// What may come in from outside over IPv6. All else may not. Left out when there are none, as all of IPv6 is: routers of
    /// version 0.2.0 know no such field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ingress6: BTreeMap<FirewallRuleId, IngressRule6>,
    /// Exceptions to what networks may send outside over IPv6.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub egress6: BTreeMap<EgressRuleId, EgressRule6>,
    /// Ports of public addresses that lead to several VMs.
    #[serde(default)]
    pub balancers: BTreeMap<LoadBalancerId, Balancer>,
    /// Ports of public addresses whose HTTP requests lead to several VMs. No balancer is in both. Left out when there are
    /// none, as routers of version 0.2.0 know no such field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub http_balancers: BTreeMap<LoadBalancerId, HttpBalancer>,
    /// Ports of public addresses on which the console proxy in the appliance's own VM listens, if it is one's. The ingress
    /// rules say from where they are reached, as for balancers of HTTP. Left out when there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub local_ports: BTreeMap<ConsoleServerId, LocalPort>,
    /// How many connections there may be; [`Limits::default`] if left out, which it is for routers without the extension
    /// [`EXTENSION_LIMITS`], as they know no such field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

impl Document {
    /// Whether it says anything of IPv6, which takes a router with the extension [`EXTENSION_IPV6`].
    pub fn has_ipv6(&self) -> bool {
        !self.ingress6.is_empty()
            || !self.egress6.is_empty()
            || self.guests.values().any(|guest| guest.prefix6.is_some())
            || self.public.as_ref().is_some_and(|public| public.ipv6.is_some())
            || self.nics.values().any(|nic| nic.address6.is_some())
    }

    /// How many connections there may be.
    pub fn limits(&self) -> Limits {
        self.limits.unwrap_or_default()
    }

    /// All but what it says of IPv6, for a router that knows nothing of it.
    #[must_use]
    pub fn without_ipv6(mut self) -> Self {
        self.ingress6.clear();
        self.egress6.clear();
        self.guests.values_mut().for_each(|guest| guest.prefix6 = None);
        self.public.iter_mut().for_each(|public| public.ipv6 = None);
        self.nics.values_mut().for_each(|nic| nic.address6 = None);
        self
    }
}

/// The extension of a router that serves IPv6, as its status names it.
pub const EXTENSION_IPV6: &str = "ipv6";

/// The extension of a router that has limits in its document, as its status names it.
pub const EXTENSION_LIMITS: &str = "limits";

/// How many connections a router follows. They are of all protocols: what is asked and answered over UDP is one for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The most at a time, of all VMs and of the router itself: [`MIN_FOLLOWED`] to [`MAX_FOLLOWED`], each of which takes some
    /// 320 bytes of its memory. What would be one more gets no answer.
    pub connections: u32,
    /// The most of them that one address of a VM may have begun, so that no VM takes the room of all:
    /// [`MIN_FOLLOWED_OF_VM`] to `connections`. Those that were begun before another number is in force are not counted.
    pub connections_per_vm: u32,
}

impl Default for Limits {
    /// What the smallest router has room for, all of which a single VM may have.
    fn default() -> Self {
        Self { connections: DEFAULT_FOLLOWED, connections_per_vm: DEFAULT_FOLLOWED }
    }
}

/// A port of TCP that a program in the appliance's own VM listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalPort {
    /// Of which public address.
    pub public: Ipv4Addr,
    /// Which port, from 1 to 65535.
    pub port: u16,
}

/// A network of customers' VMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestNetwork {
    /// The MAC address of the router's interface in it.
    pub mac: MacAddr,
    /// Its range. The router has the first address, which is the gateway.
    pub cidr: Cidr,
    /// Its IPv6 prefix, if it has one. The router has the first address, and the first link-local one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix6: Option<Prefix64>,
    /// The largest packet in bytes; at least 1280 with a prefix.
    pub mtu: u16,
    /// The domain that the names of its VMs are in.
    pub domain: DomainName,
    /// How long a lease is, in seconds; 120 to 604800.
    pub lease_secs: u32,
    /// The public address that its VMs' connections to the outside come from; without one they get no answer.
    #[serde(default)]
    pub source_nat: Option<Ipv4Addr>,
    /// What its VMs may send outside, but for the exceptions among the egress rules.
    pub egress: EgressPolicy,
}

impl GuestNetwork {
    /// The router's own address in it.
    pub fn gateway(&self) -> Ipv4Addr {
        self.cidr.gateway()
    }
}

/// What VMs may send outside where no rule says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EgressPolicy {
    /// Everything; egress rules deny.
    Allow,
    /// Nothing; egress rules allow.
    Deny,
}

/// The router's side to the outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicSide {
    /// The MAC address of the router's interface there.
    pub mac: MacAddr,
    /// The largest packet in bytes.
    pub mtu: u16,
    /// Its addresses there, each with the length of the prefix of the range it is in (1 to 32).
    pub addresses: BTreeMap<Ipv4Addr, u8>,
    /// Where packets to the outside go.
    pub gateway: Ipv4Addr,
    /// What it has there of IPv6, if its networks reach the outside over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<PublicSide6>,
}

/// The router's side to the outside over IPv6. The outside sends all of the slot to the next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicSide6 {
    /// The router's link-local address there.
    pub next_hop: Ipv6Addr,
    /// The address that it speaks from: in the slot, and in no network's prefix.
    pub own: Ipv6Addr,
    /// Where packets to the outside go: a link-local address, or a global one outside of the slot.
    pub gateway: Ipv6Addr,
    /// All that is the router's to deliver: the prefixes of its networks are in it.
    pub slot: Ipv6Net,
}

/// What a VM may know of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmFacts {
    /// Its name, which is its host name.
    pub name: Name,
    /// The SSH keys of those who may enter.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// What its owner has it run or read at boot. It often holds passwords.
    #[serde(default)]
    pub user_data: Option<Secret<String>>,
    /// The password that it should set, until it has fetched it.
    #[serde(default)]
    pub password: Option<Secret<String>>,
    /// The zone that it is in.
    pub zone: Name,
    /// The offering that it is of.
    pub offering: Name,
}

/// A network interface of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmNic {
    /// Whose it is.
    pub vm: VmId,
    /// Which network it is in.
    pub network: NetworkId,
    /// Its MAC address, by which it is known.
    pub mac: MacAddr,
    /// The address it is given, always the same.
    pub address: Ipv4Addr,
    /// The IPv6 address it is given: the one that its MAC address makes in its network's prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address6: Option<Ipv6Addr>,
    /// Whether it is the one that the VM reaches the outside through. The VM's name stands for its address.
    pub primary: bool,
}

/// Ports of a public address that lead to a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortForward {
    /// The public address.
    pub public: Ipv4Addr,
    /// Of which protocol.
    pub transport: Transport,
    /// Its ports.
    pub ports: PortRange,
    /// The VM's address.
    pub to: Ipv4Addr,
    /// The VM's port that the first one leads to, the second to the next, and so on.
    pub to_port: u16,
}

/// A public address that is a VM's: what comes to it goes to the VM, and what the VM sends comes from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticNat {
    /// The public address. It is no network's source NAT and has no port forwards or balancers.
    pub public: Ipv4Addr,
    /// The VM's address.
    pub to: Ipv4Addr,
}

/// A port of a public address that leads to several VMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balancer {
    /// The public address.
    pub public: Ipv4Addr,
    /// Of which protocol.
    pub transport: Transport,
    /// Its port.
    pub port: u16,
    /// Which member a new connection goes to.
    pub method: Method,
    /// Those it leads to; at most 64.
    pub members: BTreeMap<NicId, Member>,
    /// How it is found out whether a member works; it always does without one.
    #[serde(default)]
    pub check: Option<Check>,
}

/// Which member of a balancer a new connection goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// One after the other, by their weights.
    RoundRobin,
    /// The same for all connections of one source address, by their weights.
    SourceHash,
    /// By chance, in the proportions of their weights: many short connections spread evenly, and nobody counts them. A
    /// balancer of HTTP does count: the one with the fewest connections for its weight gets the next.
    LeastLoad,
}

/// A VM that a balancer leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Its share: 1 to 100.
    pub weight: u8,
    /// Whether it gets no new connections, while those it has go on.
    #[serde(default)]
    pub drains: bool,
}

/// How it is found out whether a member works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What is asked of it.
    pub kind: CheckKind,
    /// How often, in milliseconds; 500 to 60000.
    pub interval_ms: u32,
    /// How long it may take, in milliseconds; 100 to 10000.
    pub timeout_ms: u32,
    /// How many checks in a row must succeed before it is used again; 1 to 10.
    pub rise: u8,
    /// How many checks in a row must fail before it is used no more; 1 to 10.
    pub fall: u8,
}

/// What is asked of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CheckKind {
    /// To accept a connection.
    Tcp,
    /// To answer `GET` of a path with a status from 200 to 399.
    Http {
        /// The path, beginning with a slash; at most 256 visible ASCII characters.
        path: String,
    },
}
