//! The ports that rules of one area have, and the runs that they make together.

use std::collections::BTreeMap;

use crate::span::{Span, merge};

/// Ports of rules.
#[derive(Debug, Default)]
pub(super) struct PortSet {
    /// The ports of each rule, with how many have the same.
    rules: BTreeMap<Span, usize>,
    /// How far it is at most from the first port of a rule to its last, of all that there ever were.
    longest: u32,
    /// Where a run begins, and where it ends. Between two is a gap.
    runs: BTreeMap<u32, u32>,
}

impl PortSet {
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// All runs.
    pub(super) fn runs(&self) -> impl Iterator<Item = Span> {
        self.runs.iter().map(|(first, last)| Span::new(*first, *last))
    }

    /// The ports of the rules, each once.
    pub(super) fn rules(&self) -> impl Iterator<Item = Span> {
        self.rules.keys().copied()
    }

    /// The ports of those rules that may have something of a range, each once.
    pub(super) fn rules_near(&self, range: Span) -> impl Iterator<Item = Span> {
        let first = range.first.saturating_sub(self.longest);
        self.rules.range(Span::new(first, 0)..=Span::new(range.last, u32::MAX)).map(|(ports, _)| *ports)
    }

    /// The runs that have something of a range, whole.
    pub(super) fn runs_in(&self, range: Span) -> impl Iterator<Item = Span> {
        let before = self.runs.range(..range.first).next_back().filter(|(_, last)| **last >= range.first);
        let within = self.runs.range(range.first..=range.last);
        before.into_iter().chain(within).map(|(first, last)| Span::new(*first, *last))
    }

    /// Adds a rule's.
    pub(super) fn add(&mut self, ports: Span) {
        *self.rules.entry(ports).or_default() += 1;
        self.longest = self.longest.max(ports.last - ports.first);
        let touched = Span::new(ports.first.saturating_sub(1), ports.last.saturating_add(1));
        let mut run = ports;
        for other in self.runs_in(touched).collect::<Vec<_>>() {
            run = Span::new(run.first.min(other.first), run.last.max(other.last));
            self.runs.remove(&other.first);
        }
        self.runs.insert(run.first, run.last);
    }

    /// Takes a rule's out that is there.
    pub(super) fn remove(&mut self, ports: Span) {
        let Some(count) = self.rules.get_mut(&ports) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.rules.remove(&ports);
        let Some(run) = self.runs_in(ports).next() else { return };
        self.runs.remove(&run.first);
        let others = self.rules.range(Span::new(run.first, 0)..=Span::new(run.last, u32::MAX));
        let mut left: Vec<Span> = others.map(|(ports, _)| *ports).collect();
        merge(&mut left);
        self.runs.extend(left.into_iter().map(|run| (run.first, run.last)));
    }
}
