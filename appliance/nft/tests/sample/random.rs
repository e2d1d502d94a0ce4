//! Random changes of a document.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use podzol_appliance_api::{Document, Method, PortRange, Traffic, Traffic6};
use podzol_vocab::{EgressRuleId, FirewallRuleId, PortForwardId};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::{
    FAR, FAR6, OTHER, PUBLIC, WEB, WEB6, balancer, balancer_id, egress, egress6, forward, ingress, ingress6,
    nic, prefix,
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

const SOURCES6: [&str; 6] = [
    "::/0",
    "2001:db8::/32",
    "2001:db8:ffff::/48",
    "2001:db8:ffff:1::/64",
    "2001:db8:ffff:1::7/128",
    "2001:db8:ffff:1:8000::/65",
];

/// Changes some rules, as customers do.
pub(crate) fn change(document: &mut Document, random: &mut StdRng) {
    for _ in 0..random.random_range(1..6) {
        let source = SOURCES.choose(random).unwrap();
        match random.random_range(0..12) {
            8 | 9 => change_ingress6(document, random),
            10 => change_egress6(document, random),
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
                document.ingress6.retain(|_, _| random.random_ratio(2, 3));
                document.egress6.retain(|_, _| random.random_ratio(2, 3));
            }
        }
    }
}

/// For a VM, or for its whole network.
fn change_ingress6(document: &mut Document, random: &mut StdRng) {
    let source = SOURCES6.choose(random).unwrap();
    let mut rule = ingress6(WEB6, &[source], traffic6(random));
    if random.random_ratio(1, 3) {
        rule.to = prefix(1).net();
    }
    document.ingress6.insert(FirewallRuleId::new(), rule);
}

fn change_egress6(document: &mut Document, random: &mut StdRng) {
    let (own, far) = (format!("{WEB6}/128"), format!("{FAR6}/128"));
    let sources =
        [(1, "2001:db8:64:10::/64"), (1, "2001:db8:64:10::/65"), (1, own.as_str()), (2, far.as_str())];
    let (number, from) = *sources.choose(random).unwrap();
    let source = SOURCES6.choose(random).unwrap();
    document.egress6.insert(EgressRuleId::new(), egress6(number, from, source, traffic6(random)));
}

fn traffic6(random: &mut StdRng) -> Traffic6 {
    match traffic(random) {
        Traffic::All => Traffic6::All,
        Traffic::Icmp { icmp_type, icmp_code } => Traffic6::Icmpv6 { icmp_type, icmp_code },
        Traffic::Tcp { ports } => Traffic6::Tcp { ports },
        Traffic::Udp { ports } => Traffic6::Udp { ports },
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

pub(crate) fn address(random: &mut StdRng) -> Ipv4Addr {
    let net: Ipv4Net = SOURCES.choose(random).unwrap().parse().unwrap();
    let last = random.random_range(net.network().to_bits()..=net.broadcast().to_bits());
    Ipv4Addr::from_bits(last)
}

pub(crate) fn address6(random: &mut StdRng) -> Ipv6Addr {
    let net: Ipv6Net = SOURCES6.choose(random).unwrap().parse().unwrap();
    let last = random.random_range(net.network().to_bits()..=net.broadcast().to_bits());
    Ipv6Addr::from_bits(last)
}
