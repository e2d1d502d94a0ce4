//! Networks.

use podzol_vocab::{AccountId, Cidr, Name, NetworkId, Prefix64, VlanId, VxlanId, ZoneId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::firewall::EgressPolicy;

/// A customer's private layer-2 segment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Its name, unique in its account.
    pub name: Name,
    /// Its account.
    pub account: AccountId,
    /// Its zone.
    pub zone: ZoneId,
    /// Its addresses. Other networks may have the same.
    pub cidr: Cidr,
    /// The tag that isolates it in its zone; shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanId>,
    /// The VXLAN that isolates it instead; shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vxlan: Option<VxlanId>,
    /// Whether its VMs have a router: it gives them their addresses and names, and is their way to the outside.
    pub router: bool,
    /// What its VMs may send outside, but for egress rules; of no meaning without a router.
    pub egress: EgressPolicy,
    /// Its IPv6 addresses: each VM has the one that its MAC address makes of it; none if it has no IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Prefix64>,
    /// Why its VMs have no IPv6 now though it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_problem: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates a network.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkCreate {
    /// Its name, unique in its account.
    pub name: Name,
    /// Its zone.
    pub zone: ZoneId,
    /// Its addresses; the first is the gateway's.
    pub cidr: Cidr,
    /// Its account; the caller's own when left out. Only admins name another.
    #[serde(default)]
    pub account: Option<AccountId>,
    /// What isolates it. When left out, that is a VLAN as long as its zone has one left, then a VXLAN. Only admins choose.
    #[serde(default)]
    pub isolation: Option<Isolation>,
    /// Whether its VMs have a router. When left out, they have one where the zone has a public network.
    #[serde(default)]
    pub router: Option<bool>,
    /// What its VMs may send outside, but for egress rules; everything when left out.
    #[serde(default)]
    #[schema(inline)]
    pub egress: EgressPolicy,
    /// Whether it has IPv6 beside IPv4. It has a router then, and its zone an IPv6 prefix.
    #[serde(default)]
    pub ipv6: bool,
}

/// Changes a network. What is left out stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkUpdate {
    /// What its VMs may send outside, but for egress rules.
    #[serde(default)]
    pub egress: Option<EgressPolicy>,
    /// Gives it IPv6, with `true`. Its running VMs ask for their addresses when they hear of it, or when they start again.
    /// There is no way back.
    #[serde(default)]
    pub ipv6: Option<bool>,
}

/// What isolates a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// A tag on the pod's switch.
    Vlan,
    /// Tunnels from host to host.
    Vxlan,
}
