//! Text for `nft -f -`, each one transaction: all of it comes into force at once, or nothing.

use std::collections::BTreeMap;
use std::fmt::Write;

use podzol_vocab::LoadBalancerId;

use crate::balancer::{Chain, chain_name};
use crate::listing::Observed;
use crate::ruleset::{Elements, Ruleset, Set};
use crate::shape::Shape;

/// The skeleton, with empty sets: a router that nothing passes, and that answers on its management interface only. It is
/// loaded before any link is up. Loaded again it makes all tables anew but that of the counters, whose elements stay.
pub const fn skeleton() -> &'static str {
    include_str!("podzol.nft")
}

impl Ruleset {
    /// What makes this of another that is in force; nothing if they are the same. Its size and the kernel's work go by
    /// what is different, and the counters of what stays go on.
    pub fn script_from(&self, before: &Self) -> Option<String> {
        let differences = differences(&before.sets, &self.sets);
        let (gone, new) = (chains_gone(before, self), chains_new(before, self));
        let mut text = String::new();
        // First go the elements, for they may name a chain that goes or be in the way of one that comes.
        for (set, Difference { gone, .. }) in &differences {
            elements(&mut text, "delete", *set, gone.iter().map(|key| (*key, None)));
        }
        for id in gone {
            let name = chain_name(id);
            let _ = writeln!(text, "flush chain ip podzol {name}\ndelete chain ip podzol {name}");
        }
        for (id, chain) in new {
            chain_rule(&mut text, id, chain);
        }
        for (set, Difference { new, .. }) in &differences {
            elements(&mut text, "add", *set, new.iter().copied());
        }
        (!text.is_empty()).then_some(text)
    }

    /// What makes this of anything, for a first load or a repair: the skeleton and all elements. Packets meet the old
    /// rules, the new ones, or for a moment both, and never none; connections go on. Counters go on too, and what is to be
    /// counted no more stays in its set; [`Ruleset::repair`] knows of it.
    pub fn whole(&self) -> String {
        let mut text = skeleton().to_owned();
        text.push_str("\nflush set ip podzol_count same_link\n");
        text.push_str(&self.script_from(&Self::default()).unwrap_or_default());
        text
    }

    /// What makes this of what is observed, where `good` is what was listed right after the skeleton was loaded: removes
    /// what is not Podzol's, and does as [`Ruleset::whole`] does.
    pub fn repair(&self, found: &Observed, good: &Shape) -> String {
        let mut text = found.shape.removal(good) + &self.whole();
        // If the counting sets are made anew too, there is nothing in them to take out.
        if found.shape.counts_like(good) {
            let differences = differences(&found.ruleset.sets, &self.sets);
            for (set, Difference { gone, .. }) in differences.iter().filter(|(set, _)| set.is_counted()) {
                elements(&mut text, "delete", *set, gone.iter().map(|key| (*key, None)));
            }
        }
        text
    }
}

/// What is different in a set.
#[derive(Default)]
struct Difference<'a> {
    gone: Vec<&'a str>,
    new: Vec<(&'a str, Option<&'a str>)>,
}

fn differences<'a>(
    before: &'a BTreeMap<Set, Elements>,
    after: &'a BTreeMap<Set, Elements>,
) -> BTreeMap<Set, Difference<'a>> {
    static NONE: Elements = Elements::new();
    let sets = before.keys().chain(after.keys()).map(|set| {
        let of = |sets: &'a BTreeMap<Set, Elements>| sets.get(set).unwrap_or(&NONE);
        (*set, difference(of(before), of(after)))
    });
    sets.collect()
}

/// Walks two sets of elements side by side, as both are sorted.
fn difference<'a>(before: &'a Elements, after: &'a Elements) -> Difference<'a> {
    let mut difference = Difference::default();
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return difference,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((before, _)), Some((after, _))) => before.cmp(after),
        };
        let went = if order.is_le() { old.next() } else { None };
        let came = if order.is_ge() { new.next() } else { None };
        if went == came {
            continue;
        }
        difference.gone.extend(went.map(|(key, _)| key.as_str()));
        difference.new.extend(came.map(|(key, value)| (key.as_str(), value.as_deref())));
    }
}

fn chains_gone(before: &Ruleset, after: &Ruleset) -> impl Iterator<Item = LoadBalancerId> {
    before.chains.keys().copied().filter(|id| !after.chains.contains_key(id))
}

fn chains_new<'a>(
    before: &Ruleset,
    after: &'a Ruleset,
) -> impl Iterator<Item = (LoadBalancerId, Option<&'a Chain>)> {
    let is_new = |id: &LoadBalancerId, chain: &Option<Chain>| before.chains.get(id) != Some(chain);
    after.chains.iter().filter(move |(id, chain)| is_new(id, chain)).map(|(id, chain)| (*id, chain.as_ref()))
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
    let (table, name) = set.place();
    let mut is_first = true;
    for (key, value) in elements {
        let _ =
            if is_first { write!(text, "{verb} element ip {table} {name} {{ ") } else { write!(text, ", ") };
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
