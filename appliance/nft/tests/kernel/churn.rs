//! Random documents, one after the other, in the real kernel: its sets must hold what is wanted after each change, and
//! find what the rules say.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use podzol_appliance_api::{Document, IngressRule, Method, PortRange, Traffic};
use podzol_vocab::{EgressRuleId, FirewallRuleId, PortForwardId};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::router::Router;
use crate::sample::{
    FAR, OTHER, PUBLIC, WEB, balancer, balancer_id, bare, egress, forward, ingress, nic, ruleset,
};

const SOURCES: [&str; 7] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.1.0/24",
    "198.51.100.0/24",
    "198.51.100.0/25",
    "198.51.100.7/32",
    "198.51.100.128/32",
];

#[test]
fn the_kernel_holds_and_finds_what_random_documents_say() {
    let mut random = StdRng::seed_from_u64(1);
    let mut router = Router::empty();
    let mut document = bare();
    for _ in 0..150 {
        change(&mut document, &mut random);
        assert_eq!(document.problems(), []);
        router.put(&ruleset(&document));
        let (port, source) = (random.random_range(1..30), address(&mut random));
        assert_eq!(
            finds(&router, port, source),
            lets_in(&document, port, source),
            "{port} {source} {document:?}"
        );
    }
}

/// Changes some rules, as customers do.
fn change(document: &mut Document, random: &mut StdRng) {
    for _ in 0..random.random_range(1..6) {
        let source = SOURCES.choose(random).unwrap();
        match random.random_range(0..8) {
            0 | 1 => drop(
                document.ingress.insert(FirewallRuleId::new(), ingress(PUBLIC, &[source], traffic(random))),
            ),
            2 | 3 => {
                let (number, from) =
                    *[(1, "10.1.1.0/24"), (1, "10.1.1.0/25"), (1, "10.1.1.5/32"), (2, "10.1.2.0/24")]
                        .choose(random)
                        .unwrap();
                drop(
                    document
                        .egress
                        .insert(EgressRuleId::new(), egress(number, from, source, traffic(random))),
                );
            }
            4 => {
                let first = 10 * random.random_range(1..20_u16);
                let ports = format!("{first}-{}", first + random.random_range(0..9));
                let to_port = if random.random() { first } else { first + 1 };
                let to = *[WEB, OTHER, FAR].choose(random).unwrap();
                document.port_forwards.retain(|_, other| other.ports.first() != first);
                document.port_forwards.insert(PortForwardId::new(), forward(&ports, to, to_port));
            }
            5 => {
                let method =
                    *[Method::RoundRobin, Method::SourceHash, Method::LeastLoad].choose(random).unwrap();
                let mut balancer = balancer(method);
                balancer.members.get_mut(&nic(5)).unwrap().weight = random.random_range(1..100);
                document.balancers.insert(balancer_id(), balancer);
            }
            6 => document.balancers.clear(),
            _ => {
                document.ingress.retain(|_, _| random.random_ratio(2, 3));
                document.egress.retain(|_, _| random.random_ratio(2, 3));
                document.port_forwards.retain(|_, _| random.random_ratio(2, 3));
            }
        }
    }
}

fn traffic(random: &mut StdRng) -> Traffic {
    let first = random.random_range(1..30);
    let ports =
        PortRange::new(first, first + random.random_range(0..10) * random.random_range(0..2)).unwrap();
    match random.random_range(0..8) {
        0 => Traffic::All,
        1 => Traffic::Icmp { icmp_type: Some(random.random_range(0..9)), icmp_code: None },
        2 => Traffic::Icmp { icmp_type: None, icmp_code: None },
        3 => Traffic::Udp { ports },
        _ => Traffic::Tcp { ports },
    }
}

fn address(random: &mut StdRng) -> Ipv4Addr {
    let net: Ipv4Net = SOURCES.choose(random).unwrap().parse().unwrap();
    let last = random.random_range(net.network().to_bits()..=net.broadcast().to_bits());
    Ipv4Addr::from_bits(last)
}

/// Whether the document's rules for TCP let a source in to a port.
fn lets_in(document: &Document, port: u16, source: Ipv4Addr) -> bool {
    let lets = |rule: &IngressRule| {
        let Traffic::Tcp { ports } = rule.traffic else { return false };
        rule.sources[0].contains(&source) && (ports.first()..=ports.last()).contains(&port)
    };
    document.ingress.values().any(lets)
}

/// Whether the kernel finds it in one of the sets for TCP, and not in both.
fn finds(router: &Router, port: u16, source: Ipv4Addr) -> bool {
    let get = |set: &str, key: &str| {
        let element = format!("{{ {key} }}");
        router.router.run("nft", &["get", "element", "ip", "podzol", set, &element]).is_ok()
    };
    let key = format!("{PUBLIC} . tcp . {port}");
    let found = [get("ingress_port", &key), get("ingress", &format!("{key} . {source}"))];
    assert_ne!(found, [true, true]);
    found.contains(&true)
}
