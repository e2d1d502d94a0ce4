//! Two networks with three VMs, and what they ask.
#![allow(dead_code, reason = "each file of tests uses its own part")]

use std::net::Ipv4Addr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use podzol_appliance_api::{Document, EgressPolicy, GuestNetwork, StaticNat, VmFacts, VmNic};
use podzol_appliance_metadata::{Facts, Request, Response, TokenKey};
use podzol_vocab::{MacAddr, NetworkId, NicId, Secret, StaticNatId, VmId};

/// The VM `web`, with keys, user-data, a password and a public address of its own.
pub(crate) const WEB: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 5);
/// The VM `bare`, in the same network, with none of these.
pub(crate) const BARE: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 6);
/// The VM `web`'s other network interface.
pub(crate) const SECOND: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 5);
pub(crate) const NOW: Duration = Duration::from_secs(1000);

pub(crate) fn network(number: u8) -> NetworkId {
    NetworkId::from_bytes(id(number))
}

pub(crate) fn vm(number: u8) -> VmId {
    VmId::from_bytes(id(number))
}

pub(crate) fn document() -> Document {
    let mut document = Document::default();
    document.guests.insert(network(1), guest(1, Some(Ipv4Addr::new(203, 0, 113, 5))));
    document.guests.insert(network(2), guest(2, None));
    let web = VmFacts {
        ssh_keys: vec!["ssh-ed25519 AAAA ann".to_owned(), "ssh-ed25519 BBBB bob".to_owned()],
        user_data: Some(Secret::new("#!/bin/sh\necho hunter2\n".to_owned())),
        password: Some(Secret::new("swordfish".to_owned())),
        ..facts("web")
    };
    document.vms.insert(vm(1), web);
    document.vms.insert(vm(2), facts("bare"));
    add_nic(&mut document, 1, (1, 1), WEB);
    add_nic(&mut document, 2, (2, 1), BARE);
    add_nic(&mut document, 3, (1, 2), SECOND);
    if let Some(nic) = document.nics.get_mut(&NicId::from_bytes(id(3))) {
        nic.primary = false;
    }
    let own = StaticNat { public: Ipv4Addr::new(203, 0, 113, 6), to: WEB };
    document.static_nats.insert(StaticNatId::from_bytes(id(1)), own);
    document
}

pub(crate) fn facts(name: &str) -> VmFacts {
    VmFacts {
        name: name.parse().expect("a name"),
        ssh_keys: Vec::new(),
        user_data: None,
        password: None,
        zone: "oslo".parse().expect("a name"),
        offering: "small".parse().expect("a name"),
    }
}

/// Adds a network interface of a VM in a network, both given by their numbers.
pub(crate) fn add_nic(document: &mut Document, number: u8, (of, inside): (u8, u8), address: Ipv4Addr) {
    let mac = MacAddr::local([2, 0, 0, 0, 0, number]);
    let nic = VmNic { vm: vm(of), network: network(inside), mac, address, address6: None, primary: true };
    document.nics.insert(NicId::from_bytes(id(number)), nic);
}

pub(crate) fn served() -> Facts {
    Facts::new(&document(), TokenKey::new(&[7; 32]))
}

/// The response to `GET` from network 1.
pub(crate) fn get(from: Ipv4Addr, path: &str) -> Response {
    ask(&served(), (1, from), &Method::GET, path, &[])
}

/// The status and text of the response to `GET` from network 1.
pub(crate) fn got(from: Ipv4Addr, path: &str) -> (u16, String) {
    let response = get(from, path);
    (response.status.as_u16(), text(&response))
}

pub(crate) fn ask(
    facts: &Facts,
    (number, from): (u8, Ipv4Addr),
    method: &Method,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Response {
    let headers = header_map(headers);
    facts.answer(network(number), from, &Request { method, path, headers: &headers }, NOW)
}

pub(crate) fn header_map(headers: &[(&'static str, &str)]) -> HeaderMap {
    let value = |value| HeaderValue::from_str(value).expect("a header's value");
    headers.iter().map(|(name, text)| (HeaderName::from_static(name), value(*text))).collect()
}

pub(crate) fn text(response: &Response) -> String {
    String::from_utf8(response.body.to_vec()).expect("text")
}

fn guest(number: u8, source_nat: Option<Ipv4Addr>) -> GuestNetwork {
    GuestNetwork {
        mac: MacAddr::local([2, 0, 0, 0, 1, number]),
        cidr: format!("10.1.{number}.0/24").parse().expect("a range"),
        prefix6: None,
        mtu: 1430,
        domain: format!("net-{number}.example.internal").parse().expect("a domain"),
        lease_secs: 3600,
        source_nat,
        egress: EgressPolicy::Allow,
    }
}

const fn id(number: u8) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[15] = number;
    bytes
}
