//! A host, as placement sees it.

use std::collections::BTreeSet;

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
    /// What an operator says of it, in words of its own.
    pub tags: BTreeSet<String>,
}

impl Host {
    /// Free memory in MiB.
    pub fn memory_free_mib(&self) -> u64 {
        self.memory_limit_mib.saturating_sub(self.memory_allocated_mib)
    }

    /// Free virtual CPUs.
    pub fn vcpus_free(&self) -> u32 {
        self.vcpus_limit.saturating_sub(self.vcpus_allocated)
    }

    /// Why the VM cannot go here; nothing if it can.
    pub fn refuses(&self, request: &Request) -> Option<Reason> {
        if self.closed.is_some() {
            return self.closed;
        }
        if !request.tags.is_subset(&self.tags) {
            return Some(Reason::Tags);
        }
        if self.memory_free_mib() < request.memory_mib {
            return Some(Reason::Memory);
        }
        if self.vcpus_free() < request.vcpus {
            return Some(Reason::Cpus);
        }
        if request.apart_from.contains(&self.id) {
            return Some(Reason::KeptApart);
        }
        let not_together = !request.together_with.is_empty() && !request.together_with.contains(&self.id);
        not_together.then_some(Reason::NotTogether)
    }
}
