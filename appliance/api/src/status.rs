//! What a router says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use podzol_vocab::{Generation, LoadBalancerId, NicId, Sha256, VmId};
use serde::{Deserialize, Serialize};

/// What a router does, looked up now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterStatus {
    /// The document in force; none right after its start.
    pub generation: Option<Generation>,
    /// Which template it was started from: the id in the image's manifest.
    pub image: String,
    /// The appliance's version.
    pub version: String,
    /// Which start of its kernel this is.
    pub boot_id: String,
    /// How long each step of its start took, in the order of the steps.
    pub boot: Vec<Phase>,
    /// Each service, and how it is.
    pub health: BTreeMap<String, Health>,
    /// SHA-256 of what the kernel really has: links, addresses, routes and rules, in a form of its own.
    pub kernel: Sha256,
    /// How often something that was not as it should be was put right.
    pub repairs: u64,
    /// What interfaces of VMs have sent to outside their network and received from there since the router's start, over IPv4
    /// and IPv6 together.
    pub nics: BTreeMap<NicId, Counters>,
    /// What went through public addresses since the router's start.
    pub public: BTreeMap<Ipv4Addr, Counters>,
    /// The VMs that have set the password they were given.
    pub passwords_set: Vec<VmId>,
    /// What its image has beside what all have, such as [`EXTENSION_L7`](crate::EXTENSION_L7).
    #[serde(default)]
    pub extensions: BTreeSet<String>,
    /// Its balancers of HTTP.
    #[serde(default)]
    pub http_balancers: BTreeMap<LoadBalancerId, HttpBalancerStatus>,
    /// Of each other balancer that has a check, the members that do not work by it.
    #[serde(default)]
    pub checked: BTreeMap<LoadBalancerId, BTreeSet<NicId>>,
}

/// How a balancer of HTTP is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HttpBalancerStatus {
    /// What went through it since the router's start.
    pub counters: HttpCounters,
    /// How many clients' connections it has now.
    pub open: u64,
    /// The members that do not work, by their checks.
    pub down: BTreeSet<NicId>,
}

/// What went through a balancer of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HttpCounters {
    /// Connections that clients have made.
    pub connections: u64,
    /// Requests that have come by them.
    pub requests: u64,
    /// Requests that were answered with a status from 500 on, by a member or for want of one.
    pub failures: u64,
    /// Bytes that came from clients.
    pub received_bytes: u64,
    /// Bytes that went to clients.
    pub sent_bytes: u64,
}

/// A step of a router's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// What was done.
    pub step: String,
    /// When it was done, in microseconds since the kernel began.
    pub done_micros: u64,
}

/// How a service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Health {
    /// It works.
    Up,
    /// It does not.
    Down {
        /// Why, in words.
        why: String,
    },
}

/// What went through, seen from the VM or the public address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets received.
    pub received_packets: u64,
}

/// The last lines of a router's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
    /// How many older ones are gone.
    pub dropped: u64,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its number since the router's start.
    pub number: u64,
    /// Its text.
    pub text: String,
}
