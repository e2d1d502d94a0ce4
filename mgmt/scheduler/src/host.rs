//! A host, as placement sees it.

use podzol_vocab::HostId;

use crate::{Reason, Request};

/// A host with what it has and what is taken.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Its name, for the words of a refusal.
    pub name: String,
    /// Why it takes no VM whatever is free on it; nothing if it takes some.
    pub closed: Option<Reason>,
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
        if self.closed.is_some() {
            return self.closed;
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
