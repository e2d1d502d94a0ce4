//! The document: what a router should do.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use podzol_vocab::{
    Cidr, EgressRuleId, FirewallRuleId, Generation, Invalid, LoadBalancerId, MacAddr, Name, NetworkId, NicId,
    PortForwardId, Secret, StaticNatId, VmId,
};
use serde::{Deserialize, Serialize};

use crate::firewall::{EgressRule, IngressRule, PortRange, Transport};

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
    /// Ports of public addresses that lead to several VMs.
    #[serde(default)]
    pub balancers: BTreeMap<LoadBalancerId, Balancer>,
}

/// A network of customers' VMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestNetwork {
    /// The MAC address of the router's interface in it.
    pub mac: MacAddr,
    /// Its range. The router has the first address, which is the gateway.
    pub cidr: Cidr,
    /// The largest packet in bytes.
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

/// A domain: names (DNS labels) with dots between, at most 189 bytes, so that a VM's name before it fits (RFC 1035,
/// 2.3.4). Written without the last dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(String);

impl DomainName {
    /// As text, without the last dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DomainName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_name = |label: &str| label.parse::<Name>().is_ok();
        if text.len() > 189 || !text.split('.').all(is_name) {
            return Err(Invalid::new(
                "must be a domain such as net-1.example.internal, in lower case and at most 189 bytes long",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for DomainName {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<DomainName> for String {
    fn from(domain: DomainName) -> Self {
        domain.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
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
    /// By chance, in the proportions of their weights: many short connections spread evenly, and nobody counts them.
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
