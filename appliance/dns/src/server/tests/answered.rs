//! What is answered from here.

use super::*;

const NO_NAME: &str = "NXDomain aa authority | net-1.example.internal. 10 IN SOA gateway.net-1.example.internal. \
    hostmaster.net-1.example.internal. 7 3600 1200 604800 10";

#[track_caller]
fn check(question: &str, expected: &str) {
    assert_eq!(ask(&mut server(), question), expected, "{question}");
}

/// Checks the code and the start of the SOA record of an answer that says that something is not there.
#[track_caller]
fn check_negative(question: &str, code: &str, zone: &str) {
    let text = ask(&mut server(), question);
    assert!(text.starts_with(&format!("{code} aa authority | {zone}. 10 IN SOA ")), "{question}: {text}");
}

#[test]
fn a_vm_has_a_name_in_each_of_its_networks() {
    check("web-1.net-1.example.internal A", "NoError aa | web-1.net-1.example.internal. 60 IN A 10.1.1.2");
    check("web-1.net-2.example.internal A", "NoError aa | web-1.net-2.example.internal. 60 IN A 10.9.8.66");
}

#[test]
fn a_vm_is_found_from_another_network_of_the_account() {
    check("db-1.net-2.example.internal A", "NoError aa | db-1.net-2.example.internal. 60 IN A 10.9.8.67");
    check_negative("db-1.net-1.example.internal A", "NXDomain", "net-1.example.internal");
}

#[test]
fn gateway_and_the_domain_itself_are_the_router() {
    check(
        "gateway.net-2.example.internal A",
        "NoError aa | gateway.net-2.example.internal. 60 IN A 10.9.8.65",
    );
    check("net-1.example.internal A", "NoError aa | net-1.example.internal. 60 IN A 10.1.1.1");
}

#[test]
fn a_vm_called_gateway_does_not_take_the_routers_name() {
    let mut document = document();
    document.vms.values_mut().for_each(|vm| vm.name = "gateway".parse().unwrap());
    let mut server = server_of(&document, &Limits::default());
    let text = ask(&mut server, "gateway.net-1.example.internal A");
    assert_eq!(text, "NoError aa | gateway.net-1.example.internal. 60 IN A 10.1.1.1");
    assert!(ask(&mut server, "2.1.1.10.in-addr.arpa PTR").starts_with("NXDomain"));
}

#[test]
fn the_zone_says_who_serves_it() {
    check(
        "net-1.example.internal SOA",
        "NoError aa | net-1.example.internal. 60 IN SOA gateway.net-1.example.internal. \
         hostmaster.net-1.example.internal. 7 3600 1200 604800 10",
    );
    check(
        "net-1.example.internal NS",
        "NoError aa | net-1.example.internal. 60 IN NS gateway.net-1.example.internal.",
    );
}

#[test]
fn a_name_that_is_not_there_is_denied_with_the_zones_soa() {
    check("nobody.net-1.example.internal A", NO_NAME);
    check("below.web-1.net-1.example.internal A", NO_NAME);
}

#[test]
fn a_name_without_such_records_has_no_data_and_is_not_denied() {
    check("web-1.net-1.example.internal AAAA", &NO_NAME.replace("NXDomain", "NoError"));
    check_negative("net-1.example.internal MX", "NoError", "net-1.example.internal");
}

#[test]
fn names_above_the_domains_are_empty_and_not_missing() {
    check_negative("example.internal A", "NoError", "internal");
    check_negative("other.internal A", "NXDomain", "internal");
    check_negative("1.10.in-addr.arpa PTR", "NoError", "10.in-addr.arpa");
}

#[test]
fn letters_come_back_as_they_were_asked() {
    check("wEb-1.NET-1.example.Internal A", "NoError aa | wEb-1.NET-1.example.Internal. 60 IN A 10.1.1.2");
    let text = ask(&mut server(), "nobody.nEt-1.example.internal A");
    assert!(text.starts_with("NXDomain aa authority | nEt-1.example.internal. 10 IN SOA"), "{text}");
}

#[test]
fn an_address_has_the_name_of_its_vm() {
    check(
        "2.1.1.10.in-addr.arpa PTR",
        "NoError aa | 2.1.1.10.in-addr.arpa. 60 IN PTR web-1.net-1.example.internal.",
    );
    check(
        "65.8.9.10.IN-ADDR.arpa PTR",
        "NoError aa | 65.8.9.10.IN-ADDR.arpa. 60 IN PTR gateway.net-2.example.internal.",
    );
}

#[test]
fn a_free_address_has_no_name() {
    check_negative("200.1.1.10.in-addr.arpa PTR", "NXDomain", "1.1.10.in-addr.arpa");
    check_negative("100.8.9.10.in-addr.arpa PTR", "NXDomain", "8.9.10.in-addr.arpa");
    check_negative("02.1.1.10.in-addr.arpa PTR", "NXDomain", "1.1.10.in-addr.arpa");
    check_negative("5.2.1.1.10.in-addr.arpa PTR", "NXDomain", "1.1.10.in-addr.arpa");
    check_negative("256.1.1.10.in-addr.arpa PTR", "NXDomain", "1.1.10.in-addr.arpa");
}

#[test]
fn the_zone_of_addresses_has_its_own_soa_and_ns() {
    let text = ask(&mut server(), "1.1.10.in-addr.arpa SOA");
    assert!(text.starts_with("NoError aa | 1.1.10.in-addr.arpa. 60 IN SOA gateway.net-1"), "{text}");
    check(
        "8.9.10.in-addr.arpa NS",
        "NoError aa | 8.9.10.in-addr.arpa. 60 IN NS gateway.net-2.example.internal.",
    );
    check_negative("2.1.1.10.in-addr.arpa A", "NoError", "1.1.10.in-addr.arpa");
}

#[test]
fn networks_off_octet_boundaries_have_zones_that_end_at_octets() {
    let mut document = document();
    document.guests.insert(HOME, guest(1, "10.1.0.0/20"));
    document.guests.insert(SIDE, guest(2, "10.64.0.0/10"));
    let mut server = server_of(&document, &Limits::default());
    let mut check = |question, expected| {
        let text = ask(&mut server, question);
        assert!(text.starts_with(expected), "{question}: {text}");
    };
    check("2.1.1.10.in-addr.arpa PTR", "NoError aa | 2.1.1.10.in-addr.arpa. 60 IN PTR web-1");
    check(
        "9.15.1.10.in-addr.arpa PTR",
        "NXDomain aa authority | 15.1.10.in-addr.arpa. 10 IN SOA gateway.net-1",
    );
    check("9.16.1.10.in-addr.arpa PTR", "NXDomain aa authority | 10.in-addr.arpa. 10 IN SOA localhost");
    check(
        "1.1.100.10.in-addr.arpa PTR",
        "NXDomain aa authority | 100.10.in-addr.arpa. 10 IN SOA gateway.net-2",
    );
    check("0.64.10.in-addr.arpa PTR", "NoError aa authority | 64.10.in-addr.arpa. 10 IN SOA gateway.net-2");
    check("7.64.10.in-addr.arpa PTR", "NXDomain aa authority | 64.10.in-addr.arpa. 10 IN SOA gateway.net-2");
}

#[test]
fn private_addresses_that_are_nobodys_are_denied_here() {
    check_negative("1.0.168.192.in-addr.arpa PTR", "NXDomain", "168.192.in-addr.arpa");
    check_negative("1.0.20.172.in-addr.arpa PTR", "NXDomain", "20.172.in-addr.arpa");
    check_negative("1.0.65.100.in-addr.arpa PTR", "NXDomain", "65.100.in-addr.arpa");
    check_negative("255.255.255.255.in-addr.arpa A", "NoError", "255.255.255.255.in-addr.arpa");
    check_negative("1.a.e.f.ip6.arpa PTR", "NXDomain", "a.e.f.ip6.arpa");
    let one = format!("1{}.ip6.arpa", ".0".repeat(31));
    check_negative(&format!("{one} PTR"), "NoError", &one);
}

#[test]
fn special_names_are_answered_here() {
    check("localhost A", "NoError aa | localhost. 60 IN A 127.0.0.1");
    check("a.LocalHost AAAA", "NoError aa | a.LocalHost. 60 IN AAAA ::1");
    check_negative("localhost MX", "NoError", "localhost");
    for zone in ["invalid", "test", "onion", "local", "internal", "alt", "home.arpa"] {
        check_negative(&format!("some.name.{zone} A"), "NXDomain", zone);
        check_negative(&format!("{zone} A"), "NoError", zone);
    }
}

#[test]
fn all_records_of_a_name_are_as_few_as_may_be() {
    let minimal = |name: &str, flags| format!("NoError{flags} | {name}. 3600 IN HINFO RFC8482 ");
    check("web-1.net-1.example.internal ANY", &minimal("web-1.net-1.example.internal", " aa"));
    check("www.example.com ANY", &minimal("www.example.com", ""));
    check_negative("nobody.net-1.example.internal ANY", "NXDomain", "net-1.example.internal");
}

#[test]
fn an_opt_record_is_answered_by_one() {
    let mut server = server();
    let mut ask = |edns| {
        let packet = query(5, "web-1.net-1.example.internal A", edns);
        show(&answer(server.query(ZERO, udp(2), &packet)))
    };
    assert!(ask(Some((4096, 0, false))).ends_with("A 10.1.1.2 | OPT 1232"));
    assert!(ask(DNSSEC).ends_with("A 10.1.1.2 | OPT 1232 do"));
    assert!(ask(None).ends_with("A 10.1.1.2"));
}

#[test]
fn an_answer_that_does_not_fit_is_cut_and_whole_over_tcp() {
    let mut document = document();
    let nic = document.nics.values().next().unwrap().clone();
    for last in 10..110 {
        let nic = VmNic { address: [10, 1, 1, last].into(), primary: false, ..nic.clone() };
        document.nics.insert(NicId::from_bytes([last; 16]), nic);
    }
    let mut server = server_of(&document, &Limits::default());
    let mut length = |client, edns| {
        let packet = query(5, "web-1.net-1.example.internal A", edns);
        let bytes = answer(server.query(ZERO, client, &packet));
        let message = Message::from_vec(&bytes).unwrap();
        (message.metadata.truncation, message.answers.len(), message.edns.is_some())
    };
    assert_eq!(length(udp(2), None), (true, 0, false));
    assert_eq!(length(udp(2), Some((65_000, 0, false))), (true, 0, true));
    assert_eq!(length(client(2, Transport::Tcp), None), (false, 101, false));
}
