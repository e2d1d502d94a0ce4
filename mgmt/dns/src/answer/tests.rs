//! Packets in, packets out.

mod hostile;

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::rr::{Name, RData, Record};
use podzol_vocab::Secret;

use super::*;
use crate::names::{ConsoleNames, NameForm};
use crate::zone::NameServer;

const DOMAIN: &str = "console.example.org";

fn server(name: &str, addresses: &[&str]) -> NameServer {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    NameServer { name: name.parse().unwrap(), addresses }
}

/// A zone with two proxies, a name server of its own and one of another's.
fn zone() -> Zone {
    let servers =
        [server("ns1.console.example.org", &["192.0.2.1", "2001:db8::53"]), server("ns.example.net", &[])];
    zone_of(&servers)
}

fn zone_of(servers: &[NameServer]) -> Zone {
    let names = ConsoleNames::new(DOMAIN.parse().unwrap(), NameForm::Address, &Secret::new([7; 32]));
    let proxies: [IpAddr; 2] = ["192.0.2.7".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    names.set(BTreeSet::from(proxies));
    Zone::new(names, servers)
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut query = Message::new(4711, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    query.add_query(Query::query(name, kind));
    query
}

fn ask(query: &Message) -> Message {
    let reply = answer(&zone(), &query.to_vec().unwrap(), Transport::Udp).unwrap();
    Message::from_vec(&reply.bytes).unwrap()
}

fn data(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| format!("{} {} {}", record.ttl, record.record_type(), record.data)).collect()
}

/// Code, whether it is the authority's, answers, authority: what a question is answered by.
#[track_caller]
fn check(name: &str, kind: RecordType, code: ResponseCode, answers: &[&str]) {
    let response = ask(&query(name, kind));
    assert_eq!(response.metadata.response_code, code, "{name} {kind}");
    assert_eq!(data(&response.answers), answers, "{name} {kind}");
    let is_ours = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
    assert_eq!(response.metadata.authoritative, is_ours, "{name} {kind}");
    assert!(!response.metadata.recursion_available && response.metadata.recursion_desired);
    let negative = is_ours && answers.is_empty();
    let authority: Vec<_> =
        response.authorities.iter().map(|record| (record.ttl, record.record_type())).collect();
    assert_eq!(authority, if negative { vec![(5, RecordType::SOA)] } else { vec![] }, "{name} {kind}");
}

#[test]
fn a_proxys_name_has_its_address_and_nothing_else() {
    use RecordType::{A, AAAA, MX, TXT};
    check("192-0-2-7.console.example.org", A, ResponseCode::NoError, &["60 A 192.0.2.7"]);
    check("2001-db8--1.console.example.org", AAAA, ResponseCode::NoError, &["60 AAAA 2001:db8::1"]);
    for (name, kind) in [("192-0-2-7", AAAA), ("192-0-2-7", TXT), ("2001-db8--1", A), ("2001-db8--1", MX)] {
        check(&format!("{name}.{DOMAIN}"), kind, ResponseCode::NoError, &[]);
    }
}

#[test]
fn the_opaque_name_of_a_proxy_has_its_address_too() {
    check(
        "c-sg8u91d60breakr08i1tq49vb4.console.example.org",
        RecordType::A,
        ResponseCode::NoError,
        &["60 A 192.0.2.7"],
    );
}

#[test]
fn who_is_no_proxy_has_no_name() {
    for name in [
        "192-0-2-8",
        "192.0.2.7",
        "192-0-2-07",
        "2001-db8--2",
        "2001-db8-0-0-0-0-0-1",
        "c-0000000000000000000000000",
        "www",
        "*",
        "_dns",
        "a.192-0-2-7",
    ] {
        check(&format!("{name}.{DOMAIN}"), RecordType::A, ResponseCode::NXDomain, &[]);
        check(&format!("{name}.{DOMAIN}"), RecordType::ANY, ResponseCode::NXDomain, &[]);
    }
}

#[test]
fn the_domain_itself_has_its_name_servers_and_no_address() {
    check(
        DOMAIN,
        RecordType::NS,
        ResponseCode::NoError,
        &["3600 NS ns1.console.example.org.", "3600 NS ns.example.net."],
    );
    let additional = data(&ask(&query(DOMAIN, RecordType::NS)).additionals);
    assert_eq!(additional, ["3600 A 192.0.2.1", "3600 AAAA 2001:db8::53"]);
    check(DOMAIN, RecordType::A, ResponseCode::NoError, &[]);
    check("ns1.console.example.org", RecordType::A, ResponseCode::NoError, &["3600 A 192.0.2.1"]);
    check("ns1.console.example.org", RecordType::AAAA, ResponseCode::NoError, &["3600 AAAA 2001:db8::53"]);
}

#[test]
fn the_start_of_authority_names_the_primary_server_and_a_person() {
    let response = ask(&query(DOMAIN, RecordType::SOA));
    let [Record { ttl: 3600, data: RData::SOA(soa), .. }] = &response.answers[..] else {
        panic!("{response}")
    };
    assert_eq!(soa.mname.to_string(), "ns1.console.example.org.");
    assert_eq!(soa.rname.to_string(), "hostmaster.console.example.org.");
    assert_eq!(soa.minimum, 5);
    assert!(soa.serial > 1_700_000_000);
}

#[test]
fn names_of_others_classes_of_others_and_transfers_are_refused() {
    for name in ["example.org", "org", ".", "xconsole.example.org", "192-0-2-7.example.net"] {
        check(name, RecordType::A, ResponseCode::Refused, &[]);
    }
    for kind in [RecordType::AXFR, RecordType::IXFR, RecordType::TSIG, RecordType::Unknown(253)] {
        check(DOMAIN, kind, ResponseCode::Refused, &[]);
    }
    for class in [DNSClass::CH, DNSClass::HS, DNSClass::ANY, DNSClass::NONE] {
        let mut chaos = query(DOMAIN, RecordType::SOA);
        chaos.queries[0].query_class = class;
        assert_eq!(ask(&chaos).metadata.response_code, ResponseCode::Refused, "{class}");
    }
}

#[test]
fn there_is_nothing_of_all_types_of_a_name() {
    for name in ["192-0-2-7.console.example.org", "ns1.console.example.org", DOMAIN] {
        check(name, RecordType::ANY, ResponseCode::NoError, &[]);
        assert_eq!(ask(&query(name, RecordType::ANY)).authorities.len(), 1, "{name}");
    }
}

#[test]
fn letters_come_back_as_they_were_asked() {
    let asked = "192-0-2-7.CoNsOlE.eXample.ORG.";
    let response = ask(&query(asked, RecordType::A));
    assert_eq!(response.queries[0].name.to_string(), asked);
    assert_eq!(response.answers[0].name.to_string(), asked);
    let opaque = "C-SG8u91d60breakr08i1tq49vb4.CONSOLE.example.org";
    assert_eq!(data(&ask(&query(opaque, RecordType::A)).answers), ["60 A 192.0.2.7"]);
}

#[test]
fn an_answer_is_short() {
    for (name, kind) in [
        ("192-0-2-7.CoNsOlE.eXample.org", RecordType::A),
        ("2001-db8--1.console.example.org", RecordType::AAAA),
        ("www.CONSOLE.example.org", RecordType::A),
        ("console.Example.org", RecordType::A),
        ("192-0-2-7.console.example.org", RecordType::ANY),
        (DOMAIN, RecordType::ANY),
        (DOMAIN, RecordType::SOA),
    ] {
        let asked = query(name, kind).to_vec().unwrap();
        let reply = answer(&zone(), &asked, Transport::Udp).unwrap();
        assert!(reply.bytes.len() <= asked.len() + 75, "{name}: {} of {}", reply.bytes.len(), asked.len());
    }
}

fn edns(size: u16) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(size);
    edns
}

#[test]
fn who_speaks_edns_is_answered_so_and_nobody_else() {
    let mut asked = query("192-0-2-7.console.example.org", RecordType::A);
    assert_eq!(ask(&asked).edns, None);
    let mut wish = edns(4096);
    wish.flags_mut().dnssec_ok = true;
    wish.flags_mut().z = 5;
    asked.set_edns(wish);
    let response = ask(&asked);
    let answered = response.edns.as_ref().unwrap();
    assert_eq!((answered.max_payload(), answered.version()), (1232, 0));
    assert_eq!((answered.flags().dnssec_ok, answered.flags().z), (true, 0));
    assert_eq!(response.answers.len(), 1);
}

#[test]
fn another_version_of_edns_is_told_which_one_there_is() {
    let mut asked = query("192-0-2-7.console.example.org", RecordType::A);
    let mut wish = edns(4096);
    wish.set_version(1);
    asked.set_edns(wish);
    let response = ask(&asked);
    // BADSIG has the same number.
    assert_eq!(u16::from(response.metadata.response_code), 16);
    assert_eq!((response.edns.unwrap().version(), response.answers.len()), (0, 0));
}

#[test]
fn what_does_not_fit_loses_addresses_first_and_then_all_and_says_so() {
    let name = |number: usize| format!("{}-{number}.console.example.org", "x".repeat(40));
    let some = |count| -> Vec<NameServer> {
        (0..count).map(|number| server(&name(number), &["192.0.2.1", "2001:db8::53"])).collect()
    };
    let ask = |count, size: Option<u16>, transport| {
        let mut asked = query(DOMAIN, RecordType::NS);
        if let Some(size) = size {
            asked.set_edns(edns(size));
        }
        let reply = answer(&zone_of(&some(count)), &asked.to_vec().unwrap(), transport).unwrap();
        let response = Message::from_vec(&reply.bytes).unwrap();
        (reply.bytes.len(), response.answers.len(), response.additionals.len(), response.metadata.truncation)
    };
    let (udp, tcp) = (Transport::Udp, Transport::Tcp);
    let asked = query(DOMAIN, RecordType::NS).to_vec().unwrap().len();
    let (_, answers, additionals, is_cut) = ask(1, None, udp);
    assert_eq!((answers, additionals, is_cut), (1, 2, false));
    let (length, answers, additionals, is_cut) = ask(2, None, udp);
    assert!(length <= asked + 160 && (answers, additionals, is_cut) == (2, 0, false));
    // However much the client takes: whether it has asked at all, nobody knows. The OPT record has 11 bytes.
    for size in [12, 600, 1232, 65535] {
        let (length, answers, _, is_cut) = ask(6, Some(size), udp);
        assert!(length <= asked + 11 && (answers, is_cut) == (0, true), "{size}");
    }
    let (length, answers, additionals, is_cut) = ask(30, None, tcp);
    assert!(length > 1232 && (answers, additionals, is_cut) == (30, 60, false));
}

#[test]
fn a_client_that_asks_too_much_is_told_so_by_no_more_than_it_asked() {
    let mut asked = query("192-0-2-7.console.example.org", RecordType::A);
    for _ in 0..2 {
        let bytes = asked.to_vec().unwrap();
        let short = come_by_tcp(&bytes).unwrap();
        assert!(short.len() <= bytes.len());
        let short = Message::from_vec(&short).unwrap();
        assert!(short.metadata.truncation && short.answers.is_empty());
        assert_eq!((short.metadata.id, short.queries), (4711, asked.queries.clone()));
        asked.set_edns(edns(4096));
    }
    assert!(come_by_tcp(b"").is_none());
    assert!(come_by_tcp(&[0; 12]).is_none());
}
