//! Firewall rules as elements of an interval set, which must not overlap.
//!
//! A rule is about an outer prefix (a public address, or sources in a network), an inner prefix (sources outside, or
//! destinations), a protocol, and ports. Rules of the same two prefixes and protocol are one *area*, and their ports are
//! put together. Then, as prefixes either hold each other or have nothing in common, an area overlaps with another in
//! two ways only:
//!
//! - The other has both prefixes around this one's. Its ports are taken away from this one's.
//! - The other's outer prefix is around this one's and its inner prefix within this one's: they *cross*. The other's
//!   inner range is taken away from this one's, for the ports that are in both.
//!
//! The outcome covers what the rules cover and depends, for each area, on those that it overlaps with alone. So a rule
//! that comes or goes changes its own pieces and those of rules that it overlaps with, and no others; a rule that is
//! there twice is there once.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;
use podzol_appliance_api::{Traffic, Transport};

use crate::span::{Span, merge};

/// Which protocol a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Any,
    Tcp,
    Udp,
    Icmp,
}

impl Protocol {
    /// The protocol and the ports of some traffic. ICMP has type and code as one number; where there are no ports, it is
    /// the one port 0.
    fn of(traffic: Traffic) -> (Self, Span) {
        match traffic {
            Traffic::All => (Self::Any, Span::new(0, 0)),
            Traffic::Tcp { ports } => (Self::Tcp, Span::new(ports.first().into(), ports.last().into())),
            Traffic::Udp { ports } => (Self::Udp, Span::new(ports.first().into(), ports.last().into())),
            Traffic::Icmp { icmp_type: None, .. } => (Self::Icmp, Span::new(0, 0xffff)),
            Traffic::Icmp { icmp_type: Some(of_type), icmp_code } => {
                let number = u32::from(of_type) << 8;
                let (first, last) = icmp_code.map_or((0, 0xff), |code| (code.into(), code.into()));
                (Self::Icmp, Span::new(number | first, number | last))
            }
        }
    }

    /// As nft(8) has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
        }
    }
}

/// Part of what rules cover, which no other piece has anything in common with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Piece {
    pub(crate) outer: Ipv4Net,
    pub(crate) protocol: Protocol,
    pub(crate) ports: Span,
    pub(crate) inner: Span,
}

type Area = (Protocol, Ipv4Net, Ipv4Net);

/// Rules, put together by what they are about.
#[derive(Default)]
pub(crate) struct Areas {
    ports: BTreeMap<Area, Vec<Span>>,
    outer_lengths: BTreeSet<u8>,
    inner_lengths: BTreeSet<u8>,
}

impl Areas {
    /// Adds a rule.
    pub(crate) fn add(&mut self, outer: Ipv4Net, traffic: Traffic, inner: Ipv4Net) {
        let (protocol, ports) = Protocol::of(traffic);
        self.ports.entry((protocol, outer, inner)).or_default().push(ports);
        self.outer_lengths.insert(outer.prefix_len());
        self.inner_lengths.insert(inner.prefix_len());
    }

    /// What they cover, in pieces.
    pub(crate) fn pieces(mut self) -> Vec<Piece> {
        self.ports.values_mut().for_each(merge);
        let mut pieces = Vec::with_capacity(self.ports.len());
        for (&(protocol, outer, inner), ports) in &self.ports {
            let mut boxes: Vec<(Span, Span)> = ports.iter().map(|ports| (*ports, Span::of(inner))).collect();
            for (around, taken) in self.overlapping((protocol, outer, inner)) {
                boxes = taken.iter().fold(boxes, |boxes, ports| without(boxes, *ports, Span::of(around)));
            }
            pieces.extend(boxes.into_iter().map(|(ports, inner)| Piece { outer, protocol, ports, inner }));
        }
        pieces
    }

    /// The areas that this one leaves to them what is in both, each with its inner prefix and its ports.
    fn overlapping(&self, (protocol, outer, inner): Area) -> impl Iterator<Item = (Ipv4Net, &Vec<Span>)> {
        prefixes_around(&self.outer_lengths, outer).flat_map(move |other| {
            let around = prefixes_around(&self.inner_lengths, inner)
                .filter(move |prefix| (other, *prefix) != (outer, inner))
                .filter_map(move |prefix| Some((prefix, self.ports.get(&(protocol, other, prefix))?)));
            // Prefixes sort by their addresses, so those within one are neighbours.
            let last = Ipv4Net::from(inner.broadcast());
            let within = (other != outer)
                .then(|| self.ports.range((protocol, other, inner)..=(protocol, other, last)));
            let within = within.into_iter().flatten().map(|((_, _, prefix), ports)| (*prefix, ports));
            around.chain(within.filter(move |(prefix, _)| prefix.prefix_len() > inner.prefix_len()))
        })
    }
}

/// The prefixes of these lengths that hold another, and itself.
fn prefixes_around(lengths: &BTreeSet<u8>, net: Ipv4Net) -> impl Iterator<Item = Ipv4Net> {
    let fit = lengths.range(..=net.prefix_len());
    fit.filter_map(move |length| Ipv4Net::new(net.addr(), *length).ok()).map(|prefix| prefix.trunc())
}

/// Boxes of ports and addresses, without those ports of those addresses.
fn without(boxes: Vec<(Span, Span)>, ports: Span, addresses: Span) -> Vec<(Span, Span)> {
    let mut left = Vec::with_capacity(boxes.len());
    for (its_ports, its_addresses) in boxes {
        let (Some(both), Some(_)) = (its_ports.and(ports), its_addresses.and(addresses)) else {
            left.push((its_ports, its_addresses));
            continue;
        };
        left.extend(its_ports.without(ports).map(|ports| (ports, its_addresses)));
        left.extend(its_addresses.without(addresses).map(|addresses| (both, addresses)));
    }
    left
}

#[cfg(test)]
mod tests {
    use podzol_appliance_api::PortRange;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    type Rule = (Ipv4Net, Traffic, Ipv4Net);

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn tcp(ports: &str) -> Traffic {
        Traffic::Tcp { ports: ports.parse().unwrap() }
    }

    fn pieces(rules: &[Rule]) -> Vec<Piece> {
        let mut areas = Areas::default();
        for (outer, traffic, inner) in rules {
            areas.add(*outer, *traffic, *inner);
        }
        areas.pieces()
    }

    fn piece(outer: &str, first: u32, last: u32, inner: &str) -> Piece {
        let (ports, inner) = (Span::new(first, last), Span::of(net(inner)));
        Piece { outer: net(outer), protocol: Protocol::Tcp, ports, inner }
    }

    #[test]
    fn a_rule_within_another_is_no_piece() {
        let public = net("203.0.113.5/32");
        let rules = [
            (public, tcp("80-90"), net("0.0.0.0/0")),
            (public, tcp("85"), net("10.0.0.0/8")),
            (public, tcp("80-90"), net("0.0.0.0/0")),
        ];
        assert_eq!(pieces(&rules), [piece("203.0.113.5/32", 80, 90, "0.0.0.0/0")]);
    }

    #[test]
    fn ports_that_a_wider_rule_has_are_taken_away() {
        let public = net("203.0.113.5/32");
        let rules = [(public, tcp("80-90"), net("10.0.0.0/8")), (public, tcp("85"), net("0.0.0.0/0"))];
        let expected = [
            piece("203.0.113.5/32", 85, 85, "0.0.0.0/0"),
            piece("203.0.113.5/32", 80, 84, "10.0.0.0/8"),
            piece("203.0.113.5/32", 86, 90, "10.0.0.0/8"),
        ];
        assert_eq!(pieces(&rules), expected);
    }

    #[test]
    fn of_rules_that_cross_the_one_with_fewer_sources_is_cut() {
        let rules = [
            (net("10.1.1.0/24"), tcp("25"), net("192.0.2.0/25")),
            (net("10.1.1.5/32"), tcp("25"), net("192.0.2.0/24")),
        ];
        let expected =
            [piece("10.1.1.0/24", 25, 25, "192.0.2.0/25"), piece("10.1.1.5/32", 25, 25, "192.0.2.128/25")];
        assert_eq!(pieces(&rules), expected);
    }

    #[test]
    fn icmp_has_type_and_code_in_one_number() {
        let any = Traffic::Icmp { icmp_type: None, icmp_code: None };
        assert_eq!(Protocol::of(any), (Protocol::Icmp, Span::new(0, 65535)));
        let echo = Traffic::Icmp { icmp_type: Some(8), icmp_code: None };
        assert_eq!(Protocol::of(echo), (Protocol::Icmp, Span::new(2048, 2303)));
        let code = Traffic::Icmp { icmp_type: Some(3), icmp_code: Some(4) };
        assert_eq!(Protocol::of(code), (Protocol::Icmp, Span::new(772, 772)));
    }

    #[test]
    fn pieces_of_any_rules_cover_the_same_once() {
        for seed in 0..300 {
            let mut random = StdRng::seed_from_u64(seed);
            let rules: Vec<Rule> = (0..random.random_range(1..25)).map(|_| rule(&mut random)).collect();
            let pieces = pieces(&rules);
            for _ in 0..400 {
                let (outer, port, inner) =
                    (random.random_range(0..16), random.random_range(1..12), random.random_range(0..16));
                let wanted = rules.iter().any(|(around, traffic, within)| {
                    let (_, ports) = Protocol::of(*traffic);
                    let has =
                        |net: Ipv4Net, address| Span::of(net).and(Span::new(address, address)).is_some();
                    has(*around, outer) && has(*within, inner) && ports.first <= port && port <= ports.last
                });
                let found = pieces.iter().filter(|piece| {
                    Span::of(piece.outer).and(Span::new(outer, outer)).is_some()
                        && piece.inner.and(Span::new(inner, inner)).is_some()
                        && piece.ports.and(Span::new(port, port)).is_some()
                });
                assert_eq!(
                    found.count(),
                    usize::from(wanted),
                    "seed {seed}: {rules:?} {outer} {port} {inner}"
                );
            }
        }
    }

    /// A rule among 16 addresses on either side and 12 ports, so that many overlap.
    fn rule(random: &mut StdRng) -> Rule {
        let mut net = || {
            let (bits, length) = (random.random_range(0..16), random.random_range(28..=32));
            Ipv4Net::new(std::net::Ipv4Addr::from_bits(bits), length).unwrap().trunc()
        };
        let (outer, inner) = (net(), net());
        let (one, other) = (random.random_range(1..12), random.random_range(1..12));
        (outer, Traffic::Tcp { ports: PortRange::new(one.min(other), one.max(other)).unwrap() }, inner)
    }
}
