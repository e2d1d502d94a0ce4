//! Packets that nobody would send in good faith: a seed and many small damages.

use podzol_fuzz::rounds;

use super::*;

/// How many damaged packets of each kind. As many as take a second or two without optimisation.
const ROUNDS: usize = 60_000;

/// Damages a packet in one to four places: a bit, a byte, a length, a piece twice, or its end.
fn damage(random: &mut StdRng, packet: &mut Vec<u8>) {
    for _ in 0..random.random_range(1..=4) {
        if packet.is_empty() {
            return;
        }
        let at = random.random_range(0..packet.len());
        match random.random_range(0..6) {
            0 => packet[at] ^= 1 << random.random_range(0..8),
            1 => packet[at] = random.random(),
            2 => packet[at] = *[0, 0x3f, 0x40, 0xc0, 0xff].get(random.random_range(0..5)).unwrap(),
            3 => packet.truncate(at),
            4 => packet.extend_from_within(at..),
            _ => drop(packet.splice(at..at, *b"\xc0\x0c")),
        }
    }
    packet.truncate(2000);
}

#[test]
fn damaged_queries_get_answers_that_can_be_read_or_none() {
    let limits = Limits { tokens_per_second: 1_000_000, ..Limits::default() };
    let mut server = server_of(&document(), &limits);
    let questions = [
        "web-1.net-1.example.internal A",
        "2.1.1.10.in-addr.arpa PTR",
        "1.a.e.f.ip6.arpa PTR",
        "some.localhost A",
        "www.example.com A",
        "www.example.com ANY",
    ];
    let mut read = 0;
    let all = rounds(ROUNDS, 42, |round, random| {
        let edns = [None, DNSSEC][round % 2];
        let mut packet = query(round as u16, questions[round % questions.len()], edns);
        damage(random, &mut packet);
        let now = Duration::from_millis(round as u64);
        let client = client((round % 250) as u8, [Transport::Udp, Transport::Tcp][round / 2 % 2]);
        if let Action::Answer { bytes, to } = server.query(now, client, &packet) {
            assert!(to == client && (to.transport == Transport::Tcp || bytes.len() <= 1232));
            // Names of other bytes than a host's are no business of a server, and not all readers take them.
            read += usize::from(Message::from_vec(&bytes).is_ok());
        }
        server.tick(now);
    });
    assert!(read > all / 4, "{read} of {all}");
}

#[test]
fn damaged_answers_are_taken_whole_or_not_at_all() {
    let limits = Limits { tokens_per_second: 100_000_000, ..Limits::default() };
    let mut server = server_of(&document(), &limits);
    let (records, minimum) = ([(kind::A, 300, &[1, 2, 3, 4][..]), (5, 20, &b"\x01x\xc0\x0c"[..])], soa(60));
    let mut taken = 0;
    rounds(ROUNDS, 43, |round, random| {
        let now = Duration::from_millis(round as u64);
        let packet = query(7, &format!("a{}.example.com A", random.random_range(0..5000)), DNSSEC);
        server.tick(now);
        let Action::Forward { to, socket, bytes, .. } = server.query(now, udp((round % 250) as u8), &packet)
        else {
            return;
        };
        let opt: (u16, u32, &[u8]) = (kind::OPT, 0, b"");
        let mut packet = reply(&bytes, 0, [&records, &[(kind::SOA, 300, &minimum)], &[opt, opt]]);
        damage(random, &mut packet);
        // Most damage is to be behind what makes an answer count.
        packet.iter_mut().zip(&bytes[..2]).for_each(|(byte, id)| *byte = *id);
        for action in server.upstream(now, to, Via::Udp { socket }, &packet) {
            if let Action::Answer { bytes, .. } = action {
                assert!(bytes.len() <= 1232);
                taken += 1;
            }
        }
    });
    assert!(taken > 1000, "{taken}");
}

#[test]
fn noise_is_survived() {
    let mut server = server();
    rounds(ROUNDS, 44, |round, random| {
        let mut packet = vec![0; random.random_range(0..200)];
        random.fill(&mut packet[..]);
        let now = Duration::from_millis(round as u64);
        server.query(now, udp((round % 250) as u8), &packet);
        server.upstream(now, forwarder(1), Via::Udp { socket: 0 }, &packet);
    });
}
