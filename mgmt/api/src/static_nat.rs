//! Static NAT: public addresses that are a VM's.

use std::net::Ipv4Addr;

use podzol_vocab::{AccountId, NetworkId, NicId, PublicIpId, StaticNatId, VmId, ZoneId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// A public address that is a VM's: what comes to it goes to the VM, as far as firewall rules let it, and what the VM sends
/// to the outside comes from it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StaticNat {
    /// Its id.
    pub id: StaticNatId,
    /// Its account.
    pub account: AccountId,
    /// Its zone.
    pub zone: ZoneId,
    /// The public address.
    pub public_ip: PublicIpId,
    /// The same as an address.
    #[schema(value_type = String, format = "ipv4")]
    pub address: Ipv4Addr,
    /// The VM.
    pub vm: VmId,
    /// The VM's network interface.
    pub nic: NicId,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates a static NAT.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StaticNatCreate {
    /// The public address. It serves nothing else, and is not the one that other VMs' connections come from.
    pub public_ip: PublicIpId,
    /// The VM.
    pub vm: VmId,
    /// In which of its networks, which has a router; the only one of them when left out.
    #[serde(default)]
    pub network: Option<NetworkId>,
}

/// Gives the public address of a static NAT to another VM.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StaticNatUpdate {
    /// The VM.
    pub vm: VmId,
    /// In which of its networks, which has a router; the only one of them when left out.
    #[serde(default)]
    pub network: Option<NetworkId>,
}
