//! What comes in and what goes out.

use std::net::Ipv4Addr;

use podzol_appliance_api::Traffic;
use podzol_vocab::EgressRuleId;

use crate::router::{CLIENT, Router, SERVER, STRANGER, hears};
use crate::sample::{FAR, OTHER, OWN, PUBLIC, STATIC, WEB, bare, echo, egress, ruleset, tcp};
use crate::{ALL, with_forward, with_ingress, with_static};

#[test]
fn a_forward_is_closed_until_a_rule_lets_in() {
    let document = with_forward(bare());
    let mut router = Router::with(&document);
    router.serve(&router.lan, &[WEB], 8080);
    assert!(router.outside.hears_nothing(CLIENT, (PUBLIC, 80)));
    router.put(&ruleset(&with_ingress(document, tcp("80"), &["198.51.100.0/24"])));
    let answer = router.outside.ask(CLIENT, (PUBLIC, 80)).unwrap();
    assert_eq!((answer.at, answer.from), (WEB, CLIENT));
    assert!(router.outside.hears_nothing(STRANGER, (PUBLIC, 80)));
    assert!(router.outside.hears_nothing(CLIENT, (PUBLIC, 8080)));
}

#[test]
fn an_established_connection_outlives_its_rules() {
    let mut router = Router::with(&with_ingress(with_forward(bare()), tcp("80"), ALL));
    router.serve(&router.lan, &[WEB], 8080);
    let mut answer = router.outside.ask(CLIENT, (PUBLIC, 80)).unwrap();
    router.put(&ruleset(&bare()));
    assert!(answer.lives());
    assert!(router.outside.hears_nothing(CLIENT, (PUBLIC, 80)));
}

#[test]
fn a_network_that_denies_lets_exceptions_out_and_one_that_allows_keeps_them_in() {
    let mut document = bare();
    for (number, traffic) in [(1, tcp("80")), (2, tcp("25")), (1, echo())] {
        let source = format!("10.1.{number}.0/24");
        document.egress.insert(EgressRuleId::new(), egress(number, &source, "192.0.2.7/32", traffic));
    }
    let mut router = Router::with(&document);
    [25, 80].iter().for_each(|port| router.serve(&router.outside, &[SERVER, STRANGER], *port));
    assert_eq!(router.lan.ask(WEB, (SERVER, 80)).unwrap().from, PUBLIC);
    assert!(router.lan.hears_nothing(WEB, (SERVER, 25)));
    assert!(router.lan.hears_nothing(WEB, (STRANGER, 80)));
    assert!(router.lan.pings(WEB, SERVER) && !router.lan.pings(WEB, STRANGER));
    assert!(router.far.ask(FAR, (SERVER, 80)).is_ok() && router.far.ask(FAR, (STRANGER, 25)).is_ok());
    assert!(router.far.hears_nothing(FAR, (SERVER, 25)));
    // All protocols, and from one VM only.
    document.egress.insert(EgressRuleId::new(), egress(1, "10.1.1.6/32", "192.0.2.8/32", Traffic::All));
    router.put(&ruleset(&document));
    assert!(router.lan.ask(OTHER, (STRANGER, 25)).is_ok() && router.lan.pings(OTHER, STRANGER));
    assert!(router.lan.hears_nothing(WEB, (STRANGER, 25)));
}

#[test]
fn networks_of_one_router_reach_each_other() {
    let router = Router::with(&bare());
    router.serve(&router.far, &[FAR], 80);
    assert_eq!(router.lan.ask(WEB, (FAR, 80)).unwrap().from, WEB);
}

#[test]
fn sources_that_are_not_a_link_s_own_are_dropped() {
    let document = with_ingress(with_static(bare()), Traffic::All, ALL);
    let router = Router::with(&document);
    let stolen = Ipv4Addr::new(10, 1, 1, 99);
    router.far.ip("address add 10.1.1.99/32 dev eth0");
    let socket = router.lan.listen((WEB, 5000));
    let heard = |from: Ipv4Addr| hears(&socket, || router.far.tell(from, (WEB, 5000)));
    assert_eq!((heard(FAR), heard(stolen)), (Some(FAR), None));
    let socket = router.lan.listen((OWN, 5000));
    let heard = |from: Ipv4Addr| hears(&socket, || router.outside.tell(from, (STATIC, 5000)));
    assert_eq!((heard(CLIENT), heard(stolen)), (Some(CLIENT), None));
}

#[test]
fn the_outside_gets_no_answer_but_to_echo_requests_that_may_come_in() {
    let mut router = Router::with(&bare());
    [53, 80, 8080, 8447]
        .iter()
        .for_each(|port| router.serve(&router.router, &[Ipv4Addr::UNSPECIFIED], *port));
    for port in [53, 80, 8080, 8447] {
        assert!(router.outside.hears_nothing(CLIENT, (PUBLIC, port)), "{port}");
    }
    assert!(!router.outside.pings(CLIENT, PUBLIC));
    router.put(&ruleset(&with_ingress(bare(), echo(), &["198.51.100.0/24"])));
    assert!(router.outside.pings(CLIENT, PUBLIC) && !router.outside.pings(STRANGER, PUBLIC));
    let unreachable = Traffic::Icmp { icmp_type: Some(3), icmp_code: None };
    router.put(&ruleset(&with_ingress(bare(), unreachable, ALL)));
    assert!(!router.outside.pings(CLIENT, PUBLIC));
    router.put(&ruleset(&with_ingress(bare(), Traffic::Icmp { icmp_type: None, icmp_code: None }, ALL)));
    assert!(router.outside.pings(STRANGER, PUBLIC));
    router.put(&ruleset(&with_ingress(with_static(bare()), Traffic::All, ALL)));
    assert!(router.outside.pings(CLIENT, STATIC));
}
