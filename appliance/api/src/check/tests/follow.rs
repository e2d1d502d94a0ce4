//! A checker that follows changes says what a check of the whole document says.

use podzol_vocab::{ConsoleServerId, Generation};
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};

use super::http::with_port;
use super::ipv6::{document6, egress6, ingress6};
use super::*;
use crate::{Delta, LocalPort};

/// Ids of which there are few, so that entries meet.
macro_rules! few {
    ($kind:ident, $random:expr) => {
        $kind::from_bytes([$random.random_range(1..9); 16])
    };
}

#[test]
fn a_checker_follows_random_changes_and_says_what_a_whole_check_says() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut document = Document { generation: Generation(1), ..document6() };
        document.guests.insert(OTHER, guest("10.1.2.0/24", 2));
        let mut checker = Checker::of(&document).unwrap();
        for step in 0..200 {
            let mut next = document.clone();
            for _ in 0..random.random_range(1..4) {
                change(&mut next, &mut random);
            }
            next.generation.0 += 1;
            let delta = Delta::between(&document, &next).unwrap();
            let (problems, before) = (next.problems(), checker.clone());
            let case = format!("seed {seed}, step {step}: {problems:?}");
            if delta.keeps_sides() {
                assert_eq!(checker.leads_to_good(&delta, &document, &next), problems.is_empty(), "{case}");
                checker = before.clone();
            }
            let followed = checker.follow(&delta, &document, &next);
            if problems.is_empty() {
                assert_eq!(followed, Ok(()), "{case}");
                assert_eq!(checker, Checker::of(&next).unwrap(), "{case}");
                good += 1;
                if random.random_ratio(1, 4) {
                    assert_eq!(checker.follow(&delta, &next, &document), Ok(()), "{case}");
                    assert_eq!(checker, before, "{case}");
                } else {
                    document = next;
                }
            } else {
                assert_eq!(followed, Err(problems), "{case}");
                assert_eq!(checker, before, "{case}");
                bad += 1;
            }
        }
    }
    // Both have been there.
    assert!(good > 1000 && bad > 1000, "{good} good, {bad} bad");
}

#[test]
fn a_checker_that_follows_refuses_what_entries_have_together() {
    let sources: Vec<String> = (0..64).map(|number| format!("192.0.2.{}/32", 4 * number)).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let inside: Vec<String> = (0..64).map(|number| format!("10.1.1.{}/32", 4 * number)).collect();
    let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
    let many = |count| (0..count).map(|_| (FirewallRuleId::new(), ingress(&sources, Traffic::All)));
    let wide = |count| {
        let rule =
            EgressRule { sources: ranges(&inside), destinations: ranges(&sources), ..egress("10.1.1.0/24") };
        (0..count).map(move |_| (EgressRuleId::new(), rule.clone())).collect::<Vec<_>>()
    };
    let facts =
        |length: usize| VmFacts { ssh_keys: vec!["x".repeat(length)], ..document().vms.remove(&VM).unwrap() };
    let forward_of = |ports: &str| PortForward { transport: Transport::Udp, ..forward(ports, 1) };
    // What is full, what is one too many then, and the field that says so.
    let cases: [(Document, Document, &str); 4] = [
        (
            Document { ingress: many(256).collect(), ..document() },
            Document {
                ingress: many(256).chain([(INGRESS, ingress(&["192.0.2.0/24"], Traffic::All))]).collect(),
                ..document()
            },
            "ingress",
        ),
        (
            Document { egress: wide(4).into_iter().collect(), ..document() },
            Document {
                egress: wide(4).into_iter().chain([(EGRESS, egress("10.1.1.0/25"))]).collect(),
                ..document()
            },
            "egress",
        ),
        (
            Document { port_forwards: [(FORWARD, forward_of("2-65535"))].into(), ..document() },
            Document {
                port_forwards: [
                    (FORWARD, forward_of("2-65535")),
                    (PortForwardId::new(), forward("9000-9002", 1)),
                ]
                .into(),
                ..document()
            },
            "port_forwards",
        ),
        (
            Document { vms: [(VM, facts(MAX_TEXTS))].into(), ..document() },
            Document { vms: [(VM, facts(MAX_TEXTS)), (VmId::new(), facts(1))].into(), ..document() },
            "vms",
        ),
    ];
    for (full, mut over, field) in cases {
        over.generation.0 += 1;
        let mut checker = Checker::of(&full).unwrap();
        let delta = Delta::between(&full, &over).unwrap();
        let before = checker.clone();
        assert!(!checker.clone().leads_to_good(&delta, &full, &over), "{field}");
        let problems = checker.follow(&delta, &full, &over).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.field.as_str()).collect::<Vec<_>>(), [field]);
        assert!(checker == before, "{field}");
    }
}

const OTHER: NetworkId = NetworkId::from_bytes([9; 16]);

/// Puts one entry or takes one away, good or bad.
fn change(document: &mut Document, random: &mut StdRng) {
    let kind = random.random_range(0..23);
    match kind {
        0 | 1 => put_vm(document, random),
        2..=4 => drop(document.nics.insert(few!(NicId, random), any_nic(random))),
        5..=7 => drop(document.port_forwards.insert(few!(PortForwardId, random), any_forward(random))),
        8 => {
            let nat = StaticNat { public: any_public(random), to: any_inside(random) };
            document.static_nats.insert(few!(StaticNatId, random), nat);
        }
        9 => {
            let sources: &[&str] = if random.random_ratio(1, 5) { &[] } else { &["192.0.2.0/24"] };
            let rule = IngressRule { public: any_public(random), ..ingress(sources, Traffic::All) };
            document.ingress.insert(few!(FirewallRuleId, random), rule);
        }
        10 => {
            let network = if random.random() { NETWORK } else { OTHER };
            let source = if random.random() { "10.1.1.0/25" } else { "10.1.2.0/25" };
            let rule = EgressRule { network, ..egress(source) };
            document.egress.insert(few!(EgressRuleId, random), rule);
        }
        11 | 12 => {
            let mut balancer = any_balancer(random);
            (balancer.public, balancer.port) = (any_public(random), any_port(random));
            document.balancers.insert(few!(LoadBalancerId, random), balancer);
        }
        13 => {
            let mut balancer = with_port(any_port(random));
            (balancer.public, balancer.tls) = (any_public(random), None);
            document.http_balancers.insert(few!(LoadBalancerId, random), balancer);
        }
        16 => {
            let local = LocalPort { public: any_public(random), port: any_port(random) };
            document.local_ports.insert(few!(ConsoleServerId, random), local);
        }
        17 => {
            let (to, id) = (any_target6(random), few!(FirewallRuleId, random));
            document.ingress6.insert(id, ingress6(to, &["2001:db8:1::/48"]));
        }
        18 => {
            let source =
                if random.random_ratio(1, 5) { "2001:db8:64:11::/64" } else { "2001:db8:64:10::/64" };
            document.egress6.insert(few!(EgressRuleId, random), egress6(source, &["::/0"]));
        }
        14 => document.forwarders = vec![[9, 9, 9, random.random_range(7..10)].into(), [9, 9, 9, 9].into()],
        15 if random.random_ratio(1, 4) => {
            let with = random.random_ratio(3, 4).then_some([203, 0, 113, 10].into());
            document.guests.values_mut().for_each(|guest| guest.source_nat = with);
        }
        19 => {
            let most = if random.random_ratio(1, 4) { MIN_FOLLOWED - 1 } else { MIN_FOLLOWED };
            document.limits = limits(most, random.random_range(MIN_FOLLOWED_OF_VM - 4..most));
        }
        _ => take_away(document, random),
    }
}

fn take_away(document: &mut Document, random: &mut StdRng) {
    fn one<K: Ord + Copy, V>(entries: &mut std::collections::BTreeMap<K, V>, random: &mut StdRng) {
        let id = entries.keys().copied().choose(random);
        id.and_then(|id| entries.remove(&id));
    }
    match random.random_range(0..11) {
        10 => one(&mut document.egress6, random),
        9 => one(&mut document.ingress6, random),
        8 => one(&mut document.local_ports, random),
        0 => one(&mut document.vms, random),
        1 => one(&mut document.nics, random),
        2 => one(&mut document.port_forwards, random),
        3 => one(&mut document.static_nats, random),
        4 => one(&mut document.ingress, random),
        5 => one(&mut document.egress, random),
        6 => one(&mut document.balancers, random),
        _ => one(&mut document.http_balancers, random),
    }
}

fn put_vm(document: &mut Document, random: &mut StdRng) {
    let facts = VmFacts {
        name: "web-2".parse().unwrap(),
        ssh_keys: vec!["key".into()],
        user_data: None,
        password: None,
        zone: "z1".parse().unwrap(),
        offering: "small".parse().unwrap(),
    };
    document.vms.insert(few!(VmId, random), facts);
}

fn any_nic(random: &mut StdRng) -> VmNic {
    let mac = mac(random.random_range(1..20));
    let address6 = "2001:db8:64:10::/64".parse::<podzol_vocab::Prefix64>().unwrap().of(mac);
    VmNic {
        vm: few!(VmId, random),
        network: if random.random() { NETWORK } else { OTHER },
        mac,
        address: any_inside(random),
        address6: random.random_ratio(1, 4).then_some(address6),
        primary: random.random(),
    }
}

fn any_forward(random: &mut StdRng) -> PortForward {
    let first = any_port(random);
    let ports = format!("{first}-{}", first + random.random_range(0..3));
    let transport = if random.random() { Transport::Tcp } else { Transport::Udp };
    let to_port = random.random_range(0..20);
    PortForward { public: any_public(random), transport, to: any_inside(random), ..forward(&ports, to_port) }
}

fn any_balancer(random: &mut StdRng) -> Balancer {
    let mut balancer = document().balancers.remove(&BALANCER).unwrap();
    let address = any_inside(random);
    balancer.members.values_mut().for_each(|member| member.address = address);
    balancer
}

fn any_port(random: &mut StdRng) -> u16 {
    random.random_range(1..30)
}

fn any_public(random: &mut StdRng) -> Ipv4Addr {
    [203, 0, 113, *[10, 10, 10, 10, 11, 12].iter().choose(random).unwrap()].into()
}

fn any_target6(random: &mut StdRng) -> &'static str {
    let targets = ["2001:db8:64:10::/64", "2001:db8:64:10::ff:fe00:9/128", "2001:db8:64:10::1/128"];
    targets.iter().choose(random).unwrap()
}

fn any_inside(random: &mut StdRng) -> Ipv4Addr {
    [10, 1, random.random_range(1..3), random.random_range(1..15)].into()
}
