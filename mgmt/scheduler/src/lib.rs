//! Placement: which host a VM goes to, or why none.
//!
//! A pure function over a [`Pool`] of hosts: it does no I/O, reads no clock and draws no random number, so the same
//! question gets the same answer. It does not know what a VM is beyond what it takes up.
//!
//! # Design notes
//! VMs are spread: the host with the most free memory comes first, so that a host's failure hurts few and a burst finds
//! room everywhere. The hosts stand in an ordered index by free memory, so a decision looks at a few hosts however many
//! there are; only a refusal looks at all of them, to say why each was passed over.
//! Refused: best fit, which fills hosts to the brim first and leaves the operator with empty ones (it saves power, but
//! costs a customer most of its VMs at one failure); power of two choices, which needs random numbers and may miss the
//! only host that fits.

mod host;
mod refusal;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use podzol_vocab::HostId;

pub use host::Host;
pub use refusal::{Reason, Refusal};

/// What a VM takes up, and what it wants of its host.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Hosts that it must not share, such as those of the other members of an anti-affinity group.
    pub apart_from: BTreeSet<HostId>,
}

/// The hosts of a zone with what is free on each, kept current as VMs are placed and removed.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    hosts: HashMap<HostId, Host>,
    by_free_memory: BTreeSet<(Reverse<u64>, HostId)>,
}

impl Pool {
    /// A pool of these hosts.
    pub fn new(hosts: impl IntoIterator<Item = Host>) -> Self {
        let mut pool = Self::default();
        for host in hosts {
            pool.put(host);
        }
        pool
    }

    /// Adds a host, or replaces what is known of it.
    pub fn put(&mut self, host: Host) {
        self.unindex(host.id);
        if host.closed.is_none() {
            self.by_free_memory.insert((Reverse(host.memory_free_mib()), host.id));
        }
        self.hosts.insert(host.id, host);
    }

    /// Chooses a host and takes the room on it.
    ///
    /// # Errors
    /// When no host fits: the reason for each class of hosts.
    pub fn place(&mut self, request: &Request) -> Result<HostId, Refusal> {
        let Some(id) = self.choose(request) else { return Err(self.refuse(request)) };
        if let Some(mut host) = self.hosts.get(&id).cloned() {
            host.vcpus_allocated += request.vcpus;
            host.memory_allocated_mib += request.memory_mib;
            self.put(host);
        }
        Ok(id)
    }

    /// Gives back the room that a VM had on a host.
    pub fn release(&mut self, id: HostId, vcpus: u32, memory_mib: u64) {
        if let Some(mut host) = self.hosts.get(&id).cloned() {
            host.vcpus_allocated = host.vcpus_allocated.saturating_sub(vcpus);
            host.memory_allocated_mib = host.memory_allocated_mib.saturating_sub(memory_mib);
            self.put(host);
        }
    }

    fn choose(&self, request: &Request) -> Option<HostId> {
        self.by_free_memory
            .iter()
            // The hosts behind have no more memory free than this one.
            .take_while(|(Reverse(free), _)| *free >= request.memory_mib)
            .map(|(_, id)| *id)
            .find(|id| self.hosts.get(id).is_some_and(|host| host.refuses(request).is_none()))
    }

    fn refuse(&self, request: &Request) -> Refusal {
        let mut reasons: BTreeMap<Reason, BTreeSet<String>> = BTreeMap::new();
        for host in self.hosts.values() {
            if let Some(reason) = host.refuses(request) {
                reasons.entry(reason).or_default().insert(host.name.clone());
            }
        }
        Refusal { reasons }
    }

    fn unindex(&mut self, id: HostId) {
        if let Some(known) = self.hosts.get(&id) {
            self.by_free_memory.remove(&(Reverse(known.memory_free_mib()), id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u8, memory_mib: u64) -> Host {
        let mut bytes = [0; 16];
        bytes[15] = number;
        Host {
            id: HostId::from_bytes(bytes),
            name: format!("h{number}"),
            closed: None,
            vcpus_limit: 8,
            vcpus_allocated: 0,
            memory_limit_mib: memory_mib,
            memory_allocated_mib: 0,
        }
    }

    fn request(memory_mib: u64) -> Request {
        Request { vcpus: 1, memory_mib, ..Default::default() }
    }

    #[test]
    fn vms_are_spread_over_the_hosts_with_the_most_free_memory() {
        let mut pool = Pool::new([host(1, 1000), host(2, 1000), host(3, 1500)]);
        let placed: Vec<_> = (0..4).map(|_| pool.place(&request(400)).unwrap()).collect();
        assert_eq!(placed, [host(3, 0).id, host(3, 0).id, host(1, 0).id, host(2, 0).id]);
    }

    #[test]
    fn a_refusal_says_why_each_host_was_passed_over() {
        let mut away = host(1, 9000);
        away.closed = Some(Reason::Maintenance);
        let mut silent = host(2, 9000);
        silent.closed = Some(Reason::Disconnected);
        let mut full = host(3, 9000);
        full.vcpus_allocated = 8;
        let shared = host(5, 9000);
        let mut request = request(500);
        request.apart_from.insert(shared.id);
        let mut pool = Pool::new([away, silent, full, host(4, 300), shared, host(6, 200)]);

        let refusal = pool.place(&request).unwrap_err();

        assert_eq!(
            refusal.lines(),
            [
                "1 host: in maintenance (h1)",
                "1 host: disconnected (h2)",
                "2 hosts: not enough memory (h4, h6)",
                "1 host: not enough CPUs (h3)",
                "1 host: kept apart from a VM on it (h5)",
            ]
        );
    }

    #[test]
    fn without_hosts_the_refusal_says_so() {
        assert_eq!(
            Pool::default().place(&request(1)).unwrap_err().lines(),
            ["there is no host in this zone"]
        );
    }

    #[test]
    fn room_that_was_given_back_is_used_again() {
        let mut pool = Pool::new([host(1, 400)]);
        let id = pool.place(&request(400)).unwrap();
        assert!(pool.place(&request(400)).is_err());
        pool.release(id, 1, 400);
        assert_eq!(pool.place(&request(400)).unwrap(), id);
    }
}
