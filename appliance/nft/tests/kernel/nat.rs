//! Where connections go and come from.

use podzol_appliance_api::{EgressPolicy, Method, Traffic, Transport};
use podzol_vocab::{EgressRuleId, PortForwardId};

use crate::router::{CLIENT, Router, SERVER};
use crate::sample::{
    FAR, OTHER, OWN, PUBLIC, STATIC, WEB, balancer, balancer_id, bare, egress, forward, network, nic,
    ruleset, tcp,
};
use crate::{ALL, GATEWAY, with_forward, with_ingress, with_static};

#[test]
fn ranges_of_ports_lead_to_the_same_ports_or_shifted_ones() {
    let mut document = with_ingress(bare(), tcp("9000-9200"), ALL);
    document.port_forwards.insert(PortForwardId::new(), forward("9000-9001", WEB, 9000));
    document.port_forwards.insert(PortForwardId::new(), forward("9100-9101", OTHER, 9200));
    let router = Router::with(&document);
    router.serve(&router.lan, &[WEB], 9001);
    router.serve(&router.lan, &[OTHER], 9201);
    assert_eq!(router.outside.ask(CLIENT, (PUBLIC, 9001)).unwrap().at, WEB);
    assert_eq!(router.outside.ask(CLIENT, (PUBLIC, 9101)).unwrap().at, OTHER);
}

#[test]
fn udp_is_forwarded_balanced_and_let_out_like_tcp() {
    let udp = |ports: &str| Traffic::Udp { ports: ports.parse().unwrap() };
    let mut document = with_ingress(bare(), udp("53"), ALL);
    document.port_forwards = [(PortForwardId::new(), forward("53", WEB, 5353))].into();
    document.port_forwards.values_mut().for_each(|forward| forward.transport = Transport::Udp);
    document.egress = [(EgressRuleId::new(), egress(1, "10.1.1.0/24", "192.0.2.7/32", udp("123")))].into();
    let mut router = Router::with(&document);
    router.lan.echo_udp((WEB, 5353));
    router.lan.echo_udp((OTHER, 8443));
    router.outside.echo_udp((SERVER, 123));
    assert!(router.outside.hears_udp(CLIENT, (PUBLIC, 53)));
    assert!(!router.outside.hears_udp(CLIENT, (PUBLIC, 443)));
    assert!(router.lan.hears_udp(WEB, (SERVER, 123)));
    let mut balancer = balancer(Method::RoundRobin);
    balancer.transport = Transport::Udp;
    balancer.members.remove(&nic(5));
    document.balancers = [(balancer_id(), balancer)].into();
    router.put(&ruleset(&with_ingress(document, udp("443"), ALL)));
    assert!(router.outside.hears_udp(CLIENT, (PUBLIC, 443)));
}

#[test]
fn vms_reach_their_own_network_s_forwards_through_the_public_address() {
    let mut router = Router::with(&with_ingress(with_forward(bare()), tcp("80"), &["198.51.100.0/24"]));
    router.serve(&router.lan, &[WEB], 8080);
    assert!(router.lan.hears_nothing(OTHER, (PUBLIC, 80)));
    router.put(&ruleset(&with_ingress(with_forward(bare()), tcp("80"), ALL)));
    let same = router.lan.ask(OTHER, (PUBLIC, 80)).unwrap();
    assert_eq!((same.at, same.from), (WEB, GATEWAY));
    let other = router.far.ask(FAR, (PUBLIC, 80)).unwrap();
    assert_eq!((other.at, other.from), (WEB, FAR));
}

#[test]
fn static_nat_leads_in_and_out_by_the_same_address() {
    let mut document = with_static(with_ingress(bare(), tcp("22"), ALL));
    document.guests.get_mut(&network(1)).unwrap().egress = EgressPolicy::Allow;
    let router = Router::with(&document);
    router.serve(&router.lan, &[OWN], 22);
    router.serve(&router.outside, &[SERVER], 80);
    let inward = router.outside.ask(CLIENT, (STATIC, 22)).unwrap();
    assert_eq!((inward.at, inward.from), (OWN, CLIENT));
    assert_eq!(router.lan.ask(OWN, (SERVER, 80)).unwrap().from, STATIC);
    assert_eq!(router.lan.ask(WEB, (SERVER, 80)).unwrap().from, PUBLIC);
}

#[test]
fn without_an_address_outside_nothing_leaves() {
    let mut document = bare();
    document.guests.get_mut(&network(2)).unwrap().source_nat = None;
    let mut router = Router::with(&document);
    router.serve(&router.outside, &[SERVER], 80);
    // The one outside could answer, so that silence is the router's doing.
    router.outside.ip("route add 10.1.2.0/24 via 203.0.113.5");
    assert!(router.far.hears_nothing(FAR, (SERVER, 80)));
    router.put(&ruleset(&bare()));
    assert_eq!(router.far.ask(FAR, (SERVER, 80)).unwrap().from, PUBLIC);
}
