//! Random documents, one after the other, in the real kernel: its sets must hold what is wanted after each change, and
//! find what the rules say.

use std::net::{Ipv4Addr, Ipv6Addr};

use podzol_appliance_api::{Document, IngressRule, IngressRule6, Traffic, Traffic6};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::router::Router;
use crate::sample::random::{address, address6, change};
use crate::sample::{PUBLIC, WEB6, bare, ruleset};

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
        let (to, source) = (WEB6, address6(&mut random));
        let wanted = lets_in6(&document, port, source);
        assert_eq!(finds6(&router, to, port, source), wanted, "{port} {source} {document:?}");
    }
}

/// Whether the document's rules for TCP let a source in to a port.
fn lets_in(document: &Document, port: u16, source: Ipv4Addr) -> bool {
    let lets = |rule: &IngressRule| {
        let Traffic::Tcp { ports } = rule.traffic else { return false };
        rule.sources[0].contains(&source) && (ports.first()..=ports.last()).contains(&port)
    };
    document.ingress.values().any(lets)
}

/// The same of the rules for IPv6.
fn lets_in6(document: &Document, port: u16, source: Ipv6Addr) -> bool {
    let lets = |rule: &IngressRule6| {
        let Traffic6::Tcp { ports } = rule.traffic else { return false };
        rule.sources[0].contains(&source) && (ports.first()..=ports.last()).contains(&port)
    };
    document.ingress6.values().any(lets)
}

fn finds6(router: &Router, to: Ipv6Addr, port: u16, source: Ipv6Addr) -> bool {
    let get = |set: &str, key: &str| {
        let element = format!("{{ {key} }}");
        router.router.run("nft", &["get", "element", "ip6", "podzol", set, &element]).is_ok()
    };
    let key = format!("{to} . tcp . {port}");
    let found = [
        get("ingress_port", &key),
        get("ingress_link", &format!("eth0 . tcp . {port}")),
        get("ingress", &format!("{key} . {source}")),
    ];
    let count = found.iter().filter(|found| **found).count();
    assert!(count < 2, "{found:?}");
    count == 1
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
