//! What was observed, found by name, by tag and by who uses whom.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use podzol_vocab::{InterfaceName, Tag};

use crate::observed::{Link, LinkIndex};

/// An index over the links observed.
pub(super) struct View<'a> {
    by_name: BTreeMap<&'a InterfaceName, &'a Link>,
    by_index: HashMap<LinkIndex, &'a Link>,
    by_tag: HashMap<(Option<LinkIndex>, Tag), Vec<&'a Link>>,
    foreign_users: HashMap<LinkIndex, Vec<&'a InterfaceName>>,
}

impl<'a> View<'a> {
    pub(super) fn new(observed: &'a [Link]) -> Self {
        let mut view = Self {
            by_name: observed.iter().map(|link| (&link.name, link)).collect(),
            by_index: observed.iter().map(|link| (link.index, link)).collect(),
            by_tag: HashMap::new(),
            foreign_users: HashMap::new(),
        };
        for link in observed {
            if let Some(tag) = link.tag() {
                let trunk = link.parent.filter(|_| tag.vlan().is_some());
                view.by_tag.entry((trunk, tag)).or_default().push(link);
            }
            for used in [link.master, link.parent].into_iter().flatten().filter(|_| !link.is_ours()) {
                view.foreign_users.entry(used).or_default().push(&link.name);
            }
        }
        view
    }

    pub(super) fn links(&self) -> impl Iterator<Item = &'a Link> {
        self.by_name.values().copied()
    }

    pub(super) fn by_name(&self, name: &InterfaceName) -> Option<&'a Link> {
        self.by_name.get(name).copied()
    }

    /// The interfaces with this tag, on this trunk if it is a VLAN's.
    pub(super) fn by_tag(&self, trunk: Option<LinkIndex>, tag: Tag) -> impl Iterator<Item = &'a Link> {
        self.by_tag.get(&(trunk, tag)).into_iter().flatten().copied()
    }

    /// Whether the link of this index is ours.
    pub(super) fn is_ours(&self, index: LinkIndex) -> bool {
        self.by_index.get(&index).is_some_and(|link| link.is_ours())
    }

    /// The foreign links that are ports of this link or stacked on it.
    pub(super) fn users(&self, link: &Link) -> Vec<InterfaceName> {
        self.foreign_users.get(&link.index).into_iter().flatten().map(|name| (*name).clone()).collect()
    }

    /// Whether this link, which no segment wants, is the way out for a bridge of ours that no segment wants but a
    /// foreign port uses.
    pub(super) fn serves_a_bridge_in_use(&self, link: &Link, wanted: &BTreeSet<InterfaceName>) -> bool {
        let Some(bridge) = link.master.and_then(|index| self.by_index.get(&index)) else { return false };
        let unwanted = !wanted.contains(&link.name) && !wanted.contains(&bridge.name);
        bridge.is_ours() && unwanted && self.foreign_users.contains_key(&bridge.index)
    }
}
