//! The rule set of a document: a pure function of it, which follows changes of the document without being made anew.
//!
//! What a change costs goes by what is changed, not by what is there. What it comes to is the same as if all were made
//! anew, which `tests/follow.rs` holds against random changes.

mod firewall;
mod nat;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use ipnet::{Ipv4Net, Ipv6Net};
use podzol_appliance_api::{Delta, Document, GuestNetwork, PublicSide6};
use podzol_appliance_pieces::{Areas, Way};
use podzol_vocab::{InterfaceName, LINK_GATEWAY, LoadBalancerId, NetworkId, NicId};

use crate::balancer::Chain;
use crate::limit::Limit;
use crate::ruleset::{Ruleset, Set};
use crate::script::{Change, Differences, change};

/// Members of balancers that are down.
pub type Down = BTreeSet<(LoadBalancerId, NicId)>;

/// The rule set of a document.
#[derive(Debug, Default)]
pub struct Rules {
    ruleset: Ruleset,
    /// The links of guest networks, which no change that can be followed makes others.
    links: BTreeMap<NetworkId, InterfaceName>,
    /// The same by the prefixes of those that have one.
    prefixes: BTreeMap<Ipv6Net, InterfaceName>,
    ingress: Areas<Ipv4Net>,
    egress: Areas<Ipv4Net>,
    ingress6: Areas<Ipv6Net>,
    egress6: Areas<Ipv6Net>,
    /// The field of which there is too much.
    too_many: Option<&'static str>,
    /// What stood where something has been changed, if somebody wants to know.
    journal: Option<Journal>,
}

/// What was there before a change.
#[derive(Debug, Default)]
struct Journal {
    /// Elements with their values; nothing if they were not there.
    elements: BTreeMap<(Set, String), Option<Option<String>>>,
    /// Balancers' chains.
    chains: BTreeMap<LoadBalancerId, Option<Option<Chain>>>,
}

impl Rules {
    /// What a document without problems needs, with the links that its guest networks have by now, and the members of
    /// balancers that are down. Nothing comes from a network without a link.
    pub fn of(document: &Document, links: &BTreeMap<NetworkId, InterfaceName>, down: &Down) -> Self {
        let mut rules = Self { links: links.clone(), ..Self::default() };
        rules.ruleset.limit = Limit::of(document);
        for (network, link) in links {
            if let Some(guest) = document.guests.get(network) {
                rules.add_link(link, guest);
            }
        }
        rules.add_networks(document);
        for nic in document.nics.values() {
            rules.nic(Way::In, nic);
        }
        for address in document.public.iter().flat_map(|public| public.addresses.keys()) {
            rules.edit(Way::In, Set::PublicSent, address, None);
            rules.edit(Way::In, Set::PublicReceived, address, None);
        }
        for PublicSide6 { next_hop, own, .. } in document.public.iter().flat_map(|public| public.ipv6) {
            rules.edit(Way::In, Set::Own6, next_hop, None);
            rules.edit(Way::In, Set::Own6, own, None);
        }
        for forward in document.port_forwards.values() {
            rules.port_forward(Way::In, forward);
        }
        for nat in document.static_nats.values() {
            rules.static_nat(Way::In, nat);
        }
        for (id, balancer) in &document.balancers {
            rules.balancer(Way::In, *id, balancer, down);
        }
        for balancer in document.http_balancers.values() {
            rules.http_balancer(Way::In, balancer);
        }
        for local in document.local_ports.values() {
            rules.local_port(Way::In, local);
        }
        rules.add_firewall(document);
        rules
    }

    /// What stands in sets and maps, and the balancers' chains.
    pub fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// The field of the document whose rules are cut in more pieces than a router holds, if there is one. These rules are of no
    /// use then, and can follow nothing: neither back.
    pub fn too_many(&self) -> Option<&'static str> {
        self.too_many
    }

    /// Whether a change can be followed: one of networks, public addresses or limits takes rules that are made anew.
    pub fn can_follow(delta: &Delta) -> bool {
        delta.keeps_sides() && delta.limits.is_none()
    }

    /// Follows a change of which [`Rules::can_follow`] holds, from one document to the next. Gives what makes the
    /// kernel's rules the same, if they differ. To follow it back, give the documents the other way round.
    pub fn follow(&mut self, delta: &Delta, from: &Document, to: &Document, down: &Down) -> Option<Change> {
        self.journal = Some(Journal::default());
        // All that goes is first, for what comes may take its place.
        for (way, document) in [(Way::Out, from), (Way::In, to)] {
            for nic in delta.nics.of(&document.nics) {
                self.nic(way, nic);
            }
            for forward in delta.port_forwards.of(&document.port_forwards) {
                self.port_forward(way, forward);
            }
            for nat in delta.static_nats.of(&document.static_nats) {
                self.static_nat(way, nat);
            }
            for id in delta.balancers.ids() {
                if let Some(balancer) = document.balancers.get(&id) {
                    self.balancer(way, id, balancer, down);
                }
            }
            for balancer in delta.http_balancers.of(&document.http_balancers) {
                self.http_balancer(way, balancer);
            }
            for local in delta.local_ports.of(&document.local_ports) {
                self.local_port(way, local);
            }
            for rule in delta.ingress.of(&document.ingress) {
                self.ingress(way, rule);
            }
            for rule in delta.egress.of(&document.egress) {
                self.egress(way, rule);
            }
            for rule in delta.ingress6.of(&document.ingress6) {
                self.ingress6(way, rule);
            }
            for rule in delta.egress6.of(&document.egress6) {
                self.egress6(way, rule);
            }
        }
        self.told()
    }

    /// Follows the balancers' members that have gone down or come back. Gives the change, as [`Rules::follow`] does.
    pub fn follow_down(&mut self, document: &Document, from: &Down, to: &Down) -> Option<Change> {
        self.journal = Some(Journal::default());
        let balancers: BTreeSet<LoadBalancerId> = from.symmetric_difference(to).map(|(id, _)| *id).collect();
        for (way, down) in [(Way::Out, from), (Way::In, to)] {
            for id in &balancers {
                if let Some(balancer) = document.balancers.get(id) {
                    self.balancer(way, *id, balancer, down);
                }
            }
        }
        self.told()
    }

    fn add_link(&mut self, link: &InterfaceName, guest: &GuestNetwork) {
        self.edit(Way::In, Set::Guests, format_args!("\"{link}\""), None);
        self.edit(Way::In, Set::Gateways, format_args!("\"{link}\" . {}", guest.gateway()), None);
        for set in [Set::SameLink, Set::CountedSameLink] {
            self.edit(Way::In, set, format_args!("\"{link}\" . \"{link}\""), None);
        }
        let Some(prefix) = guest.prefix6 else { return };
        self.prefixes.insert(prefix.net(), link.clone());
        self.edit(Way::In, Set::Guests6, format_args!("\"{link}\""), None);
        for gateway in [prefix.gateway(), LINK_GATEWAY] {
            self.edit(Way::In, Set::Gateways6, format_args!("\"{link}\" . {gateway}"), None);
        }
    }

    /// Puts an element of a set, or one of a map with its value, in or out.
    fn edit(&mut self, way: Way, set: Set, key: impl Display, value: Option<String>) {
        let key = key.to_string();
        let elements = self.ruleset.sets.entry(set).or_default();
        let Some(journal) = &mut self.journal else {
            // All is made anew: nothing goes out, and nobody asks what was there.
            elements.insert(key, value);
            return;
        };
        let before = match way {
            Way::In => elements.insert(key.clone(), value),
            Way::Out => elements.remove(&key),
        };
        if elements.is_empty() {
            self.ruleset.sets.remove(&set);
        }
        journal.elements.entry((set, key)).or_insert(before);
    }

    fn chain(&mut self, way: Way, id: LoadBalancerId, chain: Chain) {
        let before = match way {
            Way::In => self.ruleset.chains.insert(id, Some(chain)),
            Way::Out => self.ruleset.chains.remove(&id),
        };
        if let Some(journal) = &mut self.journal {
            journal.chains.entry(id).or_insert(before);
        }
    }

    /// The change that the journal has, which ends with it.
    fn told(&mut self) -> Option<Change> {
        let journal = self.journal.take()?;
        let mut differences = Differences::default();
        for ((set, key), before) in &journal.elements {
            let now = self.ruleset.sets.get(set).and_then(|elements| elements.get(key));
            differences.add(*set, key, before.as_ref(), now);
        }
        for (id, before) in &journal.chains {
            differences.add_chain(*id, before.as_ref(), self.ruleset.chains.get(id));
        }
        change(&differences)
    }
}
