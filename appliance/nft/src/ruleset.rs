//! All elements of sets and maps, and all balancers' chains: a pure function of the document.

mod firewall;
mod nat;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use podzol_appliance_api::Document;
use podzol_vocab::{InterfaceName, LoadBalancerId, NetworkId, NicId};

use crate::balancer::Chain;

/// What stands in the skeleton's sets and maps, and the balancers' chains.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruleset {
    pub(crate) sets: BTreeMap<Set, Elements>,
    /// A chain that is somebody's but not as any is made has nothing.
    pub(crate) chains: BTreeMap<LoadBalancerId, Option<Chain>>,
}

impl Ruleset {
    /// What a document without problems needs, with the links that its guest networks have by now, and the members of
    /// balancers that are down. Nothing comes from a network without a link.
    pub fn of(
        document: &Document,
        links: &BTreeMap<NetworkId, InterfaceName>,
        down: &BTreeSet<(LoadBalancerId, NicId)>,
    ) -> Self {
        let mut rules = Self::default();
        rules.add_links(
            links.iter().filter(|(network, _)| document.guests.contains_key(network)).map(|(_, link)| link),
        );
        rules.add_ingress(document);
        rules.add_egress(document);
        rules.add_forwards(document);
        rules.add_balancers(document, down);
        rules.add_sources(document);
        rules.add_counted(document);
        rules
    }

    /// Adds an element to a set.
    pub(crate) fn add(&mut self, set: Set, key: impl Display) {
        self.sets.entry(set).or_default().insert(key.to_string(), None);
    }

    /// Adds an element to a map.
    pub(crate) fn map(&mut self, set: Set, key: impl Display, value: impl Display) {
        self.sets.entry(set).or_default().insert(key.to_string(), Some(value.to_string()));
    }

    fn add_links<'a>(&mut self, links: impl Iterator<Item = &'a InterfaceName>) {
        for link in links {
            self.add(Set::Guests, format_args!("\"{link}\""));
            self.add(Set::SameLink, format_args!("\"{link}\" . \"{link}\""));
            self.add(Set::CountedSameLink, format_args!("\"{link}\" . \"{link}\""));
        }
    }

    fn add_counted(&mut self, document: &Document) {
        for nic in document.nics.values() {
            self.add(Set::NicSent, nic.address);
            self.add(Set::NicReceived, nic.address);
        }
        for address in document.public.iter().flat_map(|public| public.addresses.keys()) {
            self.add(Set::PublicSent, address);
            self.add(Set::PublicReceived, address);
        }
    }
}

/// Elements by their keys, as nft(8) lists them; those of maps with their values.
pub(crate) type Elements = BTreeMap<String, Option<String>>;

/// A set or map of the skeleton.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Set {
    Guests,
    SameLink,
    IngressPort,
    Ingress,
    IngressAll,
    EgressPolicy,
    Egress,
    EgressAll,
    ForwardPort,
    ForwardRange,
    Balancers,
    StaticIn,
    Refused,
    StaticOut,
    SourceNat,
    CountedSameLink,
    NicSent,
    NicReceived,
    PublicSent,
    PublicReceived,
}

impl Set {
    /// All of them.
    const ALL: [Self; 20] = [
        Self::Guests,
        Self::SameLink,
        Self::IngressPort,
        Self::Ingress,
        Self::IngressAll,
        Self::EgressPolicy,
        Self::Egress,
        Self::EgressAll,
        Self::ForwardPort,
        Self::ForwardRange,
        Self::Balancers,
        Self::StaticIn,
        Self::Refused,
        Self::StaticOut,
        Self::SourceNat,
        Self::CountedSameLink,
        Self::NicSent,
        Self::NicReceived,
        Self::PublicSent,
        Self::PublicReceived,
    ];

    /// The set of this name in this table of IPv4.
    pub(crate) fn named(table: &str, name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.place() == (table, name))
    }

    /// Its table and its name there.
    pub(crate) fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::Guests => ("podzol", "guests"),
            Self::SameLink => ("podzol", "same_link"),
            Self::IngressPort => ("podzol", "ingress_port"),
            Self::Ingress => ("podzol", "ingress"),
            Self::IngressAll => ("podzol", "ingress_all"),
            Self::EgressPolicy => ("podzol", "egress_policy"),
            Self::Egress => ("podzol", "egress"),
            Self::EgressAll => ("podzol", "egress_all"),
            Self::ForwardPort => ("podzol", "forward_port"),
            Self::ForwardRange => ("podzol", "forward_range"),
            Self::Balancers => ("podzol", "balancers"),
            Self::StaticIn => ("podzol", "static_in"),
            Self::Refused => ("podzol", "refused"),
            Self::StaticOut => ("podzol", "static_out"),
            Self::SourceNat => ("podzol", "source_nat"),
            Self::CountedSameLink => ("podzol_count", "same_link"),
            Self::NicSent => ("podzol_count", "nic_sent"),
            Self::NicReceived => ("podzol_count", "nic_received"),
            Self::PublicSent => ("podzol_count", "public_sent"),
            Self::PublicReceived => ("podzol_count", "public_received"),
        }
    }

    /// Whether its elements are names of links, which nft(8) has in quotes.
    pub(crate) fn is_of_links(self) -> bool {
        matches!(self, Self::Guests | Self::SameLink | Self::CountedSameLink)
    }

    /// Whether its elements count, and so outlive a repair.
    pub(crate) fn is_counted(self) -> bool {
        matches!(self, Self::NicSent | Self::NicReceived | Self::PublicSent | Self::PublicReceived)
    }
}
