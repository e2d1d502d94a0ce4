//! A router with two networks: one VM with a primary interface in the first, and a secondary one in the second.

use std::net::Ipv4Addr;

use podzol_appliance_api::{Document, EgressPolicy, GuestNetwork, VmFacts, VmNic};
use podzol_appliance_dhcp::{Answer, Reply, Table};
use podzol_vocab::{MacAddr, NetworkId, NicId, VmId};

use crate::packet::Packet;

pub(crate) const FIRST: NetworkId = NetworkId::from_bytes([1; 16]);
pub(crate) const SECOND: NetworkId = NetworkId::from_bytes([2; 16]);
pub(crate) const WEB: [u8; 6] = [2, 0, 0x5e, 0, 0, 0x10];
pub(crate) const WEB_SECOND: [u8; 6] = [2, 0, 0x5e, 0, 0, 0x11];
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 5);
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);
pub(crate) const SECOND_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 9);
pub(crate) const SECOND_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
/// A relay in the second network.
pub(crate) const RELAY: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 3);
pub(crate) const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

pub(crate) fn mac(octets: [u8; 6]) -> MacAddr {
    MacAddr::local(octets)
}

fn guest(number: u8, cidr: &str, domain: &str) -> GuestNetwork {
    GuestNetwork {
        mac: mac([2, 0, 0, 0, 0, number]),
        cidr: cidr.parse().unwrap(),
        prefix6: None,
        mtu: 1450,
        domain: domain.parse().unwrap(),
        lease_secs: 86_400,
        source_nat: None,
        egress: EgressPolicy::Allow,
    }
}

pub(crate) fn document() -> Document {
    let vm = VmId::from_bytes([9; 16]);
    let name = |text: &str| text.parse().unwrap();
    let facts = VmFacts {
        name: name("web-1"),
        ssh_keys: Vec::new(),
        user_data: None,
        password: None,
        zone: name("zone-1"),
        offering: name("small"),
    };
    let nic = |network, octets, address, primary| VmNic {
        vm,
        network,
        mac: mac(octets),
        address,
        address6: None,
        primary,
    };
    let mut document = Document::default();
    document.guests.insert(FIRST, guest(1, "10.1.1.0/24", "net-1.example.internal"));
    document.guests.insert(SECOND, guest(2, "10.2.0.0/20", "net-2.example.internal"));
    document.vms.insert(vm, facts);
    document.nics.insert(NicId::from_bytes([1; 16]), nic(FIRST, WEB, ADDRESS, true));
    document.nics.insert(NicId::from_bytes([2; 16]), nic(SECOND, WEB_SECOND, SECOND_ADDRESS, false));
    document
}

pub(crate) fn table() -> Table {
    let document = document();
    assert_eq!(document.problems(), []);
    Table::new(&document)
}

/// What the first network answers.
pub(crate) fn answer(packet: &Packet) -> Option<Answer> {
    table().answer(FIRST, &packet.bytes(), NOBODY)
}

/// What the first network replies.
pub(crate) fn reply(packet: &Packet) -> Reply {
    reply_of(answer(packet))
}

pub(crate) fn reply_of(answer: Option<Answer>) -> Reply {
    match answer {
        Some(Answer::Reply(reply)) => reply,
        other => panic!("no reply but {other:?}"),
    }
}
