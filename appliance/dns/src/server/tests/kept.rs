//! What is kept of forwarders' answers, and for how long.

use super::*;

const QUESTION: &str = "www.example.com A";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A server that was asked the question at the start, and got this answer to it.
fn server_with(flags: u16, records: [&[(u16, u32, &[u8])]; 3]) -> Server {
    let mut server = server();
    let (to, socket, asked) = sent(&server.query(ZERO, udp(2), &query(5, QUESTION, None)));
    let actions = server.upstream(ZERO, to, Via::Udp { socket }, &reply(&asked, flags, records));
    assert_ne!(actions, vec![]);
    server
}

/// What it says at a time, or `None` if it asks a forwarder.
fn kept(server: &mut Server, at: u64) -> Option<String> {
    match server.query(secs(at), udp(3), &query(6, QUESTION, None)) {
        Action::Answer { bytes, .. } => Some(show(&bytes)),
        _ => None,
    }
}

const ADDRESS: &[u8] = &[93, 184, 216, 34];

#[test]
fn an_answer_is_kept_for_its_ttl_which_runs_down() {
    let mut server = server_with(0, [&[(kind::A, 300, ADDRESS)], &[], &[]]);
    let expected = |ttl| Some(format!("NoError | www.example.com. {ttl} IN A 93.184.216.34"));
    assert_eq!(kept(&mut server, 0), expected(300));
    assert_eq!(kept(&mut server, 299), expected(1));
    assert_eq!(kept(&mut server, 300), None);
}

#[test]
fn the_shortest_ttl_of_all_records_ends_it() {
    let mut server = server_with(0, [&[(kind::A, 300, ADDRESS), (kind::A, 20, ADDRESS)], &[], &[]]);
    assert!(kept(&mut server, 19).is_some());
    assert_eq!(kept(&mut server, 20), None);
}

#[test]
fn a_ttl_is_an_hour_at_most() {
    let mut server = server_with(0, [&[(kind::A, 86_400, ADDRESS)], &[], &[]]);
    assert!(kept(&mut server, 0).unwrap().contains(" 3600 IN A"));
    assert_eq!(kept(&mut server, 3600), None);
}

#[test]
fn a_ttl_of_zero_or_of_more_than_31_bits_is_not_kept() {
    for ttl in [0, 0x8000_0000, u32::MAX] {
        let mut server = server_with(0, [&[(kind::A, ttl, ADDRESS)], &[], &[]]);
        assert_eq!(kept(&mut server, 0), None, "{ttl}");
    }
}

#[test]
fn that_something_is_not_there_is_kept_for_the_soas_minimum() {
    for code in [rcode::NO_NAME, rcode::NO_ERROR] {
        let mut server = server_with(code, [&[], &[(kind::SOA, 900, &soa(60))], &[]]);
        assert!(kept(&mut server, 10).unwrap().contains(" 50 IN SOA"), "{code}");
        assert_eq!(kept(&mut server, 60), None);
    }
}

#[test]
fn that_something_is_not_there_is_kept_for_five_minutes_at_most() {
    let mut server = server_with(rcode::NO_NAME, [&[], &[(kind::SOA, 86_400, &soa(86_400))], &[]]);
    assert!(kept(&mut server, 299).unwrap().starts_with("NXDomain"));
    assert_eq!(kept(&mut server, 300), None);
}

#[test]
fn without_a_soa_it_is_not_kept_that_something_is_not_there() {
    for code in [rcode::NO_NAME, rcode::NO_ERROR] {
        assert_eq!(kept(&mut server_with(code, [&[], &[], &[]]), 0), None);
    }
}

#[test]
fn failures_and_cut_answers_are_never_kept() {
    let records: [&[(u16, u32, &[u8])]; 3] = [&[(kind::A, 300, ADDRESS)], &[(kind::SOA, 300, &soa(60))], &[]];
    assert_eq!(kept(&mut server_with(flag::TRUNCATED, records), 0), None);
    for code in [rcode::SERVER_FAILURE, rcode::REFUSED, rcode::FORMAT] {
        let document = Document { forwarders: vec![forwarder(1).ip()], ..document() };
        let mut server = server_of(&document, &Limits::default());
        let (to, socket, asked) = sent(&server.query(ZERO, udp(2), &query(5, QUESTION, None)));
        let actions = server.upstream(ZERO, to, Via::Udp { socket }, &reply(&asked, code, records));
        assert_eq!(actions.len(), 1);
        assert_eq!(kept(&mut server, 0), None, "{code}");
    }
}

#[test]
fn what_is_kept_has_the_case_the_id_and_the_opt_record_of_who_asks() {
    let mut server = server_with(0, [&[(kind::A, 300, ADDRESS)], &[], &[]]);
    let packet = query(77, "WWW.example.COM A", Some((1232, 0, false)));
    let bytes = answer(server.query(ZERO, udp(3), &packet));
    assert_eq!(bytes[..2], 77_u16.to_be_bytes());
    assert_eq!(show(&bytes), "NoError | WWW.example.COM. 300 IN A 93.184.216.34 | OPT 1232");
}

#[test]
fn what_is_kept_is_not_given_to_who_has_other_wishes() {
    let mut server = server_with(0, [&[(kind::A, 300, ADDRESS)], &[], &[]]);
    let action = server.query(ZERO, udp(3), &query(6, QUESTION, DNSSEC));
    assert!(matches!(action, Action::Forward { .. }));
}

#[test]
fn what_is_kept_is_cut_for_who_takes_less() {
    let many = vec![(kind::A, 300, ADDRESS); 40];
    let mut server = server_with(0, [&many, &[], &[]]);
    assert_eq!(kept(&mut server, 0).unwrap(), "NoError tc");
    let action = server.query(ZERO, client(3, Transport::Tcp), &query(6, QUESTION, None));
    assert_eq!(Message::from_vec(&answer(action)).unwrap().answers.len(), 40);
}

#[test]
fn a_forwarders_opt_record_ends_with_it_and_its_high_code_is_a_failure() {
    let records = |ttl| [(kind::OPT, ttl, &b""[..]), (kind::A, 300, ADDRESS)];
    let mut server = server_with(0, [&[(kind::A, 300, ADDRESS)], &[], &records(0)]);
    assert_eq!(kept(&mut server, 0).unwrap(), "NoError | www.example.com. 300 IN A 93.184.216.34");
    let mut server = server_with(0, [&[(kind::A, 300, ADDRESS)], &[], &records(1 << 24)]);
    assert_eq!(kept(&mut server, 0), None);
}

#[test]
fn other_forwarders_make_it_forget_and_other_vms_do_not() {
    let mut server = server_with(0, [&[(kind::A, 300, ADDRESS)], &[], &[]]);
    server.set_zones(Zones::new(&Document { nics: [].into(), ..document() }));
    assert!(kept(&mut server, 0).is_some());
    let document = Document { forwarders: vec![forwarder(9).ip()], ..document() };
    server.set_zones(Zones::new(&document));
    assert_eq!(kept(&mut server, 0), None);
}

#[test]
fn a_domain_that_becomes_the_routers_own_is_no_longer_what_was_kept() {
    let mut server = server_with(0, [&[(kind::A, 300, ADDRESS)], &[], &[]]);
    let mut document = document();
    document.guests.get_mut(&SIDE).unwrap().domain = "example.com".parse().unwrap();
    server.set_zones(Zones::new(&document));
    assert!(kept(&mut server, 0).unwrap().starts_with("NXDomain aa"));
}
