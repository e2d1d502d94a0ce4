//! What entries must keep beside what the table of bad documents has: how many there may be, static NATs, and balancers.

use super::*;
use crate::limits::{MAX_BALANCERS, MAX_MEMBERS, MAX_VMS};

#[test]
fn every_rule_of_an_entry_has_its_bad_case_too() {
    let bad: [Bad; 22] = [
        (|d| static_of(d).public = [203, 0, 113, 99].into(), "static_nats.*.public"),
        (|d| guest_of(d).source_nat = Some([203, 0, 113, 11].into()), "static_nats.*.public"),
        (|d| second_static(d, [203, 0, 113, 11], [10, 1, 1, 3]), "static_nats.*.public"),
        (|d| second_static(d, [203, 0, 113, 12], [10, 1, 1, 2]), "static_nats.*.to"),
        (|d| static_of(d).to = [192, 0, 2, 1].into(), "static_nats.*.to"),
        (|d| static_of(d).to = [10, 1, 1, 1].into(), "static_nats.*.to"),
        (|d| ingress_of(d).public = [203, 0, 113, 99].into(), "ingress.*.public"),
        (
            |d| {
                let traffic = Traffic::Icmp { icmp_type: None, icmp_code: Some(1) };
                d.egress.get_mut(&EGRESS).unwrap().traffic = traffic;
            },
            "egress.*.traffic",
        ),
        (|d| balancer_of(d).public = [203, 0, 113, 99].into(), "balancers.*.public"),
        (|d| balancer_of(d).port = 0, "balancers.*.port"),
        (|d| member_of(d).port = 0, "balancers.*.members.*.port"),
        (|d| many_members(d), "balancers.*.members"),
        (|d| balancer_of(d).transport = Transport::Udp, "balancers.*.check.kind"),
        (|d| check_of(d).interval_ms = 499, "balancers.*.check.interval_ms"),
        (|d| check_of(d).timeout_ms = 99, "balancers.*.check.timeout_ms"),
        (|d| check_of(d).fall = 11, "balancers.*.check.fall"),
        (|d| many_vms(d), "vms"),
        (|d| many_nics(d), "nics"),
        (|d| many_static_nats(d), "static_nats"),
        (|d| d.egress.extend((0..MAX_RULES).map(|_| (EgressRuleId::new(), egress("10.1.1.0/25")))), "egress"),
        (|d| many_pairs(d), "egress"),
        (|d| many_balancers(d), "balancers"),
    ];
    for (number, (spoil, expected)) in bad.into_iter().enumerate() {
        let mut document = document();
        spoil(&mut document);
        assert_only(&document, expected, number);
    }
}

#[test]
fn as_many_entries_as_there_may_be_keep_all_rules() {
    let mut document = document();
    many_vms(&mut document);
    let surplus = document.vms.keys().find(|id| **id != VM).copied().unwrap();
    document.vms.remove(&surplus);
    many_balancers(&mut document);
    document.balancers.remove(&BALANCER);
    assert_eq!((document.vms.len(), document.balancers.len()), (MAX_VMS, MAX_BALANCERS));
    assert_eq!(document.problems(), []);
}

fn static_of(document: &mut Document) -> &mut StaticNat {
    document.static_nats.get_mut(&STATIC).unwrap()
}

/// A second one, whose public address is the router's.
fn second_static(document: &mut Document, public: [u8; 4], to: [u8; 4]) {
    public_of(document).addresses.insert(public.into(), 24);
    document.static_nats.insert(StaticNatId::new(), StaticNat { public: public.into(), to: to.into() });
}

fn balancer_of(document: &mut Document) -> &mut Balancer {
    document.balancers.get_mut(&BALANCER).unwrap()
}

/// One more than there can be.
fn many_members(document: &mut Document) {
    let member = member_of(document).clone();
    let more = (0..MAX_MEMBERS).map(|_| (NicId::new(), member.clone()));
    balancer_of(document).members.extend(more);
}

fn many_vms(document: &mut Document) {
    let facts = document.vms[&VM].clone();
    document.vms.extend((0..MAX_VMS).map(|_| (VmId::new(), facts.clone())));
}

/// A network with room for thousands.
fn wide(document: &mut Document) -> NetworkId {
    let id = NetworkId::new();
    document.guests.insert(id, guest("10.8.0.0/16", 2));
    id
}

/// The address of that number in a range of 16 bits.
fn numbered(first: [u8; 2], number: usize) -> std::net::Ipv4Addr {
    let [high, low] = (number as u16 + 2).to_be_bytes();
    [first[0], first[1], high, low].into()
}

fn many_nics(document: &mut Document) {
    let network = wide(document);
    let nic = |number: usize| {
        let address = numbered([10, 8], number);
        let [_, _, high, low] = address.octets();
        let mac = podzol_vocab::MacAddr::local([2, 0, 0, 1, high, low]);
        let nic = VmNic { vm: VM, network, mac, address, address6: None, primary: false };
        (NicId::new(), nic)
    };
    document.nics.extend((0..MAX_VMS).map(nic));
}

fn many_static_nats(document: &mut Document) {
    wide(document);
    for number in 0..MAX_RULES {
        let (public, to) = (numbered([198, 18], number), numbered([10, 8], number));
        public_of(document).addresses.insert(public, 32);
        document.static_nats.insert(StaticNatId::new(), StaticNat { public, to });
    }
}

fn many_balancers(document: &mut Document) {
    let balancer = document.balancers[&BALANCER].clone();
    let more = |number| (LoadBalancerId::new(), Balancer { port: 10_000 + number, ..balancer.clone() });
    document.balancers.extend((0..MAX_BALANCERS as u16).map(more));
}

/// Rules with more pairs together than there can be.
fn many_pairs(document: &mut Document) {
    let sources: Vec<String> = (0..64).map(|number| format!("10.1.1.{number}/32")).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let sources = ranges(&sources);
    let rule = EgressRule { destinations: sources.clone(), sources, ..egress("10.1.1.0/24") };
    document.egress.extend((0..16).map(|_| (EgressRuleId::new(), rule.clone())));
}
