//! What a router is told at its start, on the drive that is made for that start alone.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use podzol_vocab::{MacAddr, Secret};
use serde::{Deserialize, Serialize};

/// The file on the drive that has it, as JSON.
pub const SEED_FILE: &str = "user-data";

/// Who a router is, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterSeed {
    /// The authority's certificate, as PEM.
    pub ca: String,
    /// The router's certificate, as PEM.
    pub certificate: String,
    /// Its private key, as PEM.
    pub key: Secret<String>,
    /// Its side to the management network.
    pub management: ManagementSide,
    /// Who the console proxy in it is, if it is a console proxy's VM. Left out for routers, as those of version 0.2.0 know no
    /// such field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console_proxy: Option<ProxyIdentity>,
}

/// Who a console proxy is. It has an identity of its own: whoever breaks into the process that browsers speak to has not got
/// the appliance's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyIdentity {
    /// The console proxy's certificate, as PEM, of the same authority.
    pub certificate: String,
    /// Its private key, as PEM.
    pub key: Secret<String>,
}

/// The router's side to the management network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagementSide {
    /// The MAC address of the router's interface there.
    pub mac: MacAddr,
    /// Its address there.
    pub address: Ipv4Addr,
    /// The length of the prefix of the range that the address is in.
    pub prefix_len: u8,
    /// The largest packet in bytes.
    pub mtu: u16,
    /// Where the management service is, if that is beyond a gateway.
    #[serde(default)]
    pub routes: Vec<ManagementRoute>,
}

/// A way to the management service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagementRoute {
    /// The addresses that it leads to.
    pub to: Ipv4Net,
    /// The gateway.
    pub via: Ipv4Addr,
}
