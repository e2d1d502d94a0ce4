//! Why nothing could be placed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Why a host was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It has not joined yet.
    Joining,
    /// An operator keeps VMs away from it.
    Maintenance,
    /// It does not report.
    Disconnected,
    /// It cannot run VMs.
    NoHypervisor,
    /// The VM's volumes cannot be reached from it yet.
    NoStorage,
    /// It can have no tunnels to other hosts, and a network of the VM is on a VXLAN.
    NoTunnels,
    /// Its agent guards no IPv6 addresses, and a network of the VM has IPv6.
    NoIpv6,
    /// It is not on both the management and the public network with a bridge, and the VM is a router.
    NoTraffic,
    /// The VM is on it already.
    IsThere,
    /// It runs VMs by other means than the host that the VM comes from.
    OtherAccelerator,
    /// It does not have all tags that the VM asks for.
    Tags,
    /// Too little memory is free.
    Memory,
    /// Too few virtual CPUs are free.
    Cpus,
    /// A VM that must not share a host with this one is on it.
    KeptApart,
    /// A VM of the group that keeps together is on another host.
    NotTogether,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joining => "not joined yet",
            Self::Maintenance => "in maintenance",
            Self::Disconnected => "disconnected",
            Self::NoHypervisor => "cannot run VMs",
            Self::NoStorage => "does not reach the pool yet",
            Self::NoTunnels => "cannot carry VXLANs",
            Self::NoIpv6 => "agent without IPv6",
            Self::NoTraffic => "no bridges on the management and public networks, which a router needs",
            Self::IsThere => "it is there already",
            Self::OtherAccelerator => "runs VMs by other means",
            Self::Tags => "without the tags that are asked for",
            Self::Memory => "not enough memory",
            Self::Cpus => "not enough CPUs",
            Self::KeptApart => "kept apart from a VM on it",
            Self::NotTogether => "not with the VMs of its group",
        })
    }
}

/// No host fits: the hosts by the reason for which each was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The names of the hosts by reason.
    pub reasons: BTreeMap<Reason, BTreeSet<String>>,
    /// For how many hosts that may fail the room is kept that is left; nothing if none is left.
    pub reserved_for: Option<usize>,
}

/// How many hosts a line of a refusal names.
const NAMED: usize = 5;

impl Refusal {
    /// A line for each reason: `3 hosts: not enough memory (h1, h2, h3)`.
    pub fn lines(&self) -> Vec<String> {
        if self.reasons.is_empty() && self.reserved_for.is_none() {
            return vec!["there is no host in this zone".into()];
        }
        let reserved = self.reserved_for.map(|hosts| {
            let noun = if hosts == 1 { "host" } else { "hosts" };
            format!("the room that is left is kept for the VMs of {hosts} {noun} that may fail")
        });
        let line = |(reason, hosts): (&Reason, &BTreeSet<String>)| {
            let names: Vec<&str> = hosts.iter().map(String::as_str).take(NAMED).collect();
            let more = if hosts.len() > NAMED { ", …" } else { "" };
            let noun = if hosts.len() == 1 { "host" } else { "hosts" };
            format!("{} {noun}: {reason} ({}{more})", hosts.len(), names.join(", "))
        };
        reserved.into_iter().chain(self.reasons.iter().map(line)).collect()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no host fits: {}", self.lines().join("; "))
    }
}

impl std::error::Error for Refusal {}
