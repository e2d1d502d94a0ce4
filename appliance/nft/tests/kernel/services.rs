//! What the router itself answers.

use std::net::Ipv4Addr;

use crate::router::{MANAGED, MANAGER, Router, SERVER, hears};
use crate::sample::{FAR, PUBLIC, STATIC, WEB, bare, echo, ruleset, small};
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
    assert_eq!(hears(&tftp, || router.far.broadcast("eth0", 68, 69)), None);
    router.outside.ip("address flush dev eth0");
    assert_eq!(hears(&dhcp, || router.outside.broadcast("eth0", 68, 67)), None);
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
