//! A check that follows a document: what rules between entries need is kept, so that a change is checked in the time of the
//! change.
//!
//! # Design notes
//! - Entries claim what must be one's own, and whoever comes first has it; an entry is good if it has what it claims. The
//!   whole check enters and checks all entries, following enters and checks those of the change and those that they touch.
//! - Following finds out only whether there is a problem. Which ones there are the whole check says: a refused change may
//!   take its time, and gets the same words either way.
//! - A change of a network or of the side to the outside is checked whole: all entries hang on these.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use podzol_vocab::{
    ConsoleServerId, LoadBalancerId, MacAddr, NetworkId, NicId, PortForwardId, StaticNatId, Transport, VmId,
};

use super::{Found, Problem};
use crate::delta::Delta;
use crate::document::{Balancer, Document, LocalPort, PortForward, StaticNat, VmFacts, VmNic};
use crate::firewall::{EgressRule, EgressRule6, IngressRule, IngressRule6};
use crate::http::HttpBalancer;

/// What rules between entries need of a document without problems.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checker {
    /// The first of some ports that lead somewhere, with the last and what leads there. None of them overlap.
    leads: BTreeMap<(Place, u16), (u16, Leader)>,
    pub(super) macs: Claims<(NetworkId, MacAddr), NicId>,
    pub(super) addresses: Claims<Ipv4Addr, NicId>,
    pub(super) primaries: Claims<VmId, NicId>,
    nics: BTreeSet<(VmId, NicId)>,
    pub(super) publics: Claims<Ipv4Addr, StaticNatId>,
    pub(super) targets: Claims<Ipv4Addr, StaticNatId>,
    /// How many forwards, balancers and local ports public addresses have.
    shared: BTreeMap<Ipv4Addr, usize>,
    pub(super) sums: Sums,
}

/// What entries of a kind have together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sums {
    /// Bytes of user data and keys.
    pub(super) texts: u64,
    /// Ports that lead to others.
    pub(super) ports: u64,
    /// Sources of ingress rules, of both families.
    pub(super) sources: u64,
    /// Pairs of a source and a destination of egress rules, of both families.
    pub(super) pairs: u64,
}

/// A public address and a transport.
type Place = (Ipv4Addr, Transport);

/// What ports lead somewhere by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leader {
    Forward(PortForwardId),
    Balancer(LoadBalancerId),
    Http(LoadBalancerId),
    Local(ConsoleServerId),
}

/// Whether an entry comes into a document or goes out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// What must be one's own, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims<K, V>(BTreeMap<K, V>);

impl<K, V> Default for Claims<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, V: PartialEq> Claims<K, V> {
    pub(super) fn is_of(&self, what: &K, who: &V) -> bool {
        self.0.get(what) == Some(who)
    }

    fn enter(&mut self, way: Way, what: K, who: V) {
        match way {
            Way::In => drop(self.0.entry(what).or_insert(who)),
            Way::Out if self.is_of(&what, &who) => drop(self.0.remove(&what)),
            Way::Out => {}
        }
    }
}

impl Checker {
    /// Checks a whole document.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn of(document: &Document) -> Result<Self, Vec<Problem>> {
        let mut checker = Self::default();
        checker.enter_all(document);
        let mut found = Found::default();
        checker.check_limits(&mut found, document);
        document.check_sides(&mut found);
        document.check_public(&mut found);
        document.check_sides6(&mut found);
        document.check_forwarders(&mut found);
        document.check_followed(&mut found);
        checker.check_all(&mut found, document);
        if found.0.is_empty() { Ok(checker) } else { Err(found.0) }
    }

    /// Follows a change from the document that it knows to the next. To follow it back, give the documents the other way
    /// round.
    ///
    /// # Errors
    /// All that is wrong with the next document. It knows the one before then.
    pub fn follow(&mut self, delta: &Delta, from: &Document, to: &Document) -> Result<(), Vec<Problem>> {
        let can_follow = delta.keeps_sides();
        if can_follow && self.leads_to_good(delta, from, to) {
            return Ok(());
        }
        match Self::of(to) {
            Ok(checker) => *self = checker,
            Err(problems) => {
                if can_follow {
                    self.enter_changed(delta, to, from);
                }
                return Err(problems);
            }
        }
        Ok(())
    }

    /// Follows a change that keeps the document's sides. Whether it leads to a document without problems.
    pub(super) fn leads_to_good(&mut self, delta: &Delta, from: &Document, to: &Document) -> bool {
        self.enter_changed(delta, from, to);
        let mut found = Found::default();
        self.check_limits(&mut found, to);
        if delta.forwarders.is_some() {
            to.check_forwarders(&mut found);
        }
        if delta.limits.is_some() {
            to.check_followed(&mut found);
        }
        self.check_changed(&mut found, delta, to);
        found.0.is_empty()
    }

    fn enter_all(&mut self, document: &Document) {
        const IN: Way = Way::In;
        document.vms.values().for_each(|facts| self.enter_vm(IN, facts));
        document.nics.iter().for_each(|(id, nic)| self.enter_nic(IN, *id, nic));
        document.port_forwards.iter().for_each(|(id, one)| self.enter_forward(IN, *id, one));
        document.static_nats.iter().for_each(|(id, nat)| self.enter_static_nat(IN, *id, nat));
        document.ingress.values().for_each(|rule| self.enter_ingress(IN, rule));
        document.egress.values().for_each(|rule| self.enter_egress(IN, rule));
        document.ingress6.values().for_each(|rule| self.enter_ingress6(IN, rule));
        document.egress6.values().for_each(|rule| self.enter_egress6(IN, rule));
        document.balancers.iter().for_each(|(id, one)| self.enter_balancer(IN, *id, one));
        document.http_balancers.iter().for_each(|(id, one)| self.enter_http(IN, *id, one));
        document.local_ports.iter().for_each(|(id, one)| self.enter_local(IN, *id, *one));
    }

    /// All that goes is first, for what comes may take its place.
    fn enter_changed(&mut self, delta: &Delta, from: &Document, to: &Document) {
        for (way, document) in [(Way::Out, from), (Way::In, to)] {
            delta.vms.of(&document.vms).for_each(|facts| self.enter_vm(way, facts));
            delta.nics.with_ids(&document.nics).for_each(|(id, nic)| self.enter_nic(way, id, nic));
            let forwards = delta.port_forwards.with_ids(&document.port_forwards);
            forwards.for_each(|(id, one)| self.enter_forward(way, id, one));
            let nats = delta.static_nats.with_ids(&document.static_nats);
            nats.for_each(|(id, nat)| self.enter_static_nat(way, id, nat));
            delta.ingress.of(&document.ingress).for_each(|rule| self.enter_ingress(way, rule));
            delta.egress.of(&document.egress).for_each(|rule| self.enter_egress(way, rule));
            delta.ingress6.of(&document.ingress6).for_each(|rule| self.enter_ingress6(way, rule));
            delta.egress6.of(&document.egress6).for_each(|rule| self.enter_egress6(way, rule));
            let balancers = delta.balancers.with_ids(&document.balancers);
            balancers.for_each(|(id, one)| self.enter_balancer(way, id, one));
            let balancers = delta.http_balancers.with_ids(&document.http_balancers);
            balancers.for_each(|(id, one)| self.enter_http(way, id, one));
            let local = delta.local_ports.with_ids(&document.local_ports);
            local.for_each(|(id, one)| self.enter_local(way, id, *one));
        }
    }

    fn enter_vm(&mut self, way: Way, facts: &VmFacts) {
        let keys: usize = facts.ssh_keys.iter().map(String::len).sum();
        let texts = keys + facts.user_data.as_ref().map_or(0, |data| data.expose().len());
        add(way, &mut self.sums.texts, texts as u64);
    }

    fn enter_nic(&mut self, way: Way, id: NicId, nic: &VmNic) {
        self.macs.enter(way, (nic.network, nic.mac), id);
        self.addresses.enter(way, nic.address, id);
        if nic.primary {
            self.primaries.enter(way, nic.vm, id);
        }
        match way {
            Way::In => self.nics.insert((nic.vm, id)),
            Way::Out => self.nics.remove(&(nic.vm, id)),
        };
    }

    fn enter_forward(&mut self, way: Way, id: PortForwardId, forward: &PortForward) {
        let ports = (forward.ports.first(), forward.ports.last());
        self.enter_leader(way, (forward.public, forward.transport), ports, Leader::Forward(id));
        if forward.ports.first() != forward.to_port {
            add(way, &mut self.sums.ports, forward.ports.count().into());
        }
    }

    fn enter_static_nat(&mut self, way: Way, id: StaticNatId, nat: &StaticNat) {
        self.publics.enter(way, nat.public, id);
        self.targets.enter(way, nat.to, id);
    }

    fn enter_ingress(&mut self, way: Way, rule: &IngressRule) {
        add(way, &mut self.sums.sources, rule.sources.len() as u64);
    }

    fn enter_egress(&mut self, way: Way, rule: &EgressRule) {
        let pairs = rule.sources.len() as u64 * rule.destinations.len() as u64;
        add(way, &mut self.sums.pairs, pairs);
    }

    fn enter_ingress6(&mut self, way: Way, rule: &IngressRule6) {
        add(way, &mut self.sums.sources, rule.sources.len() as u64);
    }

    fn enter_egress6(&mut self, way: Way, rule: &EgressRule6) {
        let pairs = rule.sources.len() as u64 * rule.destinations.len() as u64;
        add(way, &mut self.sums.pairs, pairs);
    }

    fn enter_balancer(&mut self, way: Way, id: LoadBalancerId, balancer: &Balancer) {
        let place = (balancer.public, balancer.transport);
        self.enter_leader(way, place, (balancer.port, balancer.port), Leader::Balancer(id));
    }

    fn enter_http(&mut self, way: Way, id: LoadBalancerId, balancer: &HttpBalancer) {
        let place = (balancer.public, Transport::Tcp);
        self.enter_leader(way, place, (balancer.port, balancer.port), Leader::Http(id));
    }

    fn enter_local(&mut self, way: Way, id: ConsoleServerId, local: LocalPort) {
        let place = (local.public, Transport::Tcp);
        self.enter_leader(way, place, (local.port, local.port), Leader::Local(id));
    }

    fn enter_leader(&mut self, way: Way, place: Place, (first, last): (u16, u16), leader: Leader) {
        let shared = self.shared.entry(place.0).or_default();
        let key = (place, first);
        match way {
            Way::In => {
                *shared += 1;
                // As none overlap, those that begin last before its end reach the farthest.
                let before = self.leads.range((place, 0)..=(place, last)).next_back();
                if before.is_none_or(|(_, (end, _))| *end < first) {
                    self.leads.insert(key, (last, leader));
                }
            }
            Way::Out => {
                *shared = shared.saturating_sub(1);
                if *shared == 0 {
                    self.shared.remove(&place.0);
                }
                if self.leads.get(&key) == Some(&(last, leader)) {
                    self.leads.remove(&key);
                }
            }
        }
    }

    pub(super) fn leads_of_forward(&self, id: PortForwardId, forward: &PortForward) -> bool {
        let key = ((forward.public, forward.transport), forward.ports.first());
        self.leads.get(&key) == Some(&(forward.ports.last(), Leader::Forward(id)))
    }

    pub(super) fn leads_of_balancer(&self, id: LoadBalancerId, balancer: &Balancer) -> bool {
        let key = ((balancer.public, balancer.transport), balancer.port);
        self.leads.get(&key) == Some(&(balancer.port, Leader::Balancer(id)))
    }

    pub(super) fn leads_of_http(&self, id: LoadBalancerId, balancer: &HttpBalancer) -> bool {
        let key = ((balancer.public, Transport::Tcp), balancer.port);
        self.leads.get(&key) == Some(&(balancer.port, Leader::Http(id)))
    }

    pub(super) fn leads_of_local(&self, id: ConsoleServerId, local: LocalPort) -> bool {
        let key = ((local.public, Transport::Tcp), local.port);
        self.leads.get(&key) == Some(&(local.port, Leader::Local(id)))
    }

    /// Whether ports of a public address lead somewhere.
    pub(super) fn is_shared(&self, address: Ipv4Addr) -> bool {
        self.shared.contains_key(&address)
    }

    /// The interfaces of a VM.
    pub(super) fn nics_of(&self, vm: VmId) -> impl Iterator<Item = NicId> {
        let ids = [[0; 16], [0xff; 16]].map(|bytes| (vm, NicId::from_bytes(bytes)));
        self.nics.range(ids[0]..=ids[1]).map(|(_, nic)| *nic)
    }

    /// The static NAT of a public address.
    pub(super) fn static_nat_of(&self, public: Ipv4Addr) -> Option<StaticNatId> {
        self.publics.0.get(&public).copied()
    }
}

/// Adds to a sum what comes, or takes away what goes, which was added before.
fn add(way: Way, sum: &mut u64, one: u64) {
    *sum = match way {
        Way::In => sum.saturating_add(one),
        Way::Out => sum.saturating_sub(one),
    };
}
