//! Which members connections go to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::Ipv4Addr;

use podzol_appliance_api::{Member, Method};
use podzol_appliance_nft::Rules;

use crate::router::{CLIENT, Router, STRANGER};
use crate::sample::{OTHER, OWN, PUBLIC, WEB, balancer, balancer_id, bare, links, nic, ruleset, tcp};
use crate::{ALL, with_ingress};

#[test]
fn a_balancer_spreads_by_the_weights() {
    for method in [Method::RoundRobin, Method::LeastLoad] {
        let mut document = with_ingress(bare(), tcp("443"), ALL);
        // Together more than a byte can hold.
        let mut balancer = balancer(method);
        balancer.members.get_mut(&nic(5)).unwrap().weight = 100;
        balancer.members.get_mut(&nic(6)).unwrap().weight = 99;
        balancer.members.insert(nic(7), Member { address: OWN, ..balancer.members[&nic(5)].clone() });
        document.balancers = [(balancer_id(), balancer)].into();
        let mut router = Router::with(&document);
        router.serve(&router.lan, &[WEB, OTHER, OWN], 8443);
        let shares = shares(&router, 299);
        match method {
            Method::RoundRobin => assert_eq!(shares, [(WEB, 100), (OTHER, 99), (OWN, 100)].into()),
            // By chance: six standard deviations, sqrt(299 * 1/3 * 2/3) = 8.2, to either side.
            _ => assert!(shares.values().all(|share| (50..150).contains(share)), "{shares:?}"),
        }
        document.balancers.get_mut(&balancer_id()).unwrap().members.get_mut(&nic(5)).unwrap().drains = true;
        let down = [(balancer_id(), nic(6))].into();
        router.put(Rules::of(&document, &links(), &down).ruleset());
        assert_eq!(self::shares(&router, 10), [(OWN, 10)].into());
    }
}

#[test]
fn a_source_stays_with_its_member() {
    let mut document = with_ingress(bare(), tcp("443"), ALL);
    document.balancers = [(balancer_id(), balancer(Method::SourceHash))].into();
    let router = Router::with(&document);
    router.serve(&router.lan, &[WEB, OTHER], 8443);
    let members: BTreeSet<_> =
        (0..10).map(|_| router.outside.ask(CLIENT, (PUBLIC, 443)).unwrap().at).collect();
    assert_eq!(members.len(), 1);
    let mut all = BTreeSet::new();
    for last in 1..=40 {
        let source = Ipv4Addr::new(198, 51, 100, 100 + last);
        router.outside.ip(&format!("address add {source}/32 dev eth0"));
        all.insert(router.outside.ask(source, (PUBLIC, 443)).unwrap().at);
    }
    assert_eq!(all, [WEB, OTHER].into());
}

#[test]
fn a_member_that_drains_keeps_its_connections() {
    let mut document = with_ingress(bare(), tcp("443"), ALL);
    document.balancers = [(balancer_id(), balancer(Method::RoundRobin))].into();
    let mut router = Router::with(&document);
    router.serve(&router.lan, &[WEB, OTHER], 8443);
    let mut before = router.outside.ask(CLIENT, (PUBLIC, 443)).unwrap();
    assert_eq!(before.at, WEB);
    document.balancers.get_mut(&balancer_id()).unwrap().members.get_mut(&nic(5)).unwrap().drains = true;
    router.put(&ruleset(&document));
    assert_eq!(shares(&router, 5), [(OTHER, 5)].into());
    assert!(before.lives());
}

#[test]
fn a_balancer_without_members_refuses_those_who_may_come_in_and_no_others() {
    let mut document = with_ingress(bare(), tcp("443"), &["198.51.100.0/24"]);
    document.balancers = [(balancer_id(), balancer(Method::RoundRobin))].into();
    document.balancers.get_mut(&balancer_id()).unwrap().members.clear();
    let router = Router::with(&document);
    let refused = router.outside.ask(CLIENT, (PUBLIC, 443)).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(router.outside.hears_nothing(STRANGER, (PUBLIC, 443)));
}

/// Which members so many connections went to.
fn shares(router: &Router, connections: usize) -> BTreeMap<Ipv4Addr, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..connections {
        *shares.entry(router.outside.ask(CLIENT, (PUBLIC, 443)).unwrap().at).or_default() += 1;
    }
    shares
}
