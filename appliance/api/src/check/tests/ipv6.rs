//! IPv6: every rule has its bad case, and a router that knows nothing of it gets a document that says nothing of it.

use ipnet::Ipv6Net;
use podzol_vocab::Generation;

use super::*;
use crate::document::PublicSide6;
use crate::firewall::{EgressRule6, IngressRule6, Traffic6};
use crate::{Delta, GuestNetwork};

const INGRESS6: FirewallRuleId = FirewallRuleId::from_bytes([12; 16]);
const EGRESS6: EgressRuleId = EgressRuleId::from_bytes([13; 16]);

/// A document of both families with one of each thing.
pub(super) fn document6() -> Document {
    let mut document = document();
    guest_of(&mut document).prefix6 = Some(prefix("2001:db8:64:10::/64"));
    public_of(&mut document).ipv6 = Some(PublicSide6 {
        next_hop: "fe80::1:1".parse().unwrap(),
        own: "2001:db8:64:1f::1".parse().unwrap(),
        gateway: "fe80::ffff".parse().unwrap(),
        slot: "2001:db8:64:10::/60".parse().unwrap(),
    });
    let address = prefix("2001:db8:64:10::/64").of(mac(9));
    nic_of(&mut document).address6 = Some(address);
    document.ingress6 = [(INGRESS6, ingress6(&format!("{address}/128"), &["2001:db8:1::/48"]))].into();
    document.egress6 = [(EGRESS6, egress6("2001:db8:64:10::/64", &["::/0"]))].into();
    document
}

fn prefix(text: &str) -> podzol_vocab::Prefix64 {
    text.parse().unwrap()
}

fn ranges6(texts: &[&str]) -> Vec<Ipv6Net> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(super) fn ingress6(to: &str, sources: &[&str]) -> IngressRule6 {
    let ports = "80-81".parse().unwrap();
    IngressRule6 { to: to.parse().unwrap(), sources: ranges6(sources), traffic: Traffic6::Tcp { ports } }
}

pub(super) fn egress6(source: &str, destinations: &[&str]) -> EgressRule6 {
    EgressRule6 {
        network: NETWORK,
        sources: ranges6(&[source]),
        destinations: ranges6(destinations),
        traffic: Traffic6::All,
    }
}

fn public6(document: &mut Document) -> &mut PublicSide6 {
    public_of(document).ipv6.as_mut().unwrap()
}

fn ingress6_of(document: &mut Document) -> &mut IngressRule6 {
    document.ingress6.get_mut(&INGRESS6).unwrap()
}

fn egress6_of(document: &mut Document) -> &mut EgressRule6 {
    document.egress6.get_mut(&EGRESS6).unwrap()
}

/// Without what else is in the prefix.
fn alone(document: &mut Document) {
    (document.ingress6, document.egress6) = Default::default();
    nic_of(document).address6 = None;
}

fn second_guest(document: &mut Document, prefix: &str) {
    let prefix6 = Some(prefix.parse().unwrap());
    document.guests.insert(NetworkId::new(), GuestNetwork { prefix6, ..guest("10.2.0.0/16", 2) });
}

fn code_without_type() -> Traffic6 {
    Traffic6::Icmpv6 { icmp_type: None, icmp_code: Some(1) }
}

#[test]
fn a_document_of_both_families_that_keeps_all_rules_has_no_problems() {
    assert_eq!(document6().problems(), []);
    let mut other = document6();
    ingress6_of(&mut other).to = "2001:db8:64:10::/64".parse().unwrap();
    second_guest(&mut other, "2001:db8:64:11::/64");
    public6(&mut other).gateway = "2001:db8:ffff::1".parse().unwrap();
    assert_eq!(other.problems(), []);
    // A network that reaches nothing outside.
    public_of(&mut other).ipv6 = None;
    assert_eq!(other.problems(), []);
}

#[test]
fn every_rule_of_ipv6_has_its_bad_case_and_names_its_field() {
    let bad: [Bad; 31] = [
        (|d| second_guest(d, "2001:db8:64:10::/64"), "guests.*.prefix6"),
        (|d| second_guest(d, "2001:db8:64:20::/64"), "guests.*.prefix6"),
        (
            |d| {
                public_of(d).ipv6 = None;
                second_guest(d, "fd00:ec2::/64");
            },
            "guests.*.prefix6",
        ),
        (|d| guest_of(d).mtu = 1279, "guests.*.mtu"),
        (|d| public_of(d).mtu = 1279, "public.mtu"),
        (|d| nic_of(d).address6 = Some("2001:db8:64:10::2".parse().unwrap()), "nics.*.address6"),
        (
            |d| {
                alone(d);
                nic_of(d).address6 = Some(prefix("2001:db8:64:10::/64").of(mac(9)));
                guest_of(d).prefix6 = None;
            },
            "nics.*.address6",
        ),
        (|d| public6(d).next_hop = "2001:db8::1".parse().unwrap(), "public.ipv6.next_hop"),
        (|d| public6(d).next_hop = "fe80:0:0:1::1".parse().unwrap(), "public.ipv6.next_hop"),
        (|d| public6(d).next_hop = "fe80::ffff".parse().unwrap(), "public.ipv6.next_hop"),
        (|d| public6(d).own = "2001:db8:64:20::1".parse().unwrap(), "public.ipv6.own"),
        (|d| public6(d).own = "2001:db8:64:10::1".parse().unwrap(), "public.ipv6.own"),
        (|d| public6(d).gateway = "2001:db8:64:1e::1".parse().unwrap(), "public.ipv6.gateway"),
        (|d| public6(d).gateway = "ff02::2".parse().unwrap(), "public.ipv6.gateway"),
        (|d| public6(d).gateway = "::".parse().unwrap(), "public.ipv6.gateway"),
        (|d| public6(d).slot = "2001:db8:64:11::/60".parse().unwrap(), "public.ipv6.slot"),
        (|d| public6(d).slot = "2000::/3".parse().unwrap(), "public.ipv6.slot"),
        (|d| ingress6_of(d).to = "2001:db8:64:10::1/128".parse().unwrap(), "ingress6.*.to"),
        (|d| ingress6_of(d).to = "2001:db8:64:11::/64".parse().unwrap(), "ingress6.*.to"),
        (|d| ingress6_of(d).to = "2001:db8:64:10::/65".parse().unwrap(), "ingress6.*.to"),
        (|d| ingress6_of(d).sources = vec![], "ingress6.*.sources"),
        (|d| ingress6_of(d).sources = ranges6(&["2001:db8::1/64"]), "ingress6.*.sources"),
        (|d| ingress6_of(d).sources = ranges6(&["2001:db8::/64", "::/0"]), "ingress6.*.sources"),
        (|d| ingress6_of(d).traffic = code_without_type(), "ingress6.*.traffic"),
        (|d| drop(d.ingress6.insert(INGRESS, d.ingress6[&INGRESS6].clone())), "ingress6.*"),
        (|d| egress6_of(d).sources = ranges6(&["2001:db8:64:11::/64"]), "egress6.*.sources"),
        (|d| egress6_of(d).network = NetworkId::new(), "egress6.*.network"),
        (|d| egress6_of(d).destinations = ranges6(&["::/0", "2001:db8::/32"]), "egress6.*.destinations"),
        (|d| egress6_of(d).traffic = code_without_type(), "egress6.*.traffic"),
        (|d| drop(d.egress6.insert(EGRESS, d.egress6[&EGRESS6].clone())), "egress6.*"),
        (|d| d.ingress6.extend(too_many(d)), "ingress"),
    ];
    for (number, (spoil, expected)) in bad.into_iter().enumerate() {
        let mut document = document6();
        spoil(&mut document);
        assert_only(&document, expected, number);
    }
}

/// As many rules as there can be of one family, where the other has one.
fn too_many(document: &Document) -> impl Iterator<Item = (FirewallRuleId, IngressRule6)> + use<> {
    let rule = document.ingress6[&INGRESS6].clone();
    (0..MAX_RULES - 1).map(move |_| (FirewallRuleId::new(), rule.clone()))
}

#[test]
fn sources_and_pairs_are_counted_for_both_families_together() {
    let sources: Vec<String> = (0..64).map(|number| format!("2001:db8:{number:x}::/48")).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let mut full = document6();
    let rule = ingress6("2001:db8:64:10::/64", &sources);
    full.ingress6 = (0..256).map(|_| (FirewallRuleId::new(), rule.clone())).collect();
    assert_only(&full, "ingress", 0);
    full.ingress.clear();
    assert_eq!(full.problems(), []);
}

#[test]
fn a_prefix_that_goes_while_rules_need_it_is_found_by_whoever_follows() {
    let from = document6();
    let mut checker = Checker::of(&from).unwrap();
    let mut to = Document { generation: Generation(1), ..document6() };
    guest_of(&mut to).prefix6 = None;
    let delta = Delta::between(&from, &to).unwrap();
    assert_eq!(checker.follow(&delta, &from, &to).unwrap_err().len(), 3);
    let mut to = Document { generation: Generation(1), ..document6() };
    alone(&mut to);
    let delta = Delta::between(&from, &to).unwrap();
    assert_eq!(checker.follow(&delta, &from, &to), Ok(()));
}

#[test]
fn without_ipv6_a_document_has_the_bytes_that_it_has_always_had() {
    let (with, plain) = (document6(), document());
    assert!(with.has_ipv6() && !plain.has_ipv6());
    let bytes = serde_json::to_string(&plain).unwrap();
    assert_eq!(serde_json::to_string(&with.clone().without_ipv6()).unwrap(), bytes);
    assert!(!with.clone().without_ipv6().has_ipv6());
    for word in ["ingress6", "egress6", "prefix6", "address6", "ipv6"] {
        assert!(!bytes.contains(word), "{bytes}");
        assert!(serde_json::to_string(&with).unwrap().contains(word), "{word}");
    }
    let read: Document = serde_json::from_str(&serde_json::to_string(&with).unwrap()).unwrap();
    assert_eq!(read, with);
}

#[test]
fn what_is_different_of_ipv6_is_in_a_delta() {
    let mut from = document6().without_ipv6();
    let to = Document { generation: Generation(1), ..document6() };
    let delta = Delta::between(&from, &to).unwrap();
    assert!(!delta.is_in(&from) && !delta.keeps_sides());
    delta.apply(&mut from).unwrap();
    assert!(delta.is_in(&from) && from == to);
    let mut without = Document { generation: Generation(2), ..to.clone() };
    (without.ingress6, without.egress6) = Default::default();
    let delta = Delta::between(&to, &without).unwrap();
    assert!(delta.keeps_sides() && !delta.is_in(&to));
    assert_eq!((delta.ingress6.gone.len(), delta.egress6.gone.len()), (1, 1));
}
