//! How many connections a VM may have begun.

use std::time::Duration;

use podzol_appliance_api::{Document, EgressPolicy, Limits};

use crate::GATEWAY;
use crate::router::{Address, Router, SERVER, SERVER6};
use crate::sample::{FAR, OTHER, OTHER6, WEB, WEB6, bare, ruleset};

/// How long a connection that has ended may be counted on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// With networks that send outside what they like.
fn unlimited() -> Document {
    let mut document = bare();
    document.guests.values_mut().for_each(|guest| guest.egress = EgressPolicy::Allow);
    document
}

fn limited(connections_per_vm: u32) -> Document {
    Document { limits: Some(Limits { connections: 1024, connections_per_vm }), ..unlimited() }
}

#[test]
fn a_vm_that_has_begun_what_it_may_begins_no_more_and_others_do() {
    takes_no_more_than_its_limit(WEB, OTHER, SERVER);
}

#[test]
fn the_same_over_ipv6() {
    takes_no_more_than_its_limit(WEB6, OTHER6, SERVER6);
}

fn takes_no_more_than_its_limit<A: Address>(vm: A, other: A, server: A) {
    let mut router = Router::with(&limited(3));
    router.serve(&router.outside, &[server], 80);
    let begin = |router: &Router, from: A| router.lan.ask(from, (server, 80)).unwrap();
    let mut held: Vec<_> = (0..3).map(|_| begin(&router, vm)).collect();
    assert!(router.lan.hears_nothing(vm, (server, 80)), "a fourth");
    assert!(held.iter_mut().all(|connection| connection.lives()), "those before it go on");
    let _others = begin(&router, other);
    // One that has ended makes room for another.
    drop(held.pop());
    let ended = std::time::Instant::now();
    while router.lan.hears_nothing(vm, (server, 80)) {
        assert!(ended.elapsed() < PATIENCE, "there is room for none");
    }

    // With another number, those that are begun from then on are counted.
    router.put(&ruleset(&limited(1)));
    assert!(held.iter_mut().all(|connection| connection.lives()));
    let _one = begin(&router, vm);
    assert!(router.lan.hears_nothing(vm, (server, 80)), "a second");
    router.put(&ruleset(&unlimited()));
    let _more = begin(&router, vm);
}

#[test]
fn what_a_vm_begins_in_another_network_and_at_the_router_counts_too() {
    let router = Router::with(&limited(2));
    router.serve(&router.far, &[FAR], 80);
    router.serve(&router.router, &[GATEWAY], 53);
    let _held = [router.lan.ask(WEB, (FAR, 80)).unwrap(), router.lan.ask(WEB, (GATEWAY, 53)).unwrap()];
    assert!(router.lan.hears_nothing(WEB, (FAR, 80)));
    assert!(router.lan.hears_nothing(WEB, (GATEWAY, 53)));
    // It keeps its lease and finds names.
    for port in [53, 67] {
        router.router.echo_udp((GATEWAY, port));
        assert!(router.lan.hears_udp(WEB, (GATEWAY, port)), "{port}");
    }
    assert!(router.lan.ask(OTHER, (GATEWAY, 53)).is_ok());
}
