use std::collections::BTreeSet;

use ipnet::{Ipv4Net, Ipv6Net};
use podzol_appliance_api::PortRange;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

type Given<A> = (A, Traffic, A);

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn tcp(ports: &str) -> Traffic {
    Traffic::Tcp { ports: ports.parse().unwrap() }
}

fn pieces<A: Net>(rules: &[Given<A>]) -> Vec<Piece<A>> {
    Areas::of(rules.iter().map(rule)).unwrap().1
}

fn rule<A: Net>((outer, traffic, inner): &Given<A>) -> Rule<A> {
    Rule::new(*outer, *traffic, *inner)
}

fn piece(outer: &str, first: u32, last: u32, inner: &str) -> Piece<Ipv4Net> {
    let (ports, inner) = (Span::new(first, last), net(inner).span());
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
    let of = |packets: Packets| (packets.protocol, packets.ports);
    let any = Traffic::Icmp { icmp_type: None, icmp_code: None };
    assert_eq!(of(any.into()), (Protocol::Icmp, Span::new(0, 65535)));
    let echo = Traffic::Icmp { icmp_type: Some(8), icmp_code: None };
    assert_eq!(of(echo.into()), (Protocol::Icmp, Span::new(2048, 2303)));
    let code = Traffic::Icmp { icmp_type: Some(3), icmp_code: Some(4) };
    assert_eq!(of(code.into()), (Protocol::Icmp, Span::new(772, 772)));
    let echo = Traffic6::Icmpv6 { icmp_type: Some(128), icmp_code: Some(0) };
    assert_eq!(of(echo.into()), (Protocol::Icmpv6, Span::new(32768, 32768)));
}

#[test]
fn pieces_of_any_rules_cover_the_same_once() {
    pieces_cover_the_same_once::<Ipv4Net>();
    pieces_cover_the_same_once::<Ipv6Net>();
}

fn pieces_cover_the_same_once<A: Net>() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let rules: Vec<Given<A>> = (0..random.random_range(1..25)).map(|_| any(&mut random)).collect();
        let pieces = pieces(&rules);
        for _ in 0..400 {
            let mut address = || A::Number::from(random.random_range(0..16));
            let (outer, inner) = (address(), address());
            let port = random.random_range(1..12);
            let has = |net: A, address: A::Number| net.span().and(Span::new(address, address)).is_some();
            let wanted = rules.iter().any(|(around, traffic, within)| {
                let Packets { ports, .. } = (*traffic).into();
                has(*around, outer) && has(*within, inner) && ports.first <= port && port <= ports.last
            });
            let found = pieces.iter().filter(|piece| {
                has(piece.outer, outer)
                    && piece.inner.and(Span::new(inner, inner)).is_some()
                    && piece.ports.and(Span::new(port, port)).is_some()
            });
            assert_eq!(
                found.count(),
                usize::from(wanted),
                "seed {seed}: {rules:?} {outer:?} {port} {inner:?}"
            );
        }
    }
}

#[test]
fn rules_that_come_and_go_leave_the_pieces_of_those_that_stay() {
    those_that_stay_have_their_pieces::<Ipv4Net>();
    those_that_stay_have_their_pieces::<Ipv6Net>();
}

fn those_that_stay_have_their_pieces<A: Net>() {
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut areas, mut there, mut held) = (Areas::<A>::default(), Vec::new(), BTreeSet::new());
        for step in 0..60 {
            let (way, given) = if there.is_empty() || random.random_bool(0.55) {
                let given: Given<A> = any(&mut random);
                there.push(given);
                (Way::In, given)
            } else {
                (Way::Out, there.swap_remove(random.random_range(0..there.len())))
            };
            let (gone, new) = areas.change(way, rule(&given)).unwrap();
            gone.iter().for_each(|piece| assert!(held.remove(piece), "seed {seed}, step {step}: {piece:?}"));
            new.iter().for_each(|piece| assert!(held.insert(*piece), "seed {seed}, step {step}: {piece:?}"));
            let anew: BTreeSet<Piece<A>> = pieces(&there).into_iter().collect();
            assert_eq!(held, anew, "seed {seed}, step {step}: {way:?} {given:?}");
            assert_eq!(areas.count, held.len(), "seed {seed}, step {step}: {way:?} {given:?}");
        }
    }
}

#[test]
fn too_many_pieces_are_not_made_whatever_came_first() {
    let public = net("203.0.113.5/32");
    let all = (1..=64).map(|number| (public, tcp("1-65535"), net(&format!("10.0.0.{number}/32"))));
    let ports = (1..=5000).map(|number| (public, tcp(&(2 * number).to_string()), net("0.0.0.0/0")));
    let (all, ports): (Vec<_>, Vec<_>) = (all.collect(), ports.collect());
    let together: Vec<_> = all.iter().chain(&ports).copied().collect();
    assert_eq!(Areas::of(together.iter().map(rule)).unwrap_err(), TooMany);

    for (first, then) in [(&all, &ports), (&ports, &all)] {
        let (mut areas, _) = Areas::of(first.iter().map(rule)).unwrap();
        let fits = then.iter().take_while(|given| areas.change(Way::In, rule(given)).is_ok()).count();
        let there: Vec<_> = first.iter().chain(&then[..fits]).copied().collect();
        let next = then[fits];
        assert!(Areas::of(there.iter().map(rule)).is_ok(), "{fits}");
        assert_eq!(Areas::of(there.iter().chain([&next]).map(rule)).unwrap_err(), TooMany);
    }
}

/// A rule among 16 addresses on either side and 12 ports, so that many overlap.
fn any<A: Net>(random: &mut StdRng) -> Given<A> {
    let whole = A::one(A::Number::from(0)).length();
    let mut net = || {
        let (bits, length) = (random.random_range(0..16), random.random_range(whole - 4..=whole));
        A::around(A::Number::from(bits), length).unwrap()
    };
    let (outer, inner) = (net(), net());
    let (one, other) = (random.random_range(1..12), random.random_range(1..12));
    (outer, Traffic::Tcp { ports: PortRange::new(one.min(other), one.max(other)).unwrap() }, inner)
}
