//! A host, as placement sees it.

use podzol_vocab::HostId;

use crate::{Reason, Request};

/// Whether a host takes new VMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// It does.
    Open,
    /// It has not joined yet.
    Joining,
    /// It does not report.
    Disconnected,
    /// An operator keeps VMs away from it.
    Maintenance,
    /// It reports, but cannot run VMs.
    NoHypervisor,
    /// It cannot reach the VM's volumes yet.
    NoStorage,
}

/// A host with what it has and what is taken.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Its name, for the words of a refusal.
    pub name: String,
    /// Whether it takes new VMs.
    pub availability: Availability,
    /// The most virtual CPUs on it, overcommit included.
    pub vcpus_limit: u32,
    /// Virtual CPUs that are taken.
    pub vcpus_allocated: u32,
    /// The most memory for VMs in MiB, overcommit included.
    pub memory_limit_mib: u64,
    /// Memory that is taken, in MiB.
    pub memory_allocated_mib: u64,
}

impl Host {
    /// Free memory in MiB.
    pub fn memory_free_mib(&self) -> u64 {
        self.memory_limit_mib.saturating_sub(self.memory_allocated_mib)
    }

    /// Why the VM cannot go here; nothing if it can.
    pub fn refuses(&self, request: &Request) -> Option<Reason> {
        match self.availability {
            Availability::Open => {}
            Availability::Joining => return Some(Reason::Joining),
            Availability::Disconnected => return Some(Reason::Disconnected),
            Availability::Maintenance => return Some(Reason::Maintenance),
            Availability::NoHypervisor => return Some(Reason::NoHypervisor),
            Availability::NoStorage => return Some(Reason::NoStorage),
        }
        if self.memory_free_mib() < request.memory_mib {
            return Some(Reason::Memory);
        }
        if self.vcpus_limit.saturating_sub(self.vcpus_allocated) < request.vcpus {
            return Some(Reason::Cpus);
        }
        request.apart_from.contains(&self.id).then_some(Reason::KeptApart)
    }
}
