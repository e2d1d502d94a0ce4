//! Public addresses.

use std::net::Ipv4Addr;

use podzol_vocab::{AccountId, Generation, PublicIpId, RouterId, VmId, ZoneId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::traffic::Traffic;

/// An address of a zone's public network that an account has.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PublicIp {
    /// Its id.
    pub id: PublicIpId,
    /// The address. In its zone it is this account's alone.
    #[schema(value_type = String, format = "ipv4")]
    pub address: Ipv4Addr,
    /// Its account.
    pub account: AccountId,
    /// Its zone.
    pub zone: ZoneId,
    /// Whether it is the one that connections of the account's VMs to the outside come from. It is there as long as the
    /// account's router is, or longer if rules name it.
    pub source_nat: bool,
    /// When it was allocated.
    pub created_at: Timestamp,
    /// What went through it; left out where addresses are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
}

/// Allocates a public address.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublicIpCreate {
    /// Its zone.
    pub zone: ZoneId,
    /// Its account; the caller's own when left out. Only admins name another.
    #[serde(default)]
    pub account: Option<AccountId>,
}

/// A public address that nobody but the account that had it can get yet: a router may still have it in force.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HeldAddress {
    /// Of this entry. An address that several VMs may have has several.
    pub id: PublicIpId,
    /// The address.
    #[schema(value_type = String, format = "ipv4")]
    pub address: Ipv4Addr,
    /// Its zone.
    pub zone: ZoneId,
    /// The account that had it, which may be no more.
    pub account: AccountId,
    /// The router that had it, which may be no more.
    pub router: RouterId,
    /// The VM that this router is, or was.
    pub vm: VmId,
    /// The first generation without it: once the router has that or a later one in force, anybody can get the address. None if
    /// the VM is told nothing any more: then it is held until no host has that VM.
    pub generation: Option<Generation>,
    /// What the router has in force, as far as it is known.
    pub generation_in_force: Option<Generation>,
    /// Since when.
    pub held_at: Timestamp,
}
