//! What may come in and go out.

use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv6Net};
use podzol_vocab::{NetworkId, PortRange};
use serde::{Deserialize, Serialize};

/// Which packets a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "protocol", rename_all = "snake_case", deny_unknown_fields)]
pub enum Traffic {
    /// All.
    All,
    /// TCP to these ports.
    Tcp {
        /// The ports.
        ports: PortRange,
    },
    /// UDP to these ports.
    Udp {
        /// The ports.
        ports: PortRange,
    },
    /// ICMP (RFC 792).
    Icmp {
        /// Of this type, or of any.
        #[serde(default)]
        icmp_type: Option<u8>,
        /// With this code, or with any. There is none without a type.
        #[serde(default)]
        icmp_code: Option<u8>,
    },
}

/// Which packets of IPv6 a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "protocol", rename_all = "snake_case", deny_unknown_fields)]
pub enum Traffic6 {
    /// All.
    All,
    /// TCP to these ports.
    Tcp {
        /// The ports.
        ports: PortRange,
    },
    /// UDP to these ports.
    Udp {
        /// The ports.
        ports: PortRange,
    },
    /// ICMPv6 (RFC 4443).
    Icmpv6 {
        /// Of this type, or of any.
        #[serde(default)]
        icmp_type: Option<u8>,
        /// With this code, or with any. There is none without a type.
        #[serde(default)]
        icmp_code: Option<u8>,
    },
}

/// What may come in from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngressRule {
    /// To which public address; ports are those outside, before they are forwarded.
    pub public: Ipv4Addr,
    /// From where: 1 to 64 ranges that do not overlap.
    pub sources: Vec<Ipv4Net>,
    /// What.
    pub traffic: Traffic,
}

/// An exception to what a network may send outside: allowed where its policy is to deny, and the other way round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressRule {
    /// Which network.
    pub network: NetworkId,
    /// From which of its addresses: 1 to 64 ranges in it that do not overlap.
    pub sources: Vec<Ipv4Net>,
    /// To where: 1 to 64 ranges that do not overlap.
    pub destinations: Vec<Ipv4Net>,
    /// What.
    pub traffic: Traffic,
}

/// What may come in from outside over IPv6.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngressRule6 {
    /// To where: a VM's address, or the prefix of a network.
    pub to: Ipv6Net,
    /// From where: 1 to 64 ranges that do not overlap.
    pub sources: Vec<Ipv6Net>,
    /// What.
    pub traffic: Traffic6,
}

/// An exception to what a network may send outside over IPv6: allowed where its policy is to deny, and the other way round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressRule6 {
    /// Which network.
    pub network: NetworkId,
    /// From which of its addresses: 1 to 64 ranges in its prefix that do not overlap.
    pub sources: Vec<Ipv6Net>,
    /// To where: 1 to 64 ranges that do not overlap.
    pub destinations: Vec<Ipv6Net>,
    /// What.
    pub traffic: Traffic6,
}
