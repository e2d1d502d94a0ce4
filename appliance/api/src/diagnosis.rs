//! What there is in a router, for people who look for what is wrong.

use std::collections::BTreeMap;
use std::net::IpAddr;

use podzol_vocab::{MacAddr, NetworkId, VmId};
use serde::{Deserialize, Serialize};

/// What there is in a router, looked up now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Its links and their addresses, one a line.
    pub links: Vec<String>,
    /// Its routes, one a line.
    pub routes: Vec<String>,
    /// Its packet filter's rules, as nftables lists them, without the elements of sets and maps.
    pub rules: String,
    /// How many connections are being followed, and how many there can be.
    pub connections: (u64, u64),
    /// Memory that is free, in KiB, and all there is.
    pub memory_kib: (u64, u64),
    /// The address of each interface of a VM, in both families, by network and address.
    #[serde(default)]
    pub leases: Vec<Lease>,
    /// What the connections are that are being followed; none if they could not be counted in time.
    #[serde(default)]
    pub tracked: Option<Tracked>,
}

/// An address that DHCP has for an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The network.
    pub network: NetworkId,
    /// The VM.
    pub vm: VmId,
    /// The interface's MAC address. Whoever asks from another one is nobody, and gets no answer.
    pub mac: MacAddr,
    /// The address.
    pub address: IpAddr,
    /// How many seconds ago it was given last; none if it was not since the router's start.
    pub acked_secs_ago: Option<u64>,
    /// What was said of it last since the router's start.
    pub last: Option<Said>,
}

/// What was said of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// What.
    pub what: LeaseEvent,
    /// How many seconds ago.
    pub secs_ago: u64,
}

/// What can be said of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseEvent {
    /// The router has offered it.
    Offered,
    /// The router has given it, or given it for longer.
    Acked,
    /// The client wanted another address, and was refused.
    Refused,
    /// The client has given it back.
    Released,
    /// The client says that somebody else uses it.
    Declined,
}

/// The connections that the kernel follows, counted. While they are counted, some come and go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tracked {
    /// How many were counted.
    pub entries: u64,
    /// How many of each protocol and state, such as `tcp` and `established`. Those without states are `replied` or
    /// `unreplied`.
    pub states: BTreeMap<String, BTreeMap<String, u64>>,
    /// How many come from each network of VMs.
    pub networks: BTreeMap<NetworkId, u64>,
    /// How many come from elsewhere: from outside, or from the router itself.
    pub elsewhere: u64,
    /// The sources of the most connections, those with the most first: [`MAX_TALKERS`](crate::limits::MAX_TALKERS) of them.
    pub talkers: Vec<Talker>,
    /// By how many a talker's number may be too low, as more sources than can be counted each have some.
    pub talkers_short: u64,
}

/// A source of connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Talker {
    /// Its address.
    pub address: IpAddr,
    /// How many it has, at least.
    pub connections: u64,
}
