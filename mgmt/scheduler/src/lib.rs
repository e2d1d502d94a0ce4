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
    /// The hosts of which it must be on one, such as those of the other members of an affinity group; all if empty.
    pub together_with: BTreeSet<HostId>,
    /// Tags that its host must have.
    pub tags: BTreeSet<String>,
    /// How many of the largest hosts may fail with room left for all VMs on the others. What this keeps free is not given
    /// to this VM.
    pub spare_hosts: usize,
}

/// The hosts of a zone with what is free on each, kept current as VMs are placed and removed.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    hosts: HashMap<HostId, Host>,
    by_free_memory: BTreeSet<(Reverse<u64>, HostId)>,
    /// Those that take VMs, the largest first.
    by_memory: BTreeSet<(Reverse<u64>, HostId)>,
    by_vcpus: BTreeSet<(Reverse<u32>, HostId)>,
    /// What is free on all that take VMs.
    free: Room,
}

/// Memory in MiB, and virtual CPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Virtual CPUs.
    pub vcpus: u64,
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
            self.by_memory.insert((Reverse(host.memory_limit_mib), host.id));
            self.by_vcpus.insert((Reverse(host.vcpus_limit), host.id));
            self.free.memory_mib += host.memory_free_mib();
            self.free.vcpus += u64::from(host.vcpus_free());
        }
        self.hosts.insert(host.id, host);
    }

    /// Removes a host.
    pub fn remove(&mut self, id: HostId) {
        self.unindex(id);
        self.hosts.remove(&id);
    }

    /// What is kept free, so that this many of the largest hosts may fail. When one fails, its VMs need what they take on
    /// it, and what was free on it is gone too: together all that it has. Memory and CPUs are kept each for itself.
    pub fn reserve(&self, spare_hosts: usize) -> Room {
        Room {
            memory_mib: self.by_memory.iter().take(spare_hosts).map(|(Reverse(mib), _)| mib).sum(),
            vcpus: self.by_vcpus.iter().take(spare_hosts).map(|(Reverse(vcpus), _)| u64::from(*vcpus)).sum(),
        }
    }

    /// What is free on all hosts that take VMs, the reserve included.
    pub fn free(&self) -> Room {
        self.free
    }

    /// The hosts, in no order.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// Whether a VM would take what is kept free, of the hosts that are not barred.
    fn takes_reserve(&self, request: &Request, bars: &impl Fn(HostId) -> Option<Reason>) -> bool {
        if request.spare_hosts == 0 {
            return false;
        }
        let barred: Vec<&Host> = self
            .by_memory
            .iter()
            .filter(|(_, id)| bars(*id).is_some())
            .filter_map(|(_, id)| self.hosts.get(id))
            .collect();
        let (free, reserve) = if barred.is_empty() {
            (self.free, self.reserve(request.spare_hosts))
        } else {
            let barred: BTreeSet<HostId> = barred.into_iter().map(|host| host.id).collect();
            let open = self.by_memory.iter().filter(|(_, id)| !barred.contains(id));
            let others = Self::new(open.filter_map(|(_, id)| self.hosts.get(id)).cloned());
            (others.free, others.reserve(request.spare_hosts))
        };
        takes(request, free, reserve)
    }

    /// Chooses a host and takes the room on it.
    ///
    /// # Errors
    /// When no host fits: the reason for each class of hosts.
    pub fn place(&mut self, request: &Request) -> Result<HostId, Refusal> {
        let id = self.decide(request)?;
        if let Some(mut host) = self.hosts.get(&id).cloned() {
            host.vcpus_allocated += request.vcpus;
            host.memory_allocated_mib += request.memory_mib;
            self.put(host);
        }
        Ok(id)
    }

    /// Chooses a host, and takes nothing.
    ///
    /// # Errors
    /// When no host fits: the reason for each class of hosts.
    pub fn decide(&self, request: &Request) -> Result<HostId, Refusal> {
        let id = self.choose(request, &|_| None).filter(|_| {
            request.spare_hosts == 0 || !takes(request, self.free, self.reserve(request.spare_hosts))
        });
        id.ok_or_else(|| self.refuse(request, &|_| None))
    }

    /// Chooses one of the hosts that nothing else bars, and takes nothing.
    ///
    /// # Errors
    /// When no host fits: the reason for each class of hosts.
    pub fn decide_within(
        &self,
        request: &Request,
        bars: impl Fn(HostId) -> Option<Reason>,
    ) -> Result<HostId, Refusal> {
        let id = self.choose(request, &bars).filter(|_| !self.takes_reserve(request, &bars));
        id.ok_or_else(|| self.refuse(request, &bars))
    }

    /// The hosts that the VM cannot go to, by the reason.
    pub fn passed_over(&self, request: &Request) -> Refusal {
        Refusal { reserved_for: None, ..self.refuse(request, &|_| None) }
    }

    /// Gives back the room that a VM had on a host.
    pub fn release(&mut self, id: HostId, vcpus: u32, memory_mib: u64) {
        if let Some(mut host) = self.hosts.get(&id).cloned() {
            host.vcpus_allocated = host.vcpus_allocated.saturating_sub(vcpus);
            host.memory_allocated_mib = host.memory_allocated_mib.saturating_sub(memory_mib);
            self.put(host);
        }
    }

    fn choose(&self, request: &Request, bars: &impl Fn(HostId) -> Option<Reason>) -> Option<HostId> {
        self.by_free_memory
            .iter()
            // The hosts behind have no more memory free than this one.
            .take_while(|(Reverse(free), _)| *free >= request.memory_mib)
            .map(|(_, id)| *id)
            .find(|id| {
                let fits = self.hosts.get(id).is_some_and(|host| host.refuses(request).is_none());
                fits && bars(*id).is_none()
            })
    }

    fn refuse(&self, request: &Request, bars: &impl Fn(HostId) -> Option<Reason>) -> Refusal {
        let mut reasons: BTreeMap<Reason, BTreeSet<String>> = BTreeMap::new();
        for host in self.hosts.values() {
            if let Some(reason) = host.closed.or_else(|| bars(host.id)).or_else(|| host.refuses(request)) {
                reasons.entry(reason).or_default().insert(host.name.clone());
            }
        }
        // Where one would fit, it is the reserve that keeps it out.
        let fits = reasons.values().map(BTreeSet::len).sum::<usize>() < self.hosts.len();
        Refusal { reasons, reserved_for: fits.then_some(request.spare_hosts) }
    }

    fn unindex(&mut self, id: HostId) {
        let Some(known) = self.hosts.get(&id).filter(|known| known.closed.is_none()) else { return };
        self.by_free_memory.remove(&(Reverse(known.memory_free_mib()), id));
        self.by_memory.remove(&(Reverse(known.memory_limit_mib), id));
        self.by_vcpus.remove(&(Reverse(known.vcpus_limit), id));
        self.free.memory_mib -= known.memory_free_mib();
        self.free.vcpus -= u64::from(known.vcpus_free());
    }
}

/// Whether a VM takes something of a reserve, with so much free.
fn takes(request: &Request, free: Room, reserve: Room) -> bool {
    free.memory_mib < reserve.memory_mib + request.memory_mib
        || free.vcpus < reserve.vcpus + u64::from(request.vcpus)
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
            tags: BTreeSet::new(),
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
    fn members_of_a_group_keep_together_and_tags_are_asked_for() {
        let mut tagged = host(1, 500);
        tagged.tags.insert("gpu".into());
        let mut pool = Pool::new([tagged, host(2, 1000), host(3, 800)]);
        let tags: BTreeSet<String> = ["gpu".to_owned()].into();
        let with_tags = Request { tags: tags.clone(), ..request(100) };
        assert_eq!(pool.place(&with_tags).unwrap(), host(1, 0).id);
        let together = Request { together_with: [host(3, 0).id].into(), ..request(100) };
        assert_eq!(pool.place(&together).unwrap(), host(3, 0).id);
        let both = Request { tags, together_with: [host(3, 0).id].into(), ..request(100) };
        assert_eq!(
            pool.place(&both).unwrap_err().lines(),
            [
                "2 hosts: without the tags that are asked for (h2, h3)",
                "1 host: not with the VMs of its group (h1)"
            ]
        );
    }

    #[test]
    fn what_is_kept_for_a_host_that_fails_is_not_given_away() {
        let mut away = host(4, 9000);
        away.closed = Some(Reason::Maintenance);
        let mut pool = Pool::new([host(1, 1000), host(2, 1000), host(3, 400), away]);
        let safe = Request { spare_hosts: 1, ..request(400) };
        assert_eq!(pool.reserve(1), Room { memory_mib: 1000, vcpus: 8 });
        for _ in 0..3 {
            pool.place(&safe).unwrap();
        }
        assert_eq!(pool.free(), Room { memory_mib: 1200, vcpus: 21 });
        assert_eq!(
            pool.place(&safe).unwrap_err().lines(),
            [
                "the room that is left is kept for the VMs of 1 host that may fail",
                "1 host: in maintenance (h4)",
                "1 host: not enough memory (h1)",
            ]
        );
        // As after a failure: every VM of the largest host fits on the others.
        let unsafe_now = pool.place(&request(400)).unwrap();
        pool.release(unsafe_now, 1, 400);
        pool.place(&Request { spare_hosts: 1, ..request(200) }).unwrap();
        assert!(pool.place(&Request { spare_hosts: 1, ..request(1) }).is_err());
    }

    #[test]
    fn virtual_cpus_are_kept_too() {
        let mut pool = Pool::new([host(1, 9000), host(2, 9000)]);
        let safe = Request { spare_hosts: 1, vcpus: 4, ..request(1) };
        pool.place(&safe).unwrap();
        pool.place(&safe).unwrap();
        assert!(pool.place(&safe).is_err());
    }

    #[test]
    fn without_hosts_the_refusal_says_so() {
        assert_eq!(
            Pool::default().place(&request(1)).unwrap_err().lines(),
            ["there is no host in this zone"]
        );
    }

    #[test]
    fn a_host_that_something_else_bars_is_passed_over_and_one_that_is_removed_is_none() {
        let mut pool = Pool::new([host(1, 900), host(2, 500), host(3, 400)]);
        let bars = |id| (id == host(1, 0).id).then_some(Reason::NoStorage);
        assert_eq!(pool.decide_within(&request(300), bars).unwrap(), host(2, 0).id);
        pool.remove(host(2, 0).id);
        assert_eq!(pool.decide_within(&request(300), bars).unwrap(), host(3, 0).id);
        assert_eq!(
            pool.decide_within(&request(600), bars).unwrap_err().lines(),
            ["1 host: does not reach the pool yet (h1)", "1 host: not enough memory (h3)"]
        );
    }

    #[test]
    fn what_is_free_on_barred_hosts_is_no_reserve() {
        let on = |number, memory_mib, taken| Host { memory_allocated_mib: taken, ..host(number, memory_mib) };
        let bars = |id| (id == host(3, 0).id).then_some(Reason::NoStorage);
        let safe = Request { spare_hosts: 1, ..request(30) };
        // An empty host that is out of reach takes in nobody.
        let pool = Pool::new([on(1, 100, 60), on(2, 100, 60), on(3, 100, 0)]);
        assert!(pool.decide_within(&safe, bars).is_err());
        assert!(pool.decide(&safe).is_ok());
        // And a large one that is out of reach needs nothing kept for it.
        let pool = Pool::new([on(1, 100, 0), on(2, 100, 0), on(3, 400, 390)]);
        assert!(pool.decide_within(&safe, bars).is_ok());
        assert!(pool.decide(&safe).is_err());
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
