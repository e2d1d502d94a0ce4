//! IPv6: what comes in and goes out, who is answered, and what is counted.

use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};

use podzol_appliance_api::{Counters, Document, IngressRule6, Traffic6};
use podzol_vocab::{EgressRuleId, FirewallRuleId};

use crate::router::{CLIENT6, Router, SERVER6, STRANGER6, hears};
use crate::sample::{FAR6, OTHER6, OWN6, WEB6, bare, echo6, egress6, ingress6, prefix, ruleset, tcp6};

/// The router in the first network, in the second, and outside.
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0x10, 0, 0, 0, 1);
const OTHER_GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0x11, 0, 0, 0, 1);
const ROUTER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0x1f, 0, 0, 0, 1);
const METADATA6: Ipv6Addr = podzol_appliance_api::METADATA_ADDRESS6;

const ALL6: &[&str] = &["::/0"];

fn with_ingress6(mut document: Document, to: Ipv6Addr, sources: &[&str], traffic: Traffic6) -> Document {
    document.ingress6.insert(FirewallRuleId::new(), ingress6(to, sources, traffic));
    document
}

#[test]
fn a_vm_is_closed_until_a_rule_lets_in() {
    let mut router = Router::with(&bare());
    router.serve(&router.lan, &[WEB6, OTHER6], 80);
    assert!(router.outside.hears_nothing(CLIENT6, (WEB6, 80)));
    router.put(&ruleset(&with_ingress6(bare(), WEB6, &["2001:db8:ffff:1::/64"], tcp6("80"))));
    let answer = router.outside.ask(CLIENT6, (WEB6, 80)).unwrap();
    assert_eq!((answer.at, answer.from), (WEB6, CLIENT6), "nothing is translated");
    assert!(router.outside.hears_nothing(STRANGER6, (WEB6, 80)));
    assert!(router.outside.hears_nothing(CLIENT6, (WEB6, 81)));
    assert!(router.outside.hears_nothing(CLIENT6, (OTHER6, 80)));
    router.put(&ruleset(&with_ingress6(bare(), WEB6, ALL6, tcp6("80"))));
    assert!(router.outside.ask(STRANGER6, (WEB6, 80)).is_ok());
    assert!(router.outside.hears_nothing(STRANGER6, (OTHER6, 80)));
}

#[test]
fn a_rule_for_a_network_lets_in_to_all_of_its_vms_and_to_no_other() {
    let mut document = bare();
    let rule = IngressRule6 { to: prefix(1).net(), ..ingress6(WEB6, ALL6, tcp6("80")) };
    document.ingress6.insert(FirewallRuleId::new(), rule);
    let router = Router::with(&document);
    router.serve(&router.lan, &[WEB6, OTHER6], 80);
    router.serve(&router.far, &[FAR6], 80);
    for vm in [WEB6, OTHER6] {
        assert!(router.outside.ask(CLIENT6, (vm, 80)).is_ok(), "{vm}");
    }
    assert!(router.outside.hears_nothing(CLIENT6, (FAR6, 80)));
}

#[test]
fn an_established_connection_outlives_its_rules() {
    let mut router = Router::with(&with_ingress6(bare(), WEB6, ALL6, tcp6("80")));
    router.serve(&router.lan, &[WEB6], 80);
    let mut answer = router.outside.ask(CLIENT6, (WEB6, 80)).unwrap();
    router.put(&ruleset(&bare()));
    assert!(answer.lives());
    assert!(router.outside.hears_nothing(CLIENT6, (WEB6, 80)));
}

#[test]
fn echo_requests_come_in_by_their_type_and_all_traffic_by_one_rule() {
    let mut router = Router::with(&bare());
    assert!(!router.outside.pings(CLIENT6, WEB6));
    router.put(&ruleset(&with_ingress6(bare(), WEB6, &["2001:db8:ffff:1::/64"], echo6())));
    assert!(router.outside.pings(CLIENT6, WEB6) && !router.outside.pings(STRANGER6, WEB6));
    let unreachable = Traffic6::Icmpv6 { icmp_type: Some(1), icmp_code: None };
    router.put(&ruleset(&with_ingress6(bare(), WEB6, ALL6, unreachable)));
    assert!(!router.outside.pings(CLIENT6, WEB6));
    router.put(&ruleset(&with_ingress6(bare(), WEB6, &["2001:db8:ffff:2::8/128"], Traffic6::All)));
    assert!(router.outside.pings(STRANGER6, WEB6) && !router.outside.pings(CLIENT6, WEB6));
}

#[test]
fn a_network_that_denies_lets_exceptions_out_and_one_that_allows_keeps_them_in() {
    let mut document = bare();
    for (number, traffic) in [(1, tcp6("80")), (2, tcp6("25")), (1, echo6())] {
        let rule = egress6(number, &prefix(number).to_string(), "2001:db8:ffff:2::7/128", traffic);
        document.egress6.insert(EgressRuleId::new(), rule);
    }
    let mut router = Router::with(&document);
    [25, 80].iter().for_each(|port| router.serve(&router.outside, &[SERVER6, STRANGER6], *port));
    assert_eq!(router.lan.ask(WEB6, (SERVER6, 80)).unwrap().from, WEB6);
    assert!(router.lan.hears_nothing(WEB6, (SERVER6, 25)));
    assert!(router.lan.hears_nothing(WEB6, (STRANGER6, 80)));
    assert!(router.lan.pings(WEB6, SERVER6) && !router.lan.pings(WEB6, STRANGER6));
    assert!(router.far.ask(FAR6, (SERVER6, 80)).is_ok() && router.far.ask(FAR6, (STRANGER6, 25)).is_ok());
    assert!(router.far.hears_nothing(FAR6, (SERVER6, 25)));
    let rule = egress6(1, &format!("{OTHER6}/128"), "2001:db8:ffff:2::8/128", Traffic6::All);
    document.egress6.insert(EgressRuleId::new(), rule);
    router.put(&ruleset(&document));
    assert!(router.lan.ask(OTHER6, (STRANGER6, 25)).is_ok() && router.lan.pings(OTHER6, STRANGER6));
    assert!(router.lan.hears_nothing(WEB6, (STRANGER6, 25)));
}

#[test]
fn networks_of_one_router_reach_each_other() {
    let router = Router::with(&bare());
    router.serve(&router.far, &[FAR6], 80);
    assert_eq!(router.lan.ask(WEB6, (FAR6, 80)).unwrap().from, WEB6);
}

#[test]
fn nobody_is_looked_for_at_an_address_that_no_vm_has() {
    let mut document = bare();
    for number in [1, 2] {
        let rule = IngressRule6 { to: prefix(number).net(), ..ingress6(WEB6, ALL6, Traffic6::All) };
        document.ingress6.insert(FirewallRuleId::new(), rule);
    }
    let router = Router::with(&document);
    assert!(router.outside.pings(CLIENT6, WEB6) && router.far.pings(FAR6, OTHER6));
    for host in 0..50_u16 {
        let [of_lan, of_far] =
            [0x10, 0x11].map(|network| Ipv6Addr::new(0x2001, 0xdb8, 0x64, network, 7, 7, 7, host));
        for (namespace, to) in [
            (&router.outside, of_lan),
            (&router.outside, of_far),
            (&router.far, of_lan),
            (&router.lan, of_far),
        ] {
            let socket = namespace.inside(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap());
            socket.send_to(b"x", (to, 9)).unwrap();
        }
    }
    let known = router.router.run("ip", &["-6", "neigh", "show"]).unwrap();
    let global: Vec<&str> = known.lines().filter(|line| line.starts_with("2001:db8:64:1")).collect();
    assert_eq!(global.len(), 3, "only the VMs that were pinged, and who pinged: {global:?}");
}

#[test]
fn sources_that_are_no_vm_s_behind_their_link_are_dropped() {
    let mut document = with_ingress6(bare(), WEB6, ALL6, Traffic6::All);
    document = with_ingress6(document, FAR6, ALL6, Traffic6::All);
    let router = Router::with(&document);
    let address = |text: &str| text.parse::<Ipv6Addr>().unwrap();
    let [of_nobody, of_lan] = [address("2001:db8:64:11::99"), address("2001:db8:64:10::99")];
    let unused = address("2001:db8:64:15::99");
    for (namespace, address) in [
        (&router.far, of_nobody),
        (&router.far, of_lan),
        (&router.outside, of_lan),
        (&router.outside, unused),
    ] {
        namespace.add_address6(&format!("{address}/128"), "eth0");
    }
    let socket = router.lan.listen((WEB6, 5000));
    let heard = |from: Ipv6Addr| hears(&socket, || router.far.tell(from, (WEB6, 5000)));
    assert_eq!((heard(FAR6), heard(of_nobody), heard(of_lan)), (Some(FAR6), None, None));
    let heard = |from: Ipv6Addr| hears(&socket, || router.outside.tell(from, (WEB6, 5000)));
    assert_eq!((heard(CLIENT6), heard(of_lan), heard(unused)), (Some(CLIENT6), None, None));
}

#[test]
fn a_vm_is_answered_by_the_router_of_its_own_link_only_and_the_outside_by_echoes_alone() {
    let router = Router::with(&bare());
    let everywhere = [Ipv6Addr::UNSPECIFIED];
    [53, 80, 8447].iter().for_each(|port| router.serve(&router.router, &everywhere, *port));
    assert!(router.lan.ask(WEB6, (GATEWAY6, 53)).is_ok() && router.lan.pings(WEB6, GATEWAY6));
    for (to, port) in [(GATEWAY6, 80), (GATEWAY6, 8447), (OTHER_GATEWAY6, 53), (ROUTER6, 53)] {
        assert!(router.lan.hears_nothing(WEB6, (to, port)), "{to} {port}");
    }
    assert!(!router.lan.pings(WEB6, OTHER_GATEWAY6));
    assert!(router.outside.pings(CLIENT6, ROUTER6) && !router.outside.pings(CLIENT6, GATEWAY6));
    for (to, port) in [(ROUTER6, 53), (ROUTER6, 8447), (GATEWAY6, 53)] {
        assert!(router.outside.hears_nothing(CLIENT6, (to, port)), "{to} {port}");
    }
}

#[test]
fn questions_for_names_are_not_followed() {
    let router = Router::with(&bare());
    router.router.echo_udp((GATEWAY6, 53));
    let count = || std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap();
    assert!(router.lan.hears_udp(WEB6, (GATEWAY6, 53)));
    assert_eq!(router.router.inside(count).trim(), "0");
}

#[test]
fn dhcp_is_reached_from_a_link_local_address_of_a_guest_s_link() {
    let router = Router::with(&bare());
    let all_servers: Ipv6Addr = "ff02::1:2".parse().unwrap();
    let index = |link: &str| nix::net::if_::if_nametoindex(link).unwrap();
    let socket = router.router.listen((Ipv6Addr::UNSPECIFIED, 547));
    for link in ["eth0", "eth2"] {
        socket.join_multicast_v6(&all_servers, router.router.inside(|| index(link))).unwrap();
    }
    let asks = |namespace: &crate::router::Namespace, port| {
        let to = SocketAddrV6::new(all_servers, port, 0, namespace.inside(|| index("eth0")));
        let asking = namespace.inside(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap());
        asking.send_to(b"hello", to).unwrap();
    };
    let is_link_local = |from: Ipv6Addr| from.is_unicast_link_local();
    assert!(hears(&socket, || asks(&router.lan, 547)).is_some_and(is_link_local));
    assert_eq!(hears::<Ipv6Addr>(&socket, || asks(&router.outside, 547)), None);
    let other = router.router.listen((Ipv6Addr::UNSPECIFIED, 548));
    other.join_multicast_v6(&all_servers, router.router.inside(|| index("eth0"))).unwrap();
    assert_eq!(hears::<Ipv6Addr>(&other, || asks(&router.lan, 548)), None);
}

#[test]
fn who_looks_for_metadata_by_ipv6_is_told_at_once() {
    let router = Router::with(&bare());
    for (vms, from) in [(&router.lan, WEB6), (&router.far, FAR6)] {
        let error = vms.ask(from, (METADATA6, 80)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
    }
}

#[test]
fn a_hundred_echoes_are_counted_to_the_byte() {
    let mut router = Router::with(&with_ingress6(bare(), WEB6, ALL6, echo6()));
    (0..100).for_each(|_| assert!(router.outside.pings(CLIENT6, WEB6)));
    // A header of 40 bytes, one of 8, and nothing else.
    let all = Counters { sent_bytes: 4800, sent_packets: 100, received_bytes: 4800, received_packets: 100 };
    assert_eq!(router.counted().nics6[&WEB6], all);
    assert!(
        router.far.pings(FAR6, WEB6) && router.lan.pings(WEB6, OTHER6) && router.lan.pings(WEB6, GATEWAY6)
    );
    assert_eq!(router.counted().nics6[&OTHER6], Counters::default(), "what stays on a link is not counted");
    assert_eq!(router.counted().nics6[&WEB6].received_packets, 101);
    assert_eq!(router.counted().nics6[&FAR6].sent_packets, 1);
    router.put(&ruleset(&bare()));
    router.router.nft(&ruleset(&bare()).whole()).unwrap();
    assert_eq!(router.counted().nics6[&WEB6].received_packets, 101, "counters outlive changes and repairs");
    assert!(!router.outside.pings(CLIENT6, WEB6));
    assert_eq!(router.counted().nics6[&WEB6].received_packets, 101);
}

#[test]
fn without_a_prefix_nothing_is_answered_or_forwarded() {
    let router = Router::with(&bare().without_ipv6());
    router.serve(&router.router, &[Ipv6Addr::UNSPECIFIED], 53);
    router.serve(&router.far, &[FAR6], 53);
    router.serve(&router.lan, &[OWN6], 53);
    assert!(router.lan.hears_nothing(WEB6, (GATEWAY6, 53)) && router.lan.hears_nothing(WEB6, (FAR6, 53)));
    assert!(router.outside.hears_nothing(CLIENT6, (OWN6, 53)));
    router.router.nft("delete table ip6 podzol").unwrap();
    assert!(router.lan.ask(WEB6, (GATEWAY6, 53)).is_ok() && router.lan.ask(WEB6, (FAR6, 53)).is_ok());
    assert!(router.outside.ask(CLIENT6, (OWN6, 53)).is_ok());
}
