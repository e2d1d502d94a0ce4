//! What the router itself answers.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::Command;

use podzol_appliance_api::{HttpBalancer, Method};

use crate::router::{CLIENT, MANAGED, MANAGER, Router, SERVER, STRANGER, hears};
use crate::sample::{FAR, OTHER, PUBLIC, STATIC, WEB, balancer_id, bare, echo, ruleset, small, tcp};
use crate::{ALL, GATEWAY, with_ingress};

#[test]
fn the_router_answers_guests_at_its_address_on_their_own_link_only() {
    let mut router = Router::with(&bare());
    router.router.ip("address add 169.254.169.254/32 dev eth0");
    router.router.ip("address add 169.254.169.254/32 dev eth3");
    let everywhere = [Ipv4Addr::UNSPECIFIED];
    [53, 80, 8080, 8447, 22].iter().for_each(|port| router.serve(&router.router, &everywhere, *port));
    let metadata = Ipv4Addr::new(169, 254, 169, 254);
    for port in [53, 80, 8080] {
        assert!(router.lan.ask(WEB, (GATEWAY, port)).is_ok(), "{port}");
    }
    assert!(router.lan.ask(WEB, (metadata, 80)).is_ok() && router.far.ask(FAR, (metadata, 80)).is_ok());
    // One VM with another's address, at its own interface.
    for to in [(metadata, 80), (GATEWAY, 80), (GATEWAY, 8080)] {
        let refused = router.lan.ask(OTHER, to).map_err(|error| error.kind());
        assert_eq!(refused.err(), Some(std::io::ErrorKind::ConnectionRefused), "{to:?}");
    }
    assert!(router.lan.ask(OTHER, (GATEWAY, 53)).is_ok());
    assert!(router.lan.pings(WEB, GATEWAY));
    for address in [MANAGED, PUBLIC, STATIC, Ipv4Addr::new(10, 1, 2, 1)] {
        for port in [53, 80, 8080, 8447] {
            assert!(router.lan.hears_nothing(WEB, (address, port)), "{address}:{port}");
        }
        assert!(!router.lan.pings(WEB, address), "{address}");
    }
    for port in [22, 8447] {
        assert!(router.lan.hears_nothing(WEB, (GATEWAY, port)), "{port}");
    }
    router.put(&ruleset(&with_ingress(bare(), echo(), ALL)));
    assert!(router.lan.pings(WEB, PUBLIC));
    assert!(!router.lan.pings(WEB, MANAGED));
}

#[test]
fn a_vm_without_an_address_reaches_dhcp_on_its_link() {
    let router = Router::with(&bare());
    router.far.ip("address flush dev eth0");
    let [dhcp, tftp] = [67, 69].map(|port| router.router.listen((Ipv4Addr::UNSPECIFIED, port)));
    assert_eq!(hears(&dhcp, || router.far.broadcast("eth0", 68, 67)), Some(Ipv4Addr::UNSPECIFIED));
    assert_eq!(hears::<Ipv4Addr>(&tftp, || router.far.broadcast("eth0", 68, 69)), None);
    router.outside.ip("address flush dev eth0");
    assert_eq!(hears::<Ipv4Addr>(&dhcp, || router.outside.broadcast("eth0", 68, 67)), None);
}

#[test]
fn the_management_network_reaches_the_api_and_nothing_behind_the_router() {
    let router = Router::with(&small());
    [80, 8447].iter().for_each(|port| router.serve(&router.router, &[Ipv4Addr::UNSPECIFIED], *port));
    router.serve(&router.lan, &[WEB], 8080);
    router.serve(&router.management, &[MANAGER], 80);
    assert!(router.management.ask(MANAGER, (MANAGED, 8447)).is_ok());
    assert!(router.management.pings(MANAGER, MANAGED));
    assert!(router.management.hears_nothing(MANAGER, (MANAGED, 80)));
    for to in [(WEB, 8080), (PUBLIC, 80), (SERVER, 80)] {
        assert!(router.management.hears_nothing(MANAGER, to), "{to:?}");
    }
    assert!(router.far.hears_nothing(FAR, (MANAGER, 80)));
}

#[test]
fn a_balancer_of_http_is_reached_by_those_whom_a_rule_lets_in_and_no_other_port_beside_it() {
    let balancer = HttpBalancer {
        public: PUBLIC,
        port: 80,
        method: Method::RoundRobin,
        members: BTreeMap::new(),
        check: None,
        cookie: None,
        tls: None,
        max_connections: 1,
        idle_secs: 1,
    };
    let mut document = bare();
    document.http_balancers = [(balancer_id(), balancer)].into();
    let mut router = Router::with(&document);
    for port in [80, 8080] {
        router.serve(&router.router, &[Ipv4Addr::UNSPECIFIED], port);
    }
    assert!(router.outside.hears_nothing(CLIENT, (PUBLIC, 80)));

    let with_rule = with_ingress(document, tcp("1-65535"), &["198.51.100.0/24", "10.1.1.0/24"]);
    router.put(&ruleset(&with_rule));

    assert_eq!(router.outside.ask(CLIENT, (PUBLIC, 80)).unwrap().at, PUBLIC);
    assert_eq!(router.lan.ask(WEB, (PUBLIC, 80)).unwrap().at, PUBLIC, "a VM is a source like any other");
    assert!(router.outside.hears_nothing(STRANGER, (PUBLIC, 80)));
    assert!(router.outside.hears_nothing(CLIENT, (PUBLIC, 8080)));
    assert!(router.outside.hears_nothing(CLIENT, (STATIC, 80)));
}

#[test]
fn connections_to_the_api_take_no_place_among_those_that_are_followed() {
    let router = Router::with(&bare());
    [53, 8447].iter().for_each(|port| router.serve(&router.router, &[Ipv4Addr::UNSPECIFIED], *port));
    let followed = || {
        let count = || std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap();
        router.router.inside(count).trim().to_owned()
    };
    let mut managing = router.management.ask(MANAGER, (MANAGED, 8447)).unwrap();
    assert!(managing.lives());
    assert_eq!(followed(), "0");
    let mut other = router.lan.ask(WEB, (GATEWAY, 53)).unwrap();
    assert!(other.lives() && managing.lives());
    assert_eq!(followed(), "1");
}

#[test]
fn who_balances_http_begins_connections_to_vms_only() {
    let router = Router::with(&bare());
    router.serve(&router.lan, &[WEB], 8080);
    router.serve(&router.management, &[MANAGER], 8080);
    router.serve(&router.outside, &[SERVER], 8080);
    router.serve(&router.router, &[Ipv4Addr::LOCALHOST], 8080);
    let connects = |user: u32, to: Ipv4Addr| {
        let line = format!("exec 3<>/dev/tcp/{to}/8080");
        let mut command = Command::new("timeout");
        let connecting = command.args(["2", "bash", "-c", &line]).uid(user);
        router.router.inside(|| connecting.output().unwrap().status.success())
    };
    for (to, may) in [(WEB, true), (MANAGER, false), (SERVER, false), (Ipv4Addr::LOCALHOST, false)] {
        assert_eq!(connects(podzol_appliance_nft::BALANCER, to), may, "{to}");
        assert!(connects(0, to), "{to}");
    }
}
