//! The server's rules, one test each. Answers are read by another implementation of the protocol.

mod answered;
mod forwarded;
mod hostile;
mod ipv6;
mod kept;
mod refused;

use std::net::IpAddr;

use hickory_proto::op::Message;
use podzol_appliance_api::{Document, EgressPolicy, GuestNetwork, Transport, VmFacts, VmNic};
use podzol_vocab::{Generation, MacAddr, NetworkId, NicId, VmId};
use rand::SeedableRng;

use super::*;

const HOME: NetworkId = NetworkId::from_bytes([1; 16]);
const SIDE: NetworkId = NetworkId::from_bytes([2; 16]);
const ZERO: Duration = Duration::ZERO;
const DNSSEC: Option<(u16, u8, bool)> = Some((1232, 0, true));

fn guest(last: u8, cidr: &str) -> GuestNetwork {
    GuestNetwork {
        mac: MacAddr::local([2, 0, 0, 0, 0, last]),
        cidr: cidr.parse().unwrap(),
        prefix6: None,
        mtu: 1500,
        domain: format!("net-{last}.example.internal").parse().unwrap(),
        lease_secs: 3600,
        source_nat: None,
        egress: EgressPolicy::Allow,
    }
}

/// Two networks, one not on an octet boundary, and two VMs: web-1 in both, db-1 in the second.
fn document() -> Document {
    let facts = |name: &str| VmFacts {
        name: name.parse().unwrap(),
        ssh_keys: vec![],
        user_data: None,
        password: None,
        zone: "z1".parse().unwrap(),
        offering: "small".parse().unwrap(),
    };
    let (web, db) = (VmId::from_bytes([3; 16]), VmId::from_bytes([4; 16]));
    let nic = |id, vm, network, address: [u8; 4]| {
        let mac = MacAddr::local([2, 0, 0, 0, 1, id]);
        (
            NicId::from_bytes([id; 16]),
            VmNic { vm, network, mac, address: address.into(), address6: None, primary: id == 1 },
        )
    };
    Document {
        generation: Generation(7),
        guests: [(HOME, guest(1, "10.1.1.0/24")), (SIDE, guest(2, "10.9.8.64/26"))].into(),
        forwarders: ["192.0.2.1", "192.0.2.2"].map(|one| one.parse().unwrap()).into(),
        vms: [(web, facts("web-1")), (db, facts("db-1"))].into(),
        nics: [
            nic(1, web, HOME, [10, 1, 1, 2]),
            nic(2, web, SIDE, [10, 9, 8, 66]),
            nic(3, db, SIDE, [10, 9, 8, 67]),
        ]
        .into(),
        ..Document::default()
    }
}

fn server_of(document: &Document, limits: &Limits) -> Server {
    Server::new(Zones::new(document), limits, StdRng::seed_from_u64(1))
}

fn server() -> Server {
    server_of(&document(), &Limits::default())
}

fn client(last: u8, transport: Transport) -> Client {
    Client { network: HOME, address: SocketAddr::from(([10, 1, 1, last], 40_000)), transport }
}

fn udp(last: u8) -> Client {
    client(last, Transport::Udp)
}

fn forwarder(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::from([192, 0, 2, last]), 53)
}

/// A query such as `www.example.com A`, with OPT if there is a size, a version and a wish for DNSSEC.
fn query(id: u16, question: &str, edns: Option<(u16, u8, bool)>) -> Vec<u8> {
    let mut packet = Vec::new();
    for word in [id, flag::RECURSION_DESIRED, 1, 0, 0, u16::from(edns.is_some())] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet.extend_from_slice(&question_bytes(question));
    if let Some((size, version, wants_dnssec)) = edns {
        packet.push(0);
        for word in [kind::OPT, size, version.into(), u16::from(wants_dnssec) << 15, 0] {
            packet.extend_from_slice(&word.to_be_bytes());
        }
    }
    packet
}

fn question_bytes(question: &str) -> Vec<u8> {
    let (name, kind) = question.split_once(' ').unwrap();
    let kind: hickory_proto::rr::RecordType = kind.parse().unwrap();
    let mut bytes = crate::name::wire(name).to_vec();
    bytes.extend_from_slice(&u16::from(kind).to_be_bytes());
    bytes.extend_from_slice(&IN.to_be_bytes());
    bytes
}

/// A packet in words: its code, those flags that not all have, its records by section, and OPT.
fn show(packet: &[u8]) -> String {
    let message = Message::from_vec(packet).unwrap();
    let head = &message.metadata;
    let mut text = format!("{:?}", head.response_code);
    let flags = [
        (head.authoritative, " aa"),
        (head.truncation, " tc"),
        (head.authentic_data, " ad"),
        (head.checking_disabled, " cd"),
    ];
    flags.iter().filter(|(is_set, _)| *is_set).for_each(|(_, flag)| text += flag);
    let sections =
        [("", &message.answers), (" authority", &message.authorities), (" additional", &message.additionals)];
    for (section, records) in sections {
        records.iter().for_each(|record| text += &format!("{section} | {record}"));
    }
    if let Some(edns) = &message.edns {
        text += &format!(" | OPT {}", edns.max_payload());
        text += if edns.flags().dnssec_ok { " do" } else { "" };
    }
    text
}

/// The answer that must have come.
fn answer(action: Action) -> Vec<u8> {
    match action {
        Action::Answer { bytes, .. } => bytes,
        other => panic!("{other:?} is no answer"),
    }
}

/// What a client gets for a question that needs no forwarder.
fn ask(server: &mut Server, question: &str) -> String {
    show(&answer(server.query(ZERO, udp(2), &query(5, question, None))))
}

/// What must have been sent to a forwarder over UDP: to whom, from which socket, and the packet.
fn sent(action: &Action) -> (SocketAddr, u8, Vec<u8>) {
    match action {
        Action::Forward { to, socket, bytes, .. } => (*to, *socket, bytes.clone()),
        other => panic!("{other:?} asks no forwarder"),
    }
}

/// A forwarder's answer to a packet: flags and code, and the records of each section, each as its type, TTL and data,
/// and with the question's name as owner.
fn reply(asked: &[u8], flags: u16, records: [&[(u16, u32, &[u8])]; 3]) -> Vec<u8> {
    let mut packet = asked[..2].to_vec();
    let counts = records.map(|section| section.len() as u16);
    for word in [flag::ANSWER | flags, 1, counts[0], counts[1], counts[2]] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet.extend_from_slice(&asked[12..asked.len() - 11]);
    for (kind, ttl, data) in records.into_iter().flatten() {
        for word in [0xc00c, *kind, IN] {
            packet.extend_from_slice(&word.to_be_bytes());
        }
        packet.extend_from_slice(&ttl.to_be_bytes());
        packet.extend_from_slice(&(data.len() as u16).to_be_bytes());
        packet.extend_from_slice(data);
    }
    packet
}

/// A good answer with one address.
fn good(asked: &[u8]) -> Vec<u8> {
    reply(asked, 0, [&[(kind::A, 300, &[93, 184, 216, 34])], &[], &[]])
}

/// The data of a SOA record with this minimum.
fn soa(minimum: u32) -> Vec<u8> {
    let numbers = [1, 2, 3, 4, minimum].map(u32::to_be_bytes).concat();
    [b"\x01m\x00\x01r\x00".to_vec(), numbers].concat()
}
