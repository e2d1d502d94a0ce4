//! Port forwards: ports of public addresses that lead to VMs.

use std::net::Ipv4Addr;

use podzol_vocab::{
    AccountId, NetworkId, NicId, PortForwardId, PortRange, PublicIpId, Transport, VmId, ZoneId,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// Ports of a public address that lead to a VM. What may use them, firewall rules say.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PortForward {
    /// Its id.
    pub id: PortForwardId,
    /// Its account.
    pub account: AccountId,
    /// Its zone.
    pub zone: ZoneId,
    /// The public address.
    pub public_ip: PublicIpId,
    /// The same as an address.
    #[schema(value_type = String, format = "ipv4")]
    pub address: Ipv4Addr,
    /// Of which protocol.
    pub transport: Transport,
    /// The ports outside.
    pub ports: PortRange,
    /// The VM that they lead to.
    pub vm: VmId,
    /// The VM's network interface that they lead to.
    pub nic: NicId,
    /// The VM's port that the first one leads to, the second to the next, and so on.
    pub to_port: u16,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates a port forward.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortForwardCreate {
    /// The public address, which is in the VM's zone and its account's.
    pub public_ip: PublicIpId,
    /// Of which protocol.
    pub transport: Transport,
    /// The ports outside, which lead nowhere else.
    pub ports: PortRange,
    /// The VM that they lead to.
    pub vm: VmId,
    /// In which of its networks, which has a router; the only one of them when left out.
    #[serde(default)]
    pub network: Option<NetworkId>,
    /// The VM's port that the first one leads to; the same as outside when left out.
    #[serde(default)]
    pub to_port: Option<u16>,
}

/// Changes a port forward. What is left out stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortForwardUpdate {
    /// Of which protocol.
    #[serde(default)]
    pub transport: Option<Transport>,
    /// The ports outside, which lead nowhere else.
    #[serde(default)]
    pub ports: Option<PortRange>,
    /// The VM that they lead to.
    #[serde(default)]
    pub vm: Option<VmId>,
    /// In which of its networks; the only one of them with a router when left out with another VM.
    #[serde(default)]
    pub network: Option<NetworkId>,
    /// The VM's port that the first one leads to.
    #[serde(default)]
    pub to_port: Option<u16>,
}
