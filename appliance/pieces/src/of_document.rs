//! Rules of a document, each in parts.

use ipnet::{Ipv4Net, Ipv6Net};
use podzol_appliance_api::{EgressRule, EgressRule6, IngressRule, IngressRule6};

use crate::{Net, Packets, Rule};

/// What a rule lets in, in parts: one for each source.
pub fn ingress(rule: &IngressRule) -> impl Iterator<Item = Rule<Ipv4Net>> {
    of_pairs(Ipv4Net::from(rule.public), rule.traffic, &rule.sources)
}

/// What a rule for IPv6 lets in, in parts: one for each source.
pub fn ingress6(rule: &IngressRule6) -> impl Iterator<Item = Rule<Ipv6Net>> {
    of_pairs(rule.to, rule.traffic, &rule.sources)
}

/// What an exception is about, in parts: one for each pair of a source and a destination.
pub fn egress(rule: &EgressRule) -> impl Iterator<Item = Rule<Ipv4Net>> {
    rule.sources.iter().flat_map(|source| of_pairs(*source, rule.traffic, &rule.destinations))
}

/// What an exception for IPv6 is about, in parts: one for each pair of a source and a destination.
pub fn egress6(rule: &EgressRule6) -> impl Iterator<Item = Rule<Ipv6Net>> {
    rule.sources.iter().flat_map(|source| of_pairs(*source, rule.traffic, &rule.destinations))
}

fn of_pairs<A: Net>(
    outer: A,
    packets: impl Into<Packets> + Copy,
    inner: &[A],
) -> impl Iterator<Item = Rule<A>> {
    inner.iter().map(move |inner| Rule::new(outer, packets, *inner))
}
