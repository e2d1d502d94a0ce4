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
