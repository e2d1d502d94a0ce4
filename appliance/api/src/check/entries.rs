//! The rules of each entry, with those that it has to do with.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::Ipv4Net;
use podzol_vocab::{ConsoleServerId, EgressRuleId, FirewallRuleId, NicId, PortForwardId, StaticNatId};

use super::{Checker, Found, IS_PUBLIC};
use crate::delta::Delta;
use crate::document::{Document, LocalPort, PortForward, StaticNat, VmNic};
use crate::firewall::{EgressRule, IngressRule, Traffic};
use crate::limits::{
    MAX_BALANCERS, MAX_HTTP_BALANCERS, MAX_LOCAL_PORTS, MAX_PIECES, MAX_RANGES, MAX_RULES, MAX_SHIFTED_PORTS,
    MAX_TEXTS, MAX_VMS,
};

pub(super) const IS_INSIDE: &str = "must be a VM's address in one of the networks";
pub(super) const IS_PORT: &str = "must be 1 to 65535";
pub(super) const LEADS_ONCE: &str = "must lead nowhere else";
pub(super) const RANGES: &str = "must be 1 to 64 ranges, given by their first address, that do not overlap";
pub(super) const NO_CODE: &str = "must have no ICMP code without a type";

impl Checker {
    /// What can be many is bounded, and so is what the packet filter and a router's memory make of it.
    pub(super) fn check_limits(&self, found: &mut Found, document: &Document) {
        for (field, count, most) in [
            ("vms", document.vms.len(), MAX_VMS),
            ("nics", document.nics.len(), MAX_VMS),
            ("port_forwards", document.port_forwards.len(), MAX_RULES),
            ("static_nats", document.static_nats.len(), MAX_RULES),
            ("ingress", document.ingress.len() + document.ingress6.len(), MAX_RULES),
            ("egress", document.egress.len() + document.egress6.len(), MAX_RULES),
            ("balancers", document.balancers.len(), MAX_BALANCERS),
            ("http_balancers", document.http_balancers.len(), MAX_HTTP_BALANCERS),
            ("local_ports", document.local_ports.len(), MAX_LOCAL_PORTS),
        ] {
            found.must(count <= most, field, format_args!("must be at most {most}"));
        }
        let rule = format_args!("must have at most {MAX_TEXTS} bytes of user data and keys together");
        found.must(self.sums.texts <= MAX_TEXTS as u64, "vms", rule);
        let rule = format_args!("must lead to other ports for at most {MAX_SHIFTED_PORTS} ports together");
        found.must(self.sums.ports <= MAX_SHIFTED_PORTS.into(), "port_forwards", rule);
        let rule = format_args!("must have at most {MAX_PIECES} sources together");
        found.must(self.sums.sources <= MAX_PIECES.into(), "ingress", rule);
        let rule =
            format_args!("must have at most {MAX_PIECES} pairs of a source and a destination together");
        found.must(self.sums.pairs <= MAX_PIECES.into(), "egress", rule);
    }

    /// Checks all entries.
    pub(super) fn check_all(&self, found: &mut Found, document: &Document) {
        for (id, nic) in &document.nics {
            self.check_nic(found, document, *id, nic);
        }
        for (id, forward) in &document.port_forwards {
            self.check_forward(found, document, *id, forward);
        }
        for (id, nat) in &document.static_nats {
            self.check_static_nat(found, document, *id, nat);
        }
        for (id, rule) in &document.ingress {
            check_ingress(found, document, *id, rule);
        }
        for (id, rule) in &document.egress {
            check_egress(found, document, *id, rule);
        }
        for (id, rule) in &document.ingress6 {
            document.check_ingress6(found, *id, rule);
        }
        for (id, rule) in &document.egress6 {
            document.check_egress6(found, *id, rule);
        }
        for (id, balancer) in &document.balancers {
            self.check_balancer(found, document, *id, balancer);
        }
        for (id, balancer) in &document.http_balancers {
            self.check_http_balancer(found, document, *id, balancer);
        }
        for (id, local) in &document.local_ports {
            self.check_local_port(found, document, *id, *local);
        }
    }

    /// Checks the entries of a change that has led to this document, and those that it touches.
    pub(super) fn check_changed(&self, found: &mut Found, delta: &Delta, document: &Document) {
        let of_vms = delta.vms.gone.iter().flat_map(|vm| self.nics_of(*vm));
        let nics: BTreeSet<NicId> = delta.nics.ids().chain(of_vms).collect();
        for (id, nic) in nics.iter().filter_map(|id| document.nics.get_key_value(id)) {
            self.check_nic(found, document, *id, nic);
        }
        for (id, forward) in delta.port_forwards.with_ids(&document.port_forwards) {
            self.check_forward(found, document, id, forward);
        }
        let shared = (delta.port_forwards.put.values().map(|one| one.public))
            .chain(delta.balancers.put.values().map(|one| one.public))
            .chain(delta.http_balancers.put.values().map(|one| one.public))
            .chain(delta.local_ports.put.values().map(|one| one.public));
        let nats: BTreeSet<StaticNatId> =
            shared.filter_map(|public| self.static_nat_of(public)).chain(delta.static_nats.ids()).collect();
        for (id, nat) in nats.iter().filter_map(|id| document.static_nats.get_key_value(id)) {
            self.check_static_nat(found, document, *id, nat);
        }
        for (id, rule) in delta.ingress.with_ids(&document.ingress) {
            check_ingress(found, document, id, rule);
        }
        for (id, rule) in delta.egress.with_ids(&document.egress) {
            check_egress(found, document, id, rule);
        }
        let ingress6: BTreeSet<_> = delta.ingress6.ids().chain(delta.ingress.ids()).collect();
        for (id, rule) in ingress6.iter().filter_map(|id| document.ingress6.get_key_value(id)) {
            document.check_ingress6(found, *id, rule);
        }
        let egress6: BTreeSet<_> = delta.egress6.ids().chain(delta.egress.ids()).collect();
        for (id, rule) in egress6.iter().filter_map(|id| document.egress6.get_key_value(id)) {
            document.check_egress6(found, *id, rule);
        }
        for (id, balancer) in delta.balancers.with_ids(&document.balancers) {
            self.check_balancer(found, document, id, balancer);
        }
        let balancers: BTreeSet<_> = delta.http_balancers.ids().chain(delta.balancers.ids()).collect();
        for (id, balancer) in balancers.iter().filter_map(|id| document.http_balancers.get_key_value(id)) {
            self.check_http_balancer(found, document, *id, balancer);
        }
        for (id, local) in delta.local_ports.with_ids(&document.local_ports) {
            self.check_local_port(found, document, id, *local);
        }
    }

    fn check_local_port(
        &self,
        found: &mut Found,
        document: &Document,
        id: ConsoleServerId,
        local: LocalPort,
    ) {
        let field = |name: &'static str| fmt::from_fn(move |f| write!(f, "local_ports.{id}.{name}"));
        found.must(document.has_public(local.public), field("public"), IS_PUBLIC);
        found.must(local.port > 0, field("port"), IS_PORT);
        found.must(self.leads_of_local(id, local), field("port"), LEADS_ONCE);
    }

    fn check_nic(&self, found: &mut Found, document: &Document, id: NicId, nic: &VmNic) {
        let field = |name: &'static str| fmt::from_fn(move |f| write!(f, "nics.{id}.{name}"));
        found.must(document.vms.contains_key(&nic.vm), field("vm"), "must be one of the VMs");
        let network = document.guests.get(&nic.network);
        found.must(network.is_some(), field("network"), "must be one of the networks");
        let inside = network.is_none_or(|network| network.cidr.is_vm_address(nic.address));
        found.must(inside, field("address"), "must be in its network, and a VM's");
        let is_gateways = network.is_some_and(|network| network.mac == nic.mac);
        let is_own = !is_gateways && self.macs.is_of(&(nic.network, nic.mac), &id);
        found.must(is_own, field("mac"), "must be its own in its network");
        found.must(self.addresses.is_of(&nic.address, &id), field("address"), "must be its own");
        let is_only = !nic.primary || self.primaries.is_of(&nic.vm, &id);
        found.must(is_only, field("primary"), "must be only one of a VM's");
        document.check_nic6(found, id, nic);
    }

    fn check_forward(
        &self,
        found: &mut Found,
        document: &Document,
        id: PortForwardId,
        forward: &PortForward,
    ) {
        let field = |name: &'static str| fmt::from_fn(move |f| write!(f, "port_forwards.{id}.{name}"));
        found.must(document.has_public(forward.public), field("public"), IS_PUBLIC);
        found.must(document.is_inside(forward.to), field("to"), IS_INSIDE);
        let rule = "must be 1 to 65535, and so must those after it";
        found.must(targets_fit(forward), field("to_port"), rule);
        found.must(self.leads_of_forward(id, forward), field("ports"), LEADS_ONCE);
    }

    fn check_static_nat(&self, found: &mut Found, document: &Document, id: StaticNatId, nat: &StaticNat) {
        let field = |name: &'static str| fmt::from_fn(move |f| write!(f, "static_nats.{id}.{name}"));
        found.must(document.has_public(nat.public), field("public"), IS_PUBLIC);
        found.must(document.is_inside(nat.to), field("to"), IS_INSIDE);
        let is_source = document.guests.values().any(|guest| guest.source_nat == Some(nat.public));
        let alone = self.publics.is_of(&nat.public, &id) && !self.is_shared(nat.public) && !is_source;
        found.must(alone, field("public"), "must serve nothing else");
        found.must(self.targets.is_of(&nat.to, &id), field("to"), "must have one static NAT only");
    }
}

fn check_ingress(found: &mut Found, document: &Document, id: FirewallRuleId, rule: &IngressRule) {
    let field = |name: &'static str| fmt::from_fn(move |f| write!(f, "ingress.{id}.{name}"));
    found.must(document.has_public(rule.public), field("public"), IS_PUBLIC);
    found.must(are_ranges(&rule.sources), field("sources"), RANGES);
    found.must(is_traffic(rule.traffic), field("traffic"), NO_CODE);
}

fn check_egress(found: &mut Found, document: &Document, id: EgressRuleId, rule: &EgressRule) {
    let field = |name: &'static str| fmt::from_fn(move |f| write!(f, "egress.{id}.{name}"));
    let network = document.guests.get(&rule.network);
    found.must(network.is_some(), field("network"), "must be one of the networks");
    let inside =
        network.is_none_or(|network| rule.sources.iter().all(|range| network.cidr.net().contains(range)));
    found.must(inside, field("sources"), "must be in its network");
    found.must(are_ranges(&rule.sources), field("sources"), RANGES);
    found.must(are_ranges(&rule.destinations), field("destinations"), RANGES);
    found.must(is_traffic(rule.traffic), field("traffic"), NO_CODE);
}

fn targets_fit(forward: &PortForward) -> bool {
    forward.to_port > 0 && u32::from(forward.to_port) + forward.ports.count() - 1 <= u32::from(u16::MAX)
}

fn is_traffic(traffic: Traffic) -> bool {
    !matches!(traffic, Traffic::Icmp { icmp_type: None, icmp_code: Some(_) })
}

fn are_ranges(ranges: &[Ipv4Net]) -> bool {
    ranges.iter().all(|range| range.trunc() == *range)
        && are_apart(ranges.iter().map(|range| (range.network(), range.broadcast())))
}

/// Whether there are as many ranges as there can be, by the first and the last of each, and none overlap.
pub(super) fn are_apart<A: Ord>(ranges: impl Iterator<Item = (A, A)>) -> bool {
    let mut sorted: Vec<(A, A)> = ranges.collect();
    sorted.sort();
    (1..=MAX_RANGES).contains(&sorted.len()) && sorted.windows(2).all(|pair| pair[0].1 < pair[1].0)
}
