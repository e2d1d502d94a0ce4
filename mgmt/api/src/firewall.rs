//! What may come in from outside, and exceptions to what may go out.

use std::net::Ipv4Addr;

use podzol_vocab::{
    AccountId, EgressRuleId, FirewallRuleId, IpRange, Ipv4Range, NetworkId, PortRange, PublicIpId, VmId,
    ZoneId,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// Of which protocol packets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Of any.
    All,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP (RFC 792), of IPv4.
    Icmp,
    /// ICMPv6 (RFC 4443).
    Icmpv6,
}

/// Which packets a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Packets {
    /// Of which protocol.
    pub protocol: Protocol,
    /// To which ports; all when left out. Only TCP and UDP have any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortRange>,
    /// Of which type of ICMP or ICMPv6; any when left out. No other protocol has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// With which ICMP code; any when left out. There is none without a type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
}

/// Something that may come in from outside. All else may not. It is to a public address, over IPv4, or to a network or one
/// of its VMs, over IPv6.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FirewallRule {
    /// Its id.
    pub id: FirewallRuleId,
    /// Its account.
    pub account: AccountId,
    /// Its zone.
    pub zone: ZoneId,
    /// To which public address; ports are those outside, before they lead anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_ip: Option<PublicIpId>,
    /// The same as an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub address: Option<Ipv4Addr>,
    /// To which network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkId>,
    /// To which VM in that network; to all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmId>,
    /// From where.
    pub sources: Vec<IpRange>,
    /// What.
    #[serde(flatten)]
    pub packets: Packets,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Lets something in from outside.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FirewallRuleCreate {
    /// To which public address, over IPv4.
    #[serde(default)]
    pub public_ip: Option<PublicIpId>,
    /// To which network, over IPv6, if not to a public address.
    #[serde(default)]
    pub network: Option<NetworkId>,
    /// To which VM in that network; to all when left out.
    #[serde(default)]
    pub vm: Option<VmId>,
    /// From where: up to 64 ranges that do not overlap; from everywhere when left out.
    #[serde(default)]
    pub sources: Option<Vec<IpRange>>,
    /// Of which protocol.
    pub protocol: Protocol,
    /// To which ports; all when left out.
    #[serde(default)]
    pub ports: Option<PortRange>,
    /// Of which ICMP type; any when left out.
    #[serde(default)]
    pub icmp_type: Option<u8>,
    /// With which ICMP code; any when left out.
    #[serde(default)]
    pub icmp_code: Option<u8>,
}

/// Changes a firewall rule. What is left out stays; with a protocol, all about packets is new.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FirewallRuleUpdate {
    /// From where: up to 64 ranges that do not overlap.
    #[serde(default)]
    pub sources: Option<Vec<IpRange>>,
    /// Of which protocol.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// To which ports; all when left out.
    #[serde(default)]
    pub ports: Option<PortRange>,
    /// Of which ICMP type; any when left out.
    #[serde(default)]
    pub icmp_type: Option<u8>,
    /// With which ICMP code; any when left out.
    #[serde(default)]
    pub icmp_code: Option<u8>,
}

/// What VMs of a network may send outside where no rule says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EgressPolicy {
    /// Everything; egress rules deny.
    #[default]
    Allow,
    /// Nothing; egress rules allow.
    Deny,
}

/// An exception to what the VMs of a network may send outside. It is over IPv4 or over IPv6, as its destinations are.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EgressRule {
    /// Its id.
    pub id: EgressRuleId,
    /// Its account.
    pub account: AccountId,
    /// Its zone.
    pub zone: ZoneId,
    /// Which network.
    pub network: NetworkId,
    /// From which of its addresses.
    pub sources: Vec<IpRange>,
    /// To where.
    pub destinations: Vec<IpRange>,
    /// What.
    #[serde(flatten)]
    pub packets: Packets,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Makes an exception to what the VMs of a network may send outside.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EgressRuleCreate {
    /// Which network, which has a router.
    pub network: NetworkId,
    /// From which of its addresses: up to 64 ranges that do not overlap; from all when left out.
    #[serde(default)]
    pub sources: Option<Vec<IpRange>>,
    /// To where: up to 64 ranges of one family that do not overlap; to everywhere over IPv4 when left out.
    #[serde(default = "everywhere")]
    pub destinations: Vec<IpRange>,
    /// Of which protocol.
    pub protocol: Protocol,
    /// To which ports; all when left out.
    #[serde(default)]
    pub ports: Option<PortRange>,
    /// Of which ICMP type; any when left out.
    #[serde(default)]
    pub icmp_type: Option<u8>,
    /// With which ICMP code; any when left out.
    #[serde(default)]
    pub icmp_code: Option<u8>,
}

/// Changes an egress rule. What is left out stays; with a protocol, all about packets is new.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EgressRuleUpdate {
    /// From which of its network's addresses: up to 64 ranges that do not overlap.
    #[serde(default)]
    pub sources: Option<Vec<IpRange>>,
    /// To where: up to 64 ranges that do not overlap, of the family that they were of.
    #[serde(default)]
    pub destinations: Option<Vec<IpRange>>,
    /// Of which protocol.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// To which ports; all when left out.
    #[serde(default)]
    pub ports: Option<PortRange>,
    /// Of which ICMP type; any when left out.
    #[serde(default)]
    pub icmp_type: Option<u8>,
    /// With which ICMP code; any when left out.
    #[serde(default)]
    pub icmp_code: Option<u8>,
}

fn everywhere() -> Vec<IpRange> {
    vec![IpRange::V4(Ipv4Range::ALL)]
}
