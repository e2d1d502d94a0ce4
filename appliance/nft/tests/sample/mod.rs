//! A small document with one of everything.

pub(crate) mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use podzol_appliance_api::{
    Balancer, Document, EgressPolicy, EgressRule, EgressRule6, GuestNetwork, IngressRule, IngressRule6,
    Member, Method, PortForward, Prefix64, PublicSide, PublicSide6, StaticNat, Traffic, Traffic6, Transport,
    VmFacts, VmNic,
};
use podzol_appliance_nft::{Rules, Ruleset};
use podzol_vocab::{
    EgressRuleId, FirewallRuleId, Generation, InterfaceName, LoadBalancerId, MacAddr, NetworkId, NicId,
    PortForwardId, StaticNatId, VmId,
};

/// The public address of source NAT, forwards and balancers.
pub(crate) const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
/// The public address that is one VM's.
pub(crate) const STATIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 6);

/// VMs in the network that denies what goes out but for exceptions.
pub(crate) const WEB: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 5);
pub(crate) const OTHER: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 6);
/// The VM with a public address of its own.
pub(crate) const OWN: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 7);
/// A VM in the network that allows what goes out but for exceptions.
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 5);

/// The same VMs by IPv6: what their MAC addresses make in their networks' prefixes.
pub(crate) const WEB6: Ipv6Addr = address6(1, 5);
pub(crate) const OTHER6: Ipv6Addr = address6(1, 6);
pub(crate) const OWN6: Ipv6Addr = address6(1, 7);
pub(crate) const FAR6: Ipv6Addr = address6(2, 8);

const fn address6(network: u16, last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0xf + network, 0, 0x5eff, 0xfe10, last)
}

macro_rules! id {
    ($kind:ident, $number:expr) => {
        $kind::from_bytes({
            let mut bytes = [0; 16];
            bytes[15] = $number;
            bytes
        })
    };
}

pub(crate) fn network(number: u8) -> NetworkId {
    id!(NetworkId, number)
}

pub(crate) fn nic(number: u8) -> NicId {
    id!(NicId, number)
}

pub(crate) fn balancer_id() -> LoadBalancerId {
    id!(LoadBalancerId, 1)
}

/// The links of the two networks.
pub(crate) fn links() -> BTreeMap<NetworkId, InterfaceName> {
    [(network(1), "eth0".parse().unwrap()), (network(2), "eth3".parse().unwrap())].into()
}

/// The rule set of a document with all members of balancers up.
pub(crate) fn ruleset(document: &Document) -> Ruleset {
    Rules::of(document, &links(), &BTreeSet::new()).ruleset().clone()
}

/// Two networks, four VMs and two public addresses, and no rules yet.
pub(crate) fn bare() -> Document {
    let vm = id!(VmId, 1);
    let nic_of = |number, network_number, address| {
        let mac = mac(number);
        (
            nic(number),
            VmNic {
                vm,
                network: network(network_number),
                mac,
                address,
                address6: Some(prefix(network_number).of(mac)),
                primary: number == 5,
            },
        )
    };
    let facts = VmFacts {
        name: "web".parse().unwrap(),
        ssh_keys: Vec::new(),
        user_data: None,
        password: None,
        zone: "zone-1".parse().unwrap(),
        offering: "small".parse().unwrap(),
    };
    Document {
        generation: Generation(1),
        guests: [(network(1), guest(1, EgressPolicy::Deny)), (network(2), guest(2, EgressPolicy::Allow))]
            .into(),
        public: Some(PublicSide {
            mac: mac(200),
            mtu: 1500,
            addresses: [(PUBLIC, 24), (STATIC, 24)].into(),
            gateway: Ipv4Addr::new(203, 0, 113, 1),
            ipv6: Some(PublicSide6 {
                next_hop: "fe80::1:1".parse().unwrap(),
                own: "2001:db8:64:1f::1".parse().unwrap(),
                gateway: "fe80::ffff".parse().unwrap(),
                slot: "2001:db8:64:10::/60".parse().unwrap(),
            }),
        }),
        vms: [(vm, facts)].into(),
        nics: [nic_of(5, 1, WEB), nic_of(6, 1, OTHER), nic_of(7, 1, OWN), nic_of(8, 2, FAR)].into(),
        ..Document::default()
    }
}

/// One of everything.
pub(crate) fn small() -> Document {
    let mut document = bare();
    document.port_forwards = [
        (id!(PortForwardId, 1), forward("80", WEB, 8080)),
        (id!(PortForwardId, 2), forward("9000-9001", WEB, 9000)),
        (id!(PortForwardId, 3), forward("9100-9101", OTHER, 9200)),
    ]
    .into();
    document.static_nats = [(id!(StaticNatId, 1), StaticNat { public: STATIC, to: OWN })].into();
    document.balancers = [(balancer_id(), balancer(Method::RoundRobin))].into();
    document.ingress = [
        (id!(FirewallRuleId, 1), ingress(PUBLIC, &["0.0.0.0/0"], tcp("80"))),
        (id!(FirewallRuleId, 2), ingress(PUBLIC, &["198.51.100.0/24", "10.0.0.0/8"], tcp("9000-9200"))),
        (id!(FirewallRuleId, 3), ingress(PUBLIC, &["0.0.0.0/0"], tcp("443"))),
        (id!(FirewallRuleId, 4), ingress(STATIC, &["198.51.100.7/32"], Traffic::All)),
        (id!(FirewallRuleId, 5), ingress(PUBLIC, &["0.0.0.0/0"], echo())),
    ]
    .into();
    document.egress = [
        (id!(EgressRuleId, 1), egress(1, "10.1.1.0/24", "192.0.2.0/24", tcp("80"))),
        (id!(EgressRuleId, 2), egress(2, "10.1.2.5/32", "192.0.2.7/32", tcp("25"))),
    ]
    .into();
    document.ingress6 = [
        (id!(FirewallRuleId, 11), ingress6(WEB6, &["::/0"], tcp6("80"))),
        (id!(FirewallRuleId, 12), ingress6(WEB6, &["2001:db8:ffff::/48", "fd00::/8"], tcp6("9000-9200"))),
        (id!(FirewallRuleId, 13), ingress6(OWN6, &["2001:db8:ffff:1::7/128"], Traffic6::All)),
        (id!(FirewallRuleId, 14), ingress6(WEB6, &["::/0"], echo6())),
        (
            id!(FirewallRuleId, 15),
            IngressRule6 { to: prefix(2).net(), ..ingress6(FAR6, &["::/0"], tcp6("22")) },
        ),
    ]
    .into();
    document.egress6 = [
        (id!(EgressRuleId, 11), egress6(1, "2001:db8:64:10::/64", "2001:db8:ffff:2::/64", tcp6("80"))),
        (id!(EgressRuleId, 12), egress6(2, &format!("{FAR6}/128"), "2001:db8:ffff:2::7/128", tcp6("25"))),
    ]
    .into();
    assert_eq!(document.problems(), []);
    document
}

/// The IPv6 prefix of a network.
pub(crate) fn prefix(number: u8) -> Prefix64 {
    format!("2001:db8:64:{:x}::/64", 0xf + number).parse().unwrap()
}

pub(crate) fn guest(number: u8, egress: EgressPolicy) -> GuestNetwork {
    GuestNetwork {
        mac: mac(100 + number),
        cidr: format!("10.1.{number}.0/24").parse().unwrap(),
        prefix6: Some(prefix(number)),
        mtu: 1500,
        domain: format!("net-{number}.example.internal").parse().unwrap(),
        lease_secs: 3600,
        source_nat: Some(PUBLIC),
        egress,
    }
}

pub(crate) fn forward(ports: &str, to: Ipv4Addr, to_port: u16) -> PortForward {
    PortForward { public: PUBLIC, transport: Transport::Tcp, ports: ports.parse().unwrap(), to, to_port }
}

/// Port 443 to two VMs, three to one.
pub(crate) fn balancer(method: Method) -> Balancer {
    let member = |address, weight| Member { address, port: 8443, weight, drains: false };
    let members = [(nic(5), member(WEB, 3)), (nic(6), member(OTHER, 1))].into();
    Balancer { public: PUBLIC, transport: Transport::Tcp, port: 443, method, members, check: None }
}

pub(crate) fn ingress(public: Ipv4Addr, sources: &[&str], traffic: Traffic) -> IngressRule {
    IngressRule { public, sources: sources.iter().map(|net| net.parse().unwrap()).collect(), traffic }
}

pub(crate) fn egress(number: u8, source: &str, destination: &str, traffic: Traffic) -> EgressRule {
    EgressRule {
        network: network(number),
        sources: vec![source.parse().unwrap()],
        destinations: vec![destination.parse().unwrap()],
        traffic,
    }
}

pub(crate) fn ingress6(to: Ipv6Addr, sources: &[&str], traffic: Traffic6) -> IngressRule6 {
    let sources = sources.iter().map(|net| net.parse().unwrap()).collect();
    IngressRule6 { to: to.into(), sources, traffic }
}

pub(crate) fn egress6(number: u8, source: &str, destination: &str, traffic: Traffic6) -> EgressRule6 {
    EgressRule6 {
        network: network(number),
        sources: vec![source.parse().unwrap()],
        destinations: vec![destination.parse().unwrap()],
        traffic,
    }
}

pub(crate) fn tcp6(ports: &str) -> Traffic6 {
    Traffic6::Tcp { ports: ports.parse().unwrap() }
}

pub(crate) fn echo6() -> Traffic6 {
    Traffic6::Icmpv6 { icmp_type: Some(128), icmp_code: None }
}

pub(crate) fn tcp(ports: &str) -> Traffic {
    Traffic::Tcp { ports: ports.parse().unwrap() }
}

pub(crate) fn echo() -> Traffic {
    Traffic::Icmp { icmp_type: Some(8), icmp_code: None }
}

/// The MAC address of a VM's interface of that number.
pub(crate) fn mac(last: u8) -> MacAddr {
    MacAddr::local([2, 0, 0x5e, 0x10, 0, last])
}
