//! What brings rules into force: text for `nft -f -` and batches for the kernel, each one transaction.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use podzol_vocab::LoadBalancerId;

use crate::balancer::{Chain, chain_name};
use crate::limit::Limit;
use crate::listing::Observed;
use crate::ruleset::{Elements, Place, Ruleset, Set};
use crate::shape::Shape;
use crate::skeleton::skeleton;
use crate::wire::{Batch, Form, Writer};

impl Ruleset {
    /// What makes this of another that is in force; nothing if they are the same. Its size and the kernel's work go by
    /// what is different, and the counters of what stays go on.
    pub fn script_from(&self, before: &Self) -> Option<String> {
        script(&Differences::between(before, self))
    }

    /// The same in steps, of which as few as can be are nft(8)'s.
    pub fn change_from(&self, before: &Self) -> Option<Change> {
        change(&Differences::between(before, self))
    }

    /// What makes this of anything, for a first load or a repair: the skeleton and all elements. Packets meet the old
    /// rules, the new ones, or for a moment both, and never none; connections go on. Counters go on too, and what is to be
    /// counted no more stays in its set; [`Ruleset::repair`] knows of it.
    pub fn whole(&self) -> String {
        let mut text = skeleton().to_owned();
        text.push_str("\nflush set inet podzol_count same_link\n");
        text.push_str(&self.script_from(&Self::default()).unwrap_or_default());
        text
    }

    /// What makes this of what is observed, where `good` is what was listed right after the skeleton was loaded: removes
    /// what is not Podzol's, and does as [`Ruleset::whole`] does.
    pub fn repair(&self, found: &Observed, good: &Shape) -> String {
        let mut text = found.shape.removal(good) + &self.whole();
        // If the counting sets are made anew too, there is nothing in them to take out.
        if found.shape.counts_like(good) {
            let differences = Differences::between(&found.ruleset, self);
            for (set, Difference { gone, .. }) in differences.sets.iter().filter(|(set, _)| set.is_counted())
            {
                elements(&mut text, "delete", *set, gone.iter().map(|key| (*key, None)));
            }
        }
        text
    }
}

/// What makes one rule set of another, step by step. What packets meet changes in one of the steps only: before it come chains
/// that nothing leads to yet; after it networks, from which nothing comes until then, and the end of chains that nothing leads
/// to any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change(Vec<Step>);

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Text for `nft -f -`.
    Script(String),
    /// Bytes for the kernel.
    Batch(Batch),
}

impl Change {
    /// A change by one script.
    pub fn by_script(script: String) -> Self {
        Self(vec![Step::Script(script)])
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

/// What makes one rule set of another; nothing if they do not differ.
pub(crate) fn change(differences: &Differences<'_>) -> Option<Change> {
    let in_steps = in_steps(differences).map(Change).filter(|change| !change.0.is_empty());
    in_steps.or_else(|| script(differences).map(Change::by_script))
}

/// Nothing if it takes one script: a chain that packets meet already is another, or a network goes or is another, or a limit is.
fn in_steps(differences: &Differences<'_>) -> Option<Vec<Step>> {
    let (mut before, mut after) = (Differences::default(), Differences::default());
    if differences.limit.is_some() || differences.chains_new.iter().any(|new| new.was_there) {
        return None;
    }
    before.chains_new.clone_from(&differences.chains_new);
    after.chains_gone.clone_from(&differences.chains_gone);
    let mut batch = Writer::new();
    for (set, difference) in &differences.sets {
        if Form::of(*set).is_some() {
            batch.delete(*set, difference.gone.iter().copied())?;
        } else if difference.gone.is_empty() {
            after.sets.insert(*set, difference.clone());
        } else {
            return None;
        }
    }
    for (set, difference) in differences.sets.iter().filter(|(set, _)| Form::of(**set).is_some()) {
        batch.add(*set, difference.new.iter().copied())?;
    }
    let steps = [
        script(&before).map(Step::Script),
        batch.finish().map(Step::Batch),
        script(&after).map(Step::Script),
    ];
    Some(steps.into_iter().flatten().collect())
}

/// The same as one script.
pub(crate) fn script(differences: &Differences<'_>) -> Option<String> {
    let mut text = String::new();
    // First go the elements, for they may name a chain that goes or be in the way of one that comes.
    for (set, Difference { gone, .. }) in &differences.sets {
        elements(&mut text, "delete", *set, gone.iter().map(|key| (*key, None)));
    }
    for id in &differences.chains_gone {
        let name = chain_name(*id);
        let _ = writeln!(text, "flush chain ip podzol {name}\ndelete chain ip podzol {name}");
    }
    for NewChain { id, chain, .. } in &differences.chains_new {
        chain_rule(&mut text, *id, *chain);
    }
    for (set, Difference { new, .. }) in &differences.sets {
        elements(&mut text, "add", *set, new.iter().copied());
    }
    if let Some(limit) = differences.limit {
        let _ = write!(text, "{limit}");
    }
    (!text.is_empty()).then_some(text)
}

/// What is different between two rule sets.
#[derive(Default)]
pub(crate) struct Differences<'a> {
    sets: BTreeMap<Set, Difference<'a>>,
    chains_gone: Vec<LoadBalancerId>,
    chains_new: Vec<NewChain<'a>>,
    limit: Option<Limit>,
}

/// A balancer's chain that is new, or another than before.
#[derive(Clone)]
struct NewChain<'a> {
    id: LoadBalancerId,
    chain: Option<&'a Chain>,
    was_there: bool,
}

/// What is different in a set.
#[derive(Default, Clone)]
struct Difference<'a> {
    gone: Vec<&'a str>,
    new: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Differences<'a> {
    fn between(before: &'a Ruleset, after: &'a Ruleset) -> Self {
        static NONE: Elements = Elements::new();
        let mut differences = Self::default();
        let sets: BTreeSet<Set> = before.sets.keys().chain(after.sets.keys()).copied().collect();
        for set in sets {
            let of = |rules: &'a Ruleset| rules.sets.get(&set).unwrap_or(&NONE);
            for (key, before, after) in side_by_side(of(before), of(after)) {
                differences.add(set, key, before, after);
            }
        }
        for (id, before, after) in side_by_side(&before.chains, &after.chains) {
            differences.add_chain(*id, before, after);
        }
        differences.limit = Some(after.limit).filter(|limit| *limit != before.limit);
        differences
    }

    /// An element as it was and as it is; nothing if it was not or is not there.
    pub(crate) fn add(
        &mut self,
        set: Set,
        key: &'a str,
        before: Option<&Option<String>>,
        after: Option<&'a Option<String>>,
    ) {
        if before == after {
            return;
        }
        let difference = self.sets.entry(set).or_default();
        difference.gone.extend(before.map(|_| key));
        difference.new.extend(after.map(|value| (key, value.as_deref())));
    }

    /// A balancer's chain as it was and as it is; nothing if it was not or is not there.
    pub(crate) fn add_chain(
        &mut self,
        id: LoadBalancerId,
        before: Option<&Option<Chain>>,
        after: Option<&'a Option<Chain>>,
    ) {
        match after {
            _ if before == after => {}
            None => self.chains_gone.push(id),
            Some(chain) => {
                let was_there = before.is_some();
                self.chains_new.push(NewChain { id, chain: chain.as_ref(), was_there });
            }
        }
    }
}

/// All keys of two maps, with the values that they have in each.
fn side_by_side<'a, K: Ord, V>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((before, _)), Some((after, _))) => before.cmp(after),
        };
        let went = if order.is_le() { old.next() } else { None };
        let came = if order.is_ge() { new.next() } else { None };
        let (key, _) = went.or(came)?;
        Some((key, went.map(|(_, value)| value), came.map(|(_, value)| value)))
    })
}

/// Makes a chain, or makes it anew if there is one.
fn chain_rule(text: &mut String, id: LoadBalancerId, chain: Option<&Chain>) {
    let name = chain_name(id);
    let _ = writeln!(text, "add chain ip podzol {name}\nflush chain ip podzol {name}");
    if let Some(chain) = chain {
        let _ = writeln!(text, "add rule ip podzol {name} {chain}");
    }
}

fn elements<'a>(
    text: &mut String,
    verb: &str,
    set: Set,
    elements: impl Iterator<Item = (&'a str, Option<&'a str>)>,
) {
    let Place { family, table, name } = set.place();
    let family = family.name();
    let mut is_first = true;
    for (key, value) in elements {
        let _ = if is_first {
            write!(text, "{verb} element {family} {table} {name} {{ ")
        } else {
            write!(text, ", ")
        };
        text.push_str(key);
        if let Some(value) = value {
            let _ = write!(text, " : {value}");
        }
        is_first = false;
    }
    if !is_first {
        text.push_str(" }\n");
    }
}
