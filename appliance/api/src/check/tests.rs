use podzol_vocab::{
    EgressRuleId, FirewallRuleId, LoadBalancerId, NetworkId, NicId, PortForwardId, StaticNatId, Transport,
    VmId,
};

use super::*;
use crate::document::{
    Balancer, Check, CheckKind, EgressPolicy, GuestNetwork, Limits, Member, Method, PortForward, PublicSide,
    StaticNat, VmFacts, VmNic,
};
use crate::firewall::{EgressRule, IngressRule, Traffic};
use crate::limits::{MAX_RULES, MAX_TEXTS};

mod entries;
mod follow;
mod http;
mod ipv6;
mod local;

const NETWORK: NetworkId = NetworkId::from_bytes([1; 16]);
const VM: VmId = VmId::from_bytes([2; 16]);
const NIC: NicId = NicId::from_bytes([3; 16]);
const FORWARD: PortForwardId = PortForwardId::from_bytes([4; 16]);
const STATIC: StaticNatId = StaticNatId::from_bytes([5; 16]);
const INGRESS: FirewallRuleId = FirewallRuleId::from_bytes([6; 16]);
const EGRESS: EgressRuleId = EgressRuleId::from_bytes([7; 16]);
const BALANCER: LoadBalancerId = LoadBalancerId::from_bytes([8; 16]);

fn guest(cidr: &str, last: u8) -> GuestNetwork {
    GuestNetwork {
        mac: mac(last),
        cidr: cidr.parse().unwrap(),
        prefix6: None,
        mtu: 1500,
        domain: format!("net-{last}.example.internal").parse().unwrap(),
        lease_secs: 3600,
        source_nat: Some([203, 0, 113, 10].into()),
        egress: EgressPolicy::Allow,
    }
}

fn mac(last: u8) -> podzol_vocab::MacAddr {
    podzol_vocab::MacAddr::local([2, 0, 0, 0, 0, last])
}

/// A document with one of each thing.
fn document() -> Document {
    let facts = VmFacts {
        name: "web-1".parse().unwrap(),
        ssh_keys: vec![],
        user_data: None,
        password: None,
        zone: "z1".parse().unwrap(),
        offering: "small".parse().unwrap(),
    };
    let nic = VmNic {
        vm: VM,
        network: NETWORK,
        mac: mac(9),
        address: [10, 1, 1, 2].into(),
        address6: None,
        primary: true,
    };
    let member = Member { address: [10, 1, 1, 2].into(), port: 80, weight: 1, drains: false };
    let check = Check { kind: CheckKind::Tcp, interval_ms: 1000, timeout_ms: 500, rise: 2, fall: 3 };
    Document {
        guests: [(NETWORK, guest("10.1.1.0/24", 1))].into(),
        public: Some(PublicSide {
            mac: mac(7),
            mtu: 1500,
            addresses: [([203, 0, 113, 10].into(), 24), ([203, 0, 113, 11].into(), 24)].into(),
            gateway: [203, 0, 113, 1].into(),
            ipv6: None,
        }),
        vms: [(VM, facts)].into(),
        nics: [(NIC, nic)].into(),
        port_forwards: [(FORWARD, forward("8000-8010", 80))].into(),
        static_nats: [(STATIC, StaticNat { public: [203, 0, 113, 11].into(), to: [10, 1, 1, 2].into() })]
            .into(),
        ingress: [(INGRESS, ingress(&["192.0.2.0/24"], Traffic::All))].into(),
        egress: [(EGRESS, egress("10.1.1.0/25"))].into(),
        balancers: [(
            BALANCER,
            Balancer {
                public: [203, 0, 113, 10].into(),
                transport: Transport::Tcp,
                port: 443,
                method: Method::RoundRobin,
                members: [(NIC, member)].into(),
                check: Some(check),
            },
        )]
        .into(),
        ..Document::default()
    }
}

fn forward(ports: &str, to_port: u16) -> PortForward {
    PortForward {
        public: [203, 0, 113, 10].into(),
        transport: Transport::Tcp,
        ports: ports.parse().unwrap(),
        to: [10, 1, 1, 2].into(),
        to_port,
    }
}

fn ranges(texts: &[&str]) -> Vec<Ipv4Net> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn ingress(sources: &[&str], traffic: Traffic) -> IngressRule {
    IngressRule { public: [203, 0, 113, 10].into(), sources: ranges(sources), traffic }
}

fn egress(source: &str) -> EgressRule {
    EgressRule {
        network: NETWORK,
        sources: ranges(&[source]),
        destinations: ranges(&["0.0.0.0/0"]),
        traffic: Traffic::All,
    }
}

#[test]
fn a_document_that_keeps_all_rules_has_no_problems() {
    assert_eq!(document().problems(), []);
    assert_eq!(Document::default().problems(), []);
}

/// A change that breaks one rule, and the field that the only problem names.
type Bad = (fn(&mut Document), &'static str);

#[test]
fn every_rule_has_its_bad_case_and_names_its_field() {
    let bad: [Bad; 52] = [
        (|d| d.forwarders = vec!["2001:db8::1".parse().unwrap()], "forwarders"),
        (|d| d.forwarders = vec![[10, 1, 1, 1].into()], "forwarders"),
        (|d| d.forwarders = vec![[192, 0, 2, 53].into(); 2], "forwarders"),
        (|d| public_of(d).gateway = [203, 0, 113, 10].into(), "public.gateway"),
        (|d| public_of(d).gateway = [127, 0, 0, 1].into(), "public.gateway"),
        (|d| public_of(d).addresses.extend([([224, 0, 0, 1].into(), 32)]), "public.addresses"),
        (|d| public_of(d).addresses.extend([([10, 1, 1, 99].into(), 32)]), "guests.*.cidr"),
        (|d| public_of(d).gateway = [10, 1, 1, 99].into(), "guests.*.cidr"),
        (|d| d.guests.extend([(NetworkId::new(), guest("169.254.0.0/16", 2))]), "guests.*.cidr"),
        (|d| nic_of(d).mac = mac(1), "nics.*.mac"),
        (|d| d.port_forwards.extend(many_ports()), "port_forwards"),
        (
            |d| {
                d.ingress.extend(
                    (0..MAX_RULES).map(|_| (FirewallRuleId::new(), ingress(&["192.0.2.0/24"], Traffic::All))),
                )
            },
            "ingress",
        ),
        (|d| d.ingress.extend(many_sources()), "ingress"),
        (|d| d.vms.get_mut(&VM).unwrap().ssh_keys = vec!["x".repeat(MAX_TEXTS + 1)], "vms"),
        (|d| six_networks(d), "guests"),
        (|d| d.forwarders = (1..10).map(|last| [9, 9, 9, last].into()).collect(), "forwarders"),
        (|d| drop(d.guests.insert(NetworkId::new(), guest("10.1.0.0/16", 2))), "guests.*.cidr"),
        (
            |d| {
                drop(
                    d.guests
                        .insert(NetworkId::new(), GuestNetwork { mac: mac(1), ..guest("10.2.0.0/16", 2) }),
                )
            },
            "guests.*.mac",
        ),
        (
            |d| {
                drop(d.guests.insert(
                    NetworkId::new(),
                    GuestNetwork {
                        domain: "net-1.example.internal".parse().unwrap(),
                        ..guest("10.2.0.0/16", 2)
                    },
                ))
            },
            "guests.*.domain",
        ),
        (|d| guest_of(d).mtu = 500, "guests.*.mtu"),
        (|d| guest_of(d).lease_secs = 1, "guests.*.lease_secs"),
        (|d| guest_of(d).source_nat = Some([203, 0, 113, 99].into()), "guests.*.source_nat"),
        (|d| public_of(d).mac = mac(1), "public.mac"),
        (|d| public_of(d).mtu = 10_000, "public.mtu"),
        (|d| public_of(d).addresses.extend([([203, 0, 113, 12].into(), 33)]), "public.addresses"),
        (|d| nic_of(d).vm = VmId::new(), "nics.*.vm"),
        (|d| nic_of(d).network = NetworkId::new(), "nics.*.network"),
        (|d| nic_of(d).address = [10, 1, 1, 1].into(), "nics.*.address"),
        (|d| second_nic(d, |nic| nic.mac = mac(9)), "nics.*.mac"),
        (|d| second_nic(d, |nic| nic.address = [10, 1, 1, 2].into()), "nics.*.address"),
        (|d| second_nic(d, |nic| nic.primary = true), "nics.*.primary"),
        (|d| forward_of(d).public = [203, 0, 113, 99].into(), "port_forwards.*.public"),
        (|d| forward_of(d).public = [203, 0, 113, 11].into(), "static_nats.*.public"),
        (|d| forward_of(d).to = [10, 2, 1, 2].into(), "port_forwards.*.to"),
        (|d| forward_of(d).to_port = 0, "port_forwards.*.to_port"),
        (|d| forward_of(d).to_port = 65_530, "port_forwards.*.to_port"),
        (|d| d.port_forwards.extend([(PortForwardId::new(), forward("8010", 1))]), "port_forwards.*.ports"),
        (|d| forward_of(d).ports = "440-450".parse().unwrap(), "balancers.*.port"),
        (|d| ingress_of(d).sources = vec![], "ingress.*.sources"),
        (|d| ingress_of(d).sources = ranges(&["192.0.2.1/24"]), "ingress.*.sources"),
        (|d| ingress_of(d).sources = ranges(&["192.0.2.0/24", "192.0.0.0/16"]), "ingress.*.sources"),
        (
            |d| ingress_of(d).traffic = Traffic::Icmp { icmp_type: None, icmp_code: Some(1) },
            "ingress.*.traffic",
        ),
        (|d| drop(d.egress.insert(EGRESS, egress("10.1.2.0/24"))), "egress.*.sources"),
        (
            |d| {
                drop(
                    d.egress
                        .insert(EGRESS, EgressRule { network: NetworkId::new(), ..egress("10.1.1.0/24") }),
                )
            },
            "egress.*.network",
        ),
        (
            |d| drop(d.egress.insert(EGRESS, EgressRule { destinations: vec![], ..egress("10.1.1.0/24") })),
            "egress.*.destinations",
        ),
        (|d| member_of(d).weight = 0, "balancers.*.members.*.weight"),
        (|d| member_of(d).address = [192, 0, 2, 1].into(), "balancers.*.members.*.address"),
        (|d| check_of(d).rise = 0, "balancers.*.check.rise"),
        (|d| check_of(d).kind = CheckKind::Http { path: "no slash".into() }, "balancers.*.check.kind.path"),
        (|d| d.limits = limits(MAX_FOLLOWED + 1, MIN_FOLLOWED_OF_VM), "limits.connections"),
        (|d| d.limits = limits(MIN_FOLLOWED, MIN_FOLLOWED_OF_VM - 1), "limits.connections_per_vm"),
        (|d| d.limits = limits(MIN_FOLLOWED, MIN_FOLLOWED + 1), "limits.connections_per_vm"),
    ];
    for (number, (spoil, expected)) in bad.into_iter().enumerate() {
        let mut document = document();
        spoil(&mut document);
        assert_only(&document, expected, number);
    }
}

/// Finds that the only problem names a field, in which ids are stars.
fn assert_only(document: &Document, expected: &str, number: usize) {
    let problems = document.problems();
    let starred = problems.iter().map(|problem| {
        let parts = problem.field.split('.');
        let is_id = |part: &&str| part.len() == 36;
        parts.map(|part| if is_id(&part) { "*" } else { part }).collect::<Vec<_>>().join(".")
    });
    assert_eq!(starred.collect::<Vec<_>>(), [expected], "case {number}: {problems:?}");
}

fn limits(connections: u32, connections_per_vm: u32) -> Option<Limits> {
    Some(Limits { connections, connections_per_vm })
}

fn six_networks(document: &mut Document) {
    for number in 0..6 {
        let other = guest(&format!("10.9.{number}.0/24"), 20 + number);
        document.guests.insert(NetworkId::new(), other);
    }
}

fn many_ports() -> [(PortForwardId, PortForward); 2] {
    let udp = PortForward { transport: Transport::Udp, ..forward("2-65535", 1) };
    [(PortForwardId::new(), udp), (PortForwardId::new(), forward("9000-9100", 1))]
}

/// As many as there can be, beside one.
fn many_sources() -> impl Iterator<Item = (FirewallRuleId, IngressRule)> {
    let sources: Vec<String> = (0..64).map(|number| format!("192.0.2.{number}/32")).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let rule = ingress(&sources, Traffic::All);
    (0..1024).map(move |_| (FirewallRuleId::new(), rule.clone()))
}

fn guest_of(document: &mut Document) -> &mut GuestNetwork {
    document.guests.get_mut(&NETWORK).unwrap()
}

fn public_of(document: &mut Document) -> &mut PublicSide {
    document.public.as_mut().unwrap()
}

fn nic_of(document: &mut Document) -> &mut VmNic {
    document.nics.get_mut(&NIC).unwrap()
}

fn second_nic(document: &mut Document, spoil: fn(&mut VmNic)) {
    let mut nic = VmNic {
        mac: mac(8),
        address: [10, 1, 1, 3].into(),
        address6: None,
        primary: false,
        ..nic_of(document).clone()
    };
    spoil(&mut nic);
    document.nics.insert(NicId::new(), nic);
}

fn forward_of(document: &mut Document) -> &mut PortForward {
    document.port_forwards.get_mut(&FORWARD).unwrap()
}

fn ingress_of(document: &mut Document) -> &mut IngressRule {
    document.ingress.get_mut(&INGRESS).unwrap()
}

fn member_of(document: &mut Document) -> &mut Member {
    document.balancers.get_mut(&BALANCER).unwrap().members.get_mut(&NIC).unwrap()
}

fn check_of(document: &mut Document) -> &mut Check {
    document.balancers.get_mut(&BALANCER).unwrap().check.as_mut().unwrap()
}

#[test]
fn an_unknown_key_and_a_value_that_is_none_are_refused_by_name() {
    let text = serde_json::to_string(&document()).unwrap();
    assert_eq!(serde_json::from_str::<Document>(&text).unwrap(), document());
    for (from, to, says) in [
        ("\"forwarders\":", "\"forwarder\":", "unknown field `forwarder`"),
        ("\"8000-8010\"", "\"8010-8000\"", "must be a port such as 80 or ports such as 8000-8010"),
        ("\"8000-8010\"", "\"+80\"", "must be a port"),
        ("net-1.example", "Net_1.example", "must be a domain"),
        ("\"round_robin\"", "\"any\"", "unknown variant `any`"),
    ] {
        let error = serde_json::from_str::<Document>(&text.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn what_overlaps_with_the_management_network_is_refused() {
    let management = |address: [u8; 4], mac| ManagementSide {
        mac,
        address: address.into(),
        prefix_len: 24,
        mtu: 1500,
        routes: vec![],
    };
    assert_eq!(document().problems_beside(&management([192, 168, 99, 2], mac(99))), []);
    for (address, mac, field) in [
        ([10, 1, 1, 200], mac(99), ".cidr: "),
        ([203, 0, 113, 200], mac(99), "public.addresses: "),
        ([192, 168, 99, 2], mac(1), ".mac: "),
        ([192, 168, 99, 2], mac(7), "public.mac: "),
    ] {
        let problems = document().problems_beside(&management(address, mac));
        assert!(problems[0].to_string().contains(field), "{problems:?}");
    }
}
