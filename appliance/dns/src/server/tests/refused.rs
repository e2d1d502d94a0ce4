//! What is refused or ignored, and how much may be asked.

use super::*;

const QUESTION: &str = "web-1.net-1.example.internal A";

/// The code of the answer to a packet.
fn code(packet: &[u8]) -> String {
    show(&answer(server().query(ZERO, udp(2), packet)))
}

/// A query with some of its 16-bit words replaced.
fn with(words: &[(usize, u16)]) -> Vec<u8> {
    let mut packet = query(5, QUESTION, None);
    words.iter().for_each(|(at, word)| packet[*at..at + 2].copy_from_slice(&word.to_be_bytes()));
    packet
}

#[test]
fn who_is_not_in_the_network_is_refused() {
    let outside = |network, address: IpAddr| {
        let client = Client { network, address: SocketAddr::new(address, 40_000), transport: Transport::Udp };
        show(&answer(server().query(ZERO, client, &query(5, QUESTION, None))))
    };
    assert_eq!(outside(HOME, [10, 9, 8, 66].into()), "Refused");
    assert_eq!(outside(HOME, "fd00::1".parse().unwrap()), "Refused");
    assert_eq!(outside(NetworkId::from_bytes([9; 16]), [10, 1, 1, 2].into()), "Refused");
    assert!(outside(SIDE, [10, 9, 8, 66].into()).starts_with("NoError"));
}

#[test]
fn who_is_not_in_the_network_learns_nothing_of_other_errors() {
    let client = Client { network: SIDE, ..udp(2) };
    assert_eq!(show(&answer(server().query(ZERO, client, &with(&[(2, 0x2000)])))), "Refused");
}

#[test]
fn another_operation_than_a_query_is_not_implemented() {
    for operation in [1_u16, 2, 4, 5, 15] {
        assert_eq!(code(&with(&[(2, operation << 11), (4, 0)])[..12]), "NotImp", "{operation}");
    }
}

#[test]
fn a_query_with_no_or_two_questions_is_malformed() {
    assert_eq!(code(&with(&[(4, 0)])), "FormErr");
    assert_eq!(code(&[with(&[(4, 2)]), question_bytes(QUESTION)].concat()), "FormErr");
}

#[test]
fn a_query_that_is_cut_off_is_malformed() {
    let packet = query(5, QUESTION, DNSSEC);
    for length in 12..packet.len() {
        assert_eq!(code(&packet[..length]), "FormErr", "{length}");
    }
}

#[test]
fn an_answer_and_what_has_no_header_get_no_answer() {
    assert_eq!(server().query(ZERO, udp(2), &with(&[(2, 0x8180)])), Action::Drop);
    assert_eq!(server().query(ZERO, udp(2), &query(5, QUESTION, None)[..11]), Action::Drop);
    let nowhere = Client { address: SocketAddr::from(([10, 1, 1, 2], 0)), ..udp(2) };
    assert_eq!(server().query(ZERO, nowhere, &query(5, QUESTION, None)), Action::Drop);
}

#[test]
fn other_classes_are_refused() {
    let class_at = query(5, QUESTION, None).len() - 2;
    for class in [3, 4, 254, 255] {
        assert_eq!(code(&with(&[(class_at, class)])), "Refused", "{class}");
    }
}

#[test]
fn zone_transfers_are_refused() {
    let kind_at = query(5, QUESTION, None).len() - 4;
    for kind in [249, 250, 251, 252, 253, 254] {
        assert_eq!(code(&with(&[(kind_at, kind)])), "Refused", "{kind}");
    }
}

#[test]
fn another_version_of_edns_is_said_to_be_bad() {
    // BADVERS and BADSIG are both 16, and the reader has one name for them.
    assert_eq!(code(&query(5, QUESTION, Some((1232, 1, false)))), "BADSIG | OPT 1232");
}

#[test]
fn two_opt_records_are_malformed() {
    let mut packet = query(5, QUESTION, DNSSEC);
    packet.extend_from_within(packet.len() - 11..);
    packet[11] = 2;
    assert_eq!(code(&packet), "FormErr");
}

#[test]
fn who_wants_no_recursion_is_not_forwarded() {
    let mut packet = query(5, "www.example.com A", None);
    packet[2] = 0;
    assert_eq!(code(&packet), "Refused");
}

#[test]
fn without_forwarders_the_rest_of_the_world_is_refused() {
    let document = Document { forwarders: vec![], ..document() };
    let mut server = server_of(&document, &Limits::default());
    assert_eq!(ask(&mut server, "www.example.com A"), "Refused");
    assert!(ask(&mut server, QUESTION).starts_with("NoError"));
}

#[test]
fn a_client_that_asks_too_much_is_not_answered_and_others_are() {
    let limits = Limits { tokens_per_second: 10, burst: 20, ..Limits::default() };
    let mut server = server_of(&document(), &limits);
    let packet = query(5, QUESTION, None);
    let answered = (0..100).filter(|_| server.query(ZERO, udp(2), &packet) != Action::Drop).count();
    assert_eq!(answered, 20);
    assert_ne!(server.query(ZERO, udp(3), &packet), Action::Drop);
    assert_ne!(server.query(Duration::from_millis(100), udp(2), &packet), Action::Drop);
}

#[test]
fn a_question_for_a_forwarder_counts_a_hundredfold() {
    let limits = Limits { tokens_per_second: 1, burst: 250, ..Limits::default() };
    let mut server = server_of(&document(), &limits);
    let mut ask = |id| server.query(ZERO, udp(2), &query(id, &format!("a{id}.example.com A"), None));
    assert!(matches!(ask(1), Action::Forward { .. }));
    assert!(matches!(ask(2), Action::Forward { .. }));
    assert_eq!(ask(3), Action::Drop);
}
