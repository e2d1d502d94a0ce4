//! What is answered of IPv6 addresses, and to whom over IPv6.

use super::*;

/// The document, where the first network has IPv6.
fn document6() -> Document {
    let mut document = document();
    let prefix: podzol_vocab::Prefix64 = "2001:db8:64:10::/64".parse().unwrap();
    document.guests.get_mut(&HOME).unwrap().prefix6 = Some(prefix);
    let of_home = document.nics.values_mut().filter(|nic| nic.network == HOME);
    of_home.for_each(|nic| nic.address6 = Some(prefix.of(nic.mac)));
    document
}

fn server6() -> Server {
    server_of(&document6(), &Limits::default())
}

#[track_caller]
fn check(question: &str, expected: &str) {
    assert_eq!(ask(&mut server6(), question), expected, "{question}");
}

#[track_caller]
fn check_start(question: &str, start: &str) {
    let text = ask(&mut server6(), question);
    assert!(text.starts_with(start), "{question}: {text}");
}

/// The name of the first network's zone of addresses.
const ZONE: &str = "0.1.0.0.4.6.0.0.8.b.d.0.1.0.0.2.ip6.arpa";

/// The labels before it of web-1's address and of the router's.
const WEB: &str = "1.0.1.0.0.0.e.f.f.f.0.0.0.0.0.0";
const ROUTER: &str = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0";

#[test]
fn a_vm_has_its_address_of_ipv6_where_its_network_has_that() {
    check(
        "web-1.net-1.example.internal AAAA",
        "NoError aa | web-1.net-1.example.internal. 60 IN AAAA 2001:db8:64:10:0:ff:fe00:101",
    );
    check("web-1.net-1.example.internal A", "NoError aa | web-1.net-1.example.internal. 60 IN A 10.1.1.2");
    check_start(
        "web-1.net-2.example.internal AAAA",
        "NoError aa authority | net-2.example.internal. 10 IN SOA",
    );
    check_start("nobody.net-1.example.internal AAAA", "NXDomain");
}

#[test]
fn the_router_has_the_first_address() {
    for name in ["gateway.net-1.example.internal", "net-1.example.internal"] {
        check(&format!("{name} AAAA"), &format!("NoError aa | {name}. 60 IN AAAA 2001:db8:64:10::1"));
    }
}

#[test]
fn an_address_of_ipv6_has_the_name_of_its_vm() {
    for (labels, name) in [(WEB, "web-1"), (ROUTER, "gateway")] {
        let question = format!("{labels}.{ZONE} PTR");
        let expected = format!("NoError aa | {labels}.{ZONE}. 60 IN PTR {name}.net-1.example.internal.");
        check(&question, &expected);
    }
    check_start(&format!("{}.{ZONE} PTR", WEB.to_uppercase()), "NoError aa | 1.0.1.0.0.0.E.F");
}

#[test]
fn what_is_above_an_address_is_empty_and_what_is_nobodys_is_not_there() {
    let authority = format!("aa authority | {ZONE}. 10 IN SOA gateway.net-1.example.internal.");
    for (name, code) in [
        (WEB[2..].to_owned(), "NoError"),
        ("f.f.0.0.0.0.0.0".to_owned(), "NoError"),
        ("0".to_owned(), "NoError"),
        ("1".to_owned(), "NXDomain"),
        (format!("2{}", &WEB[1..]), "NXDomain"),
        (format!("x{}", &WEB[1..]), "NXDomain"),
        (format!("01{}", &WEB[1..]), "NXDomain"),
        (format!("0.{WEB}"), "NXDomain"),
    ] {
        check_start(&format!("{name}.{ZONE} PTR"), &format!("{code} {authority}"));
    }
    check_start(&format!("{WEB}.{ZONE} AAAA"), &format!("NoError {authority}"));
}

#[test]
fn the_zone_of_addresses_of_ipv6_has_its_own_soa_and_ns() {
    check_start(&format!("{ZONE} SOA"), &format!("NoError aa | {ZONE}. 60 IN SOA gateway.net-1"));
    check(&format!("{ZONE} NS"), &format!("NoError aa | {ZONE}. 60 IN NS gateway.net-1.example.internal."));
}

#[test]
fn names_above_the_zone_are_those_of_the_world() {
    // 2001:db8::/32 has no names for the world, but the network's are below.
    let empty = "aa authority | 8.b.d.0.1.0.0.2.ip6.arpa. 10 IN SOA";
    check_start("4.6.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR", &format!("NoError {empty}"));
    check_start("5.6.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR", &format!("NXDomain {empty}"));
    // Another network of the same range is not this one's.
    check_start("1.1.0.0.4.6.0.0.8.b.d.0.1.0.0.2.ip6.arpa SOA", &format!("NXDomain {empty}"));
    let query = query(1, "0.1.0.0.4.6.0.0.8.4.8.4.1.0.a.2.ip6.arpa PTR", None);
    assert!(matches!(server6().query(ZERO, udp(2), &query), Action::Forward { .. }));
}

#[test]
fn clients_of_the_network_s_prefix_and_of_its_link_are_answered_and_no_others() {
    let question = query(1, "net-1.example.internal AAAA", None);
    let from = |network, address: &str| {
        let address = SocketAddr::new(address.parse().unwrap(), 40_000);
        let client = Client { network, address, transport: Transport::Udp };
        let Action::Answer { bytes, .. } = server6().query(ZERO, client, &question) else {
            panic!("no answer")
        };
        Message::from_vec(&bytes).unwrap().metadata.response_code
    };
    assert_eq!(from(HOME, "2001:db8:64:10:0:ff:fe00:101"), hickory_proto::op::ResponseCode::NoError);
    assert_eq!(from(HOME, "fe80::ff:fe00:101"), hickory_proto::op::ResponseCode::NoError);
    for address in ["2001:db8:64:11:0:ff:fe00:101", "2001:db8::1", "::1"] {
        assert_eq!(from(HOME, address), hickory_proto::op::ResponseCode::Refused, "{address}");
    }
    assert_eq!(from(SIDE, "fe80::ff:fe00:101"), hickory_proto::op::ResponseCode::Refused);
}
