//! Counters of balancers of HTTP that never go back, whatever process counts.

use std::collections::BTreeMap;

use podzol_appliance_api::HttpCounters;
use podzol_appliance_haproxy::Shown;
use podzol_vocab::LoadBalancerId;

/// How many balancers that are no more are still known, in case that they come back.
const KEPT: usize = 256;

/// What has gone through balancers since the router's start, and how many connections they have.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    total: BTreeMap<LoadBalancerId, HttpCounters>,
    /// What each process showed at the last look. Its counters begin with it.
    shown: BTreeMap<u64, BTreeMap<LoadBalancerId, Shown>>,
}

impl Tally {
    /// Adds what has come in a process since it was looked at last.
    pub(super) fn look(&mut self, process: u64, shown: BTreeMap<LoadBalancerId, Shown>) {
        let before = self.shown.entry(process).or_default();
        for (id, now) in &shown {
            let before = before.get(id).map(|shown| shown.counters).unwrap_or_default();
            add(self.total.entry(*id).or_default(), before, now.counters);
        }
        *before = shown;
        while self.total.len() > KEPT {
            let is_shown = |id: &LoadBalancerId| self.shown.values().any(|shown| shown.contains_key(id));
            let Some(gone) = self.total.keys().find(|id| !is_shown(id)).copied() else { break };
            self.total.remove(&gone);
        }
    }

    /// Forgets a process that has ended, but not what it has counted.
    pub(super) fn forget(&mut self, process: u64) {
        self.shown.remove(&process);
    }

    /// What went through a balancer, and how many connections it has.
    pub(crate) fn of(&self, id: LoadBalancerId) -> Shown {
        let open = self.shown.values().filter_map(|shown| shown.get(&id)).map(|shown| shown.open).sum();
        Shown { counters: self.total.get(&id).copied().unwrap_or_default(), open }
    }
}

fn add(total: &mut HttpCounters, before: HttpCounters, now: HttpCounters) {
    let more = |total: &mut u64, before: u64, now: u64| *total += now.saturating_sub(before);
    more(&mut total.connections, before.connections, now.connections);
    more(&mut total.requests, before.requests, now.requests);
    more(&mut total.failures, before.failures, now.failures);
    more(&mut total.received_bytes, before.received_bytes, now.received_bytes);
    more(&mut total.sent_bytes, before.sent_bytes, now.sent_bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: LoadBalancerId = LoadBalancerId::from_bytes([1; 16]);

    fn shown(requests: u64, open: u64) -> BTreeMap<LoadBalancerId, Shown> {
        [(ID, Shown { counters: HttpCounters { requests, ..HttpCounters::default() }, open })].into()
    }

    #[test]
    fn what_two_processes_count_is_added_and_one_that_ends_takes_nothing_away() {
        let mut tally = Tally::default();
        let now = |tally: &Tally| (tally.of(ID).counters.requests, tally.of(ID).open);
        tally.look(1, shown(10, 3));
        assert_eq!(now(&tally), (10, 3));
        tally.look(2, shown(1, 1));
        tally.look(1, shown(12, 2));
        assert_eq!(now(&tally), (13, 3));
        tally.forget(1);
        assert_eq!(now(&tally), (13, 1));
        tally.look(3, shown(4, 0));
        assert_eq!(now(&tally), (17, 1));
    }

    #[test]
    fn balancers_that_are_no_more_are_forgotten_in_time() {
        let mut tally = Tally::default();
        for _ in 0..2 * KEPT {
            tally.look(1, [(LoadBalancerId::new(), Shown::default())].into());
        }
        assert_eq!(tally.total.len(), KEPT);
    }
}
