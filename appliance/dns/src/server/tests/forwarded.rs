//! Questions to forwarders, and whose answers count.

use super::*;

const QUESTION: &str = "www.Example.com A";

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Asks the question for a client, and gives what was sent to the forwarder.
fn begin(server: &mut Server, client: Client) -> (SocketAddr, u8, Vec<u8>) {
    sent(&server.query(ZERO, client, &query(5, QUESTION, None)))
}

/// Clients and codes of answers.
fn answers(actions: &[Action]) -> Vec<(Client, String)> {
    let one = |action: &Action| match action {
        Action::Answer { to, bytes } => Some((*to, show(bytes))),
        _ => None,
    };
    actions.iter().filter_map(one).collect()
}

#[test]
fn what_is_not_here_is_asked_of_the_first_forwarder_and_its_answer_passed_on() {
    let mut server = server();
    let (to, socket, asked) = begin(&mut server, udp(2));
    assert_eq!(to, forwarder(1));
    assert_eq!(show(&asked), "NoError ad | OPT 1232");
    let actions = server.upstream(ms(20), to, Via::Udp { socket }, &good(&asked));
    assert_eq!(answers(&actions), [(udp(2), "NoError | www.Example.com. 300 IN A 93.184.216.34".to_owned())]);
    assert_eq!(server.next_tick(), None);
}

#[test]
fn the_next_forwarder_is_asked_after_800_ms_and_both_may_answer() {
    for answering in [1, 2] {
        let mut server = server();
        let (_, socket, asked) = begin(&mut server, udp(2));
        assert_eq!((server.next_tick(), server.tick(ms(799))), (Some(ms(800)), vec![]));
        let again = server.tick(ms(800));
        assert_eq!(sent(&again[0]), (forwarder(2), socket, asked.clone()));
        let actions = server.upstream(ms(900), forwarder(answering), Via::Udp { socket }, &good(&asked));
        assert_eq!(answers(&actions).len(), 1, "{answering}");
    }
}

#[test]
fn after_five_seconds_the_client_is_told_that_there_is_no_answer() {
    let mut server = server();
    begin(&mut server, udp(2));
    let (mut tries, mut ends) = (1, ZERO);
    let last = loop {
        ends = server.next_tick().unwrap_or(ends);
        let actions = server.tick(ends);
        match &actions[..] {
            [Action::Forward { .. }] => tries += 1,
            _ => break answers(&actions),
        }
    };
    assert_eq!((tries, ends, server.next_tick()), (7, ms(5000), None));
    assert_eq!(last, [(udp(2), "ServFail".to_owned())]);
}

#[test]
fn who_answered_when_the_first_did_not_is_asked_first_for_a_minute() {
    let mut server = server();
    let (_, socket, asked) = begin(&mut server, udp(2));
    server.tick(ms(800));
    server.upstream(ms(810), forwarder(2), Via::Udp { socket }, &good(&asked));
    let mut first = |at, question| sent(&server.query(ms(at), udp(2), &query(6, question, None))).0;
    assert_eq!(first(60_000, "a.example.com A"), forwarder(2));
    assert_eq!(first(61_000, "b.example.com A"), forwarder(1));
}

#[test]
fn an_answer_must_come_from_whom_was_asked_where_it_was_asked_and_to_the_question() {
    let mut server = server();
    let (to, socket, asked) = begin(&mut server, udp(2));
    let via = Via::Udp { socket };
    let changed = |at: usize| {
        let mut packet = good(&asked);
        packet[at] ^= 1;
        packet
    };
    let mut ignored = |from, via, packet: &[u8]| {
        assert_eq!(server.upstream(ms(10), from, via, packet), vec![], "{packet:?}");
    };
    ignored(forwarder(2), via, &good(&asked));
    ignored(SocketAddr::new(to.ip(), 54), via, &good(&asked));
    ignored(to, Via::Udp { socket: socket ^ 1 }, &good(&asked));
    ignored(to, Via::Tcp, &good(&asked));
    ignored(to, via, &asked);
    ignored(to, via, &good(&asked)[..40]);
    // The id, the name, the type, the class, and how many questions there are.
    [1, 14, 30, 32, 5].into_iter().for_each(|at| ignored(to, via, &changed(at)));
    assert_eq!(answers(&server.upstream(ms(10), to, via, &good(&asked))).len(), 1);
    assert_eq!(server.upstream(ms(11), to, via, &good(&asked)), vec![], "an answer counts once");
}

#[test]
fn a_forwarder_that_lowers_the_case_of_the_question_is_understood() {
    let mut server = server();
    let (to, socket, asked) = begin(&mut server, udp(2));
    let mut packet = good(&asked);
    packet[12..].make_ascii_lowercase();
    let actions = server.upstream(ms(10), to, Via::Udp { socket }, &packet);
    assert!(answers(&actions)[0].1.contains("www.Example.com."));
}

#[test]
fn ids_and_sockets_are_spread() {
    let mut server = server();
    let all: Vec<_> = (0..60)
        .map(|id| sent(&server.query(ZERO, udp(2), &query(id, &format!("a{id}.example.com A"), None))))
        .collect();
    let ids: std::collections::BTreeSet<_> = all.iter().map(|(_, _, packet)| packet[..2].to_vec()).collect();
    let sockets: std::collections::BTreeSet<_> = all.iter().map(|(_, socket, _)| *socket).collect();
    assert_eq!((ids.len(), sockets.len(), *sockets.last().unwrap()), (60, 8, 7));
}

#[test]
fn a_question_is_asked_once_however_many_wait() {
    let mut server = server();
    let (to, socket, asked) = begin(&mut server, udp(2));
    let lower = query(9, "www.example.com A", None);
    assert_eq!(server.query(ms(1), udp(3), &lower), Action::Drop);
    assert_eq!(server.query(ms(2), udp(3), &lower), Action::Drop, "the same query again waits once");
    let got = answers(&server.upstream(ms(20), to, Via::Udp { socket }, &good(&asked)));
    assert_eq!(got.len(), 2);
    assert_eq!(got[1], (udp(3), "NoError | www.example.com. 300 IN A 93.184.216.34".to_owned()));
}

#[test]
fn a_question_with_other_wishes_is_another_question() {
    let mut server = server();
    begin(&mut server, udp(2));
    let (_, _, asked) = sent(&server.query(ZERO, udp(2), &query(6, QUESTION, DNSSEC)));
    assert_eq!(show(&asked), "NoError ad | OPT 1232 do");
    let mut unchecked = query(7, QUESTION, None);
    unchecked[3] |= 0x10;
    assert_eq!(show(&sent(&server.query(ZERO, udp(2), &unchecked)).2), "NoError ad cd | OPT 1232");
}

#[test]
fn more_in_flight_than_there_may_be_is_a_failure_at_once() {
    let limits = Limits { in_flight: 10, per_client: 4, ..Limits::default() };
    let mut server = server_of(&document(), &limits);
    let mut begun = |last, count| {
        let ask = |id: u16| query(id, &format!("a{id}.client-{last}.example.com A"), None);
        (0..count)
            .filter(|id| matches!(server.query(ZERO, udp(last), &ask(*id)), Action::Forward { .. }))
            .count()
    };
    assert_eq!((begun(2, 9), begun(3, 9), begun(4, 9)), (4, 4, 2));
    assert_eq!(ask(&mut server, "b.example.com A"), "ServFail");
    while let Some(due) = server.next_tick() {
        server.tick(due);
    }
    assert!(matches!(server.query(ms(6000), udp(2), &query(1, QUESTION, None)), Action::Forward { .. }));
}

#[test]
fn a_cut_answer_is_passed_on_to_udp_and_fetched_whole_for_tcp() {
    let mut server = server();
    let tcp = client(3, Transport::Tcp);
    let (to, socket, asked) = begin(&mut server, udp(2));
    assert_eq!(server.query(ms(1), tcp, &query(8, QUESTION, None)), Action::Drop);
    let cut = reply(&asked, flag::TRUNCATED, [&[], &[], &[]]);
    let actions = server.upstream(ms(2), to, Via::Udp { socket }, &cut);
    assert_eq!(answers(&actions), [(udp(2), "NoError tc".to_owned())]);
    let Action::ForwardTcp { to: again, bytes, .. } = &actions[1] else { panic!("{actions:?}") };
    assert_eq!((*again, bytes), (to, &asked));
    assert_eq!(server.upstream(ms(3), to, Via::Udp { socket }, &good(&asked)), vec![]);
    let got = answers(&server.upstream(ms(4), to, Via::Tcp, &good(bytes)));
    assert_eq!(got, [(tcp, "NoError | www.Example.com. 300 IN A 93.184.216.34".to_owned())]);
}

#[test]
fn a_tcp_connection_that_fails_is_followed_by_one_to_the_next_forwarder() {
    let mut server = server();
    let (to, socket, asked) = begin(&mut server, client(3, Transport::Tcp));
    server.upstream(ms(2), to, Via::Udp { socket }, &reply(&asked, flag::TRUNCATED, [&[], &[], &[]]));
    assert!(matches!(server.tick(ms(802))[0], Action::ForwardTcp { to, .. } if to == forwarder(2)));
}

#[test]
fn a_forwarder_that_cannot_is_followed_by_the_next_at_once_and_the_last_ones_word_counts() {
    let mut server = server();
    let (to, socket, asked) = begin(&mut server, udp(2));
    let refuses = reply(&asked, rcode::REFUSED, [&[], &[], &[]]);
    let actions = server.upstream(ms(5), to, Via::Udp { socket }, &refuses);
    assert_eq!(sent(&actions[0]).0, forwarder(2));
    assert_eq!(server.upstream(ms(6), to, Via::Udp { socket }, &refuses), vec![], "it has answered");
    let actions = server.upstream(ms(7), forwarder(2), Via::Udp { socket }, &refuses);
    assert_eq!(answers(&actions), [(udp(2), "Refused".to_owned())]);
}

#[test]
fn what_was_validated_is_said_to_who_understands_it() {
    let mut server = server();
    let mut plain = query(5, QUESTION, None);
    let (to, socket, asked) = sent(&server.query(ZERO, udp(2), &plain));
    plain[3] |= flag::AUTHENTIC as u8;
    server.query(ZERO, udp(3), &plain);
    let validated = reply(&asked, flag::AUTHENTIC, [&[(kind::A, 300, &[1, 2, 3, 4])], &[], &[]]);
    let got = answers(&server.upstream(ms(5), to, Via::Udp { socket }, &validated));
    assert!(got[0].1.starts_with("NoError |") && got[1].1.starts_with("NoError ad |"), "{got:?}");
}

#[test]
fn private_addresses_from_outside_pass() {
    let mut server = server();
    let (to, socket, asked) = begin(&mut server, udp(2));
    let private = reply(&asked, 0, [&[(kind::A, 300, &[10, 1, 1, 2])], &[], &[]]);
    let got = answers(&server.upstream(ms(5), to, Via::Udp { socket }, &private));
    assert!(got[0].1.ends_with("A 10.1.1.2"));
}
