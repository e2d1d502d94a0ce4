//! Networks.

use podzol_vocab::{AccountId, Cidr, Name, NetworkId, VlanId, VxlanId, ZoneId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

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
