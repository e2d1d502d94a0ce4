//! Packets that break the rules, and many that were damaged at random.

use podzol_appliance_dhcp::MAX_PACKET;
use rand::Rng;
use rand::rngs::StdRng;

use super::packet::{
    CONFIRM, INFORMATION, Packet, REBIND, RELEASE, RENEW, REQUEST, SOLICIT, address, association, leases,
    options, own, source, table,
};
use crate::world::FIRST;
use podzol_fuzz::rounds;

/// As many as for IPv4.
const ROUNDS: usize = 200_000;

/// What fits into one packet of the smallest MTU of IPv6, behind the headers of IPv6 and UDP.
const SMALLEST: usize = 1280 - 40 - 8;

#[test]
fn a_packet_cut_short_within_an_option_is_not_answered() {
    let bytes = Packet::new(SOLICIT).option(6, &[0, 23]).wants(&[own()]).0;
    // Behind the client's id and behind what it wants; but only then is anything asked for.
    let whole = bytes.len();
    assert!(table().answer(FIRST, &bytes, source()).is_some());
    for length in 0..whole {
        assert_eq!(table().answer(FIRST, &bytes[..length], source()), None, "{length} bytes");
    }
}

#[test]
fn a_packet_longer_than_a_frame_is_not_answered() {
    let sized = |length: usize| {
        let start = Packet::new(SOLICIT).wants(&[]);
        let filler = vec![0; length - start.0.len() - 4];
        start.option(9999, &filler)
    };
    assert!(sized(MAX_PACKET).answer().is_some());
    assert_eq!(sized(MAX_PACKET + 1).answer(), None);
}

#[test]
fn an_option_of_the_wrong_length_is_not_answered() {
    let good = || Packet::bare(SOLICIT).wants(&[]);
    for length in [0, 2, 131, 200] {
        assert_eq!(good().option(1, &vec![0; length]).answer(), None, "a DUID of {length} bytes");
    }
    let good = || Packet::new(SOLICIT).wants(&[]);
    assert!(good().option(6, &[]).answer().is_some());
    assert_eq!(good().option(6, &[0]).answer(), None, "half a number");
    assert_eq!(good().option(14, &[0]).answer(), None, "a rapid commit of one byte");
    for (code, head) in [(3, 12), (4, 4), (25, 12)] {
        assert!(good().option(code, &vec![0; head]).answer().is_some());
        assert_eq!(good().option(code, &vec![0; head - 1]).answer(), None, "{code} is cut short");
        assert_eq!(good().option(code, &vec![0; head + 3]).answer(), None, "{code} with half an option");
    }
    let mut short = association(12, &[own()]);
    short.truncate(short.len() - 1);
    short[15] -= 1;
    assert_eq!(good().option(3, &short).answer(), None, "an address that is cut short");
}

#[test]
fn an_option_that_may_be_once_is_not_answered_twice() {
    let good = Packet::to_server(REQUEST).option(6, &[0, 23]).option(14, &[]).wants(&[]);
    assert!(good.answer().is_some());
    for (code, value) in [(1, &[0, 3, 0, 1][..]), (2, &super::packet::SERVER), (6, &[0, 24]), (14, &[])] {
        assert_eq!(good.clone().option(code, value).answer(), None, "{code}");
    }
}

#[test]
fn more_than_any_client_has_a_use_for_is_not_answered() {
    let with = |count: usize| (0..count).fold(Packet::new(SOLICIT), |packet, _| packet.wants(&[]));
    assert!(with(8).answer().is_some());
    assert_eq!(with(9).answer(), None);
    let addresses = vec![own(); 9];
    assert!(Packet::new(SOLICIT).wants(&addresses[1..]).answer().is_some());
    assert_eq!(Packet::new(SOLICIT).wants(&addresses).answer(), None);
}

#[test]
fn the_longest_answer_fits_into_one_packet() {
    let many = [address("2001:db8::1"); 8];
    let start = Packet::bare(REBIND).option(1, &[9; 130]);
    let packet = (0..8).fold(start, |packet, _| packet.wants(&many[..4])).wants(&[]);
    assert_eq!(packet.answer(), None, "nine of them");
    let start = Packet::bare(REBIND).option(1, &[9; 130]);
    let packet = (0..7).fold(start.wants(&many), |packet, _| packet.wants(&[]));
    let length = packet.reply().len();
    assert!(length <= SMALLEST, "{length}");
}

#[test]
fn damaged_packets_get_a_sound_answer_or_none() {
    let seeds = [
        Packet::new(SOLICIT).option(6, &[0, 23, 0, 24]).option(14, &[]).wants(&[]),
        Packet::to_server(REQUEST).option(8, &[0, 0]).wants(&[own()]),
        Packet::to_server(RENEW).wants(&[own(), address("2001:db8::1")]),
        Packet::new(CONFIRM).wants(&[own()]),
        Packet::to_server(RELEASE).wants(&[own()]).option(4, &association(4, &[own()])),
        Packet::new(INFORMATION).option(6, &[0, 23]),
    ];
    assert!(seeds.iter().all(|seed| table().answer(FIRST, &seed.0, source()).is_some()));
    let (table, mut answers, mut silences) = (table(), 0, 0);
    let all = rounds(ROUNDS, 0x6468_6376_3620, |round, random| {
        let packet = damaged(&seeds[round % seeds.len()].0, random);
        let Some(answer) = table.answer(FIRST, &packet, source()) else {
            silences += 1;
            return;
        };
        answers += 1;
        let bytes = answer.bytes;
        assert!(bytes.len() <= SMALLEST && matches!(bytes[0], 2 | 7));
        assert_eq!(bytes[1..4], packet[1..4]);
        for (_, value) in options(&bytes[4..]).iter().filter(|(code, _)| *code == 3) {
            for (address, preferred, valid) in leases(value) {
                assert!(preferred == valid && (valid == 0 || address == own()), "{address} {valid}");
            }
        }
    });
    assert!(answers > all / 20 && silences > all / 20, "{answers} answers, {silences} silences");
}

/// A packet with a few changes, most of them where lengths and numbers of options are.
fn damaged(packet: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut packet = packet.to_vec();
    for _ in 0..random.random_range(1..=3) {
        let place = random.random_range(0..packet.len());
        match random.random_range(0..8) {
            0 => packet.truncate(place.max(1)),
            1 => packet.insert(place, random.random()),
            2 => packet.extend(std::iter::repeat_n(random.random::<u8>(), random.random_range(1..400))),
            3 => packet[place] = [0, 1, 3, 4, 5, 12, 24, 25, 255][random.random_range(0..9)],
            4 => packet[place] ^= 1 << random.random_range(0..8),
            5 => {
                let part = packet[place..].to_vec();
                packet.extend(part);
            }
            _ => packet[place] = random.random(),
        }
    }
    packet
}
