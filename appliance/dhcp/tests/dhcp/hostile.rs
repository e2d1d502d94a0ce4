//! Packets that break the rules, and many that were damaged at random.

use podzol_appliance_dhcp::{Answer, Destination, MAX_PACKET};
use rand::Rng;
use rand::rngs::StdRng;

use crate::clients::{dhclient, networkd, udhcpc, windows};
use crate::packet::{DISCOVER, INFORM, Packet, RELEASE, REQUEST, codes, parts, value};
use crate::world::{ADDRESS, FIRST, GATEWAY, NOBODY, RELAY, WEB_SECOND, answer, reply, table};
use podzol_fuzz::rounds;

/// Enough that each of the bytes that mean something takes each value with several others; a second or two unoptimised.
const ROUNDS: usize = 200_000;

#[test]
fn a_header_that_is_no_ethernet_clients_is_not_answered() {
    let good = Packet::new(DISCOVER);
    assert!(answer(&good).is_some());
    assert_eq!(answer(&good.clone().at(0, &[2])), None, "a reply");
    assert_eq!(answer(&good.clone().at(0, &[0])), None, "no operation");
    assert_eq!(answer(&good.clone().at(1, &[6])), None, "token ring");
    for length in [0, 5, 7, 16, 17, 255] {
        assert_eq!(answer(&good.clone().at(2, &[length])), None, "a hardware address of {length} bytes");
    }
    assert_eq!(answer(&good.clone().at(28, &[3])), None, "multicast");
    assert_eq!(answer(&good.clone().from([0xff; 6])), None, "broadcast");
    assert_eq!(answer(&good.at(236, &[99, 130, 83, 98])), None, "another cookie");
}

#[test]
fn a_packet_cut_short_anywhere_before_its_end_is_not_answered() {
    let packet = Packet { shortest: 0, ..Packet::new(DISCOVER).option(55, &[1, 3]).option(61, b"id") };
    let bytes = packet.bytes();
    assert!(table().answer(FIRST, &bytes, NOBODY).is_some());
    for length in 0..bytes.len() {
        assert_eq!(table().answer(FIRST, &bytes[..length], NOBODY), None, "{length} bytes");
    }
}

#[test]
fn a_packet_longer_than_a_frame_is_not_answered() {
    let sized = |shortest| Packet { shortest, ..Packet::new(DISCOVER) };
    assert!(answer(&sized(MAX_PACKET)).is_some());
    assert_eq!(answer(&sized(MAX_PACKET + 1)), None);
}

#[test]
fn an_option_of_the_wrong_length_is_not_answered() {
    for code in [50, 53, 54, 57] {
        for length in [0, 3, 5] {
            // A second message type would be joined to the first.
            let start = if code == 53 { Packet::bootp() } else { Packet::new(REQUEST) };
            let packet = start.ciaddr(ADDRESS).option(code, &vec![1; length]);
            assert_eq!(answer(&packet), None, "option {code} with {length} bytes");
        }
    }
}

#[test]
fn options_that_other_parsers_stumble_over_are_passed_by() {
    let odd = Packet::new(DISCOVER).option(80, b"x").option(81, b"").option(151, b"").option(94, b"");
    assert!(answer(&odd).is_some());
}

#[test]
fn options_go_on_in_the_file_and_name_fields_when_the_packet_says_so() {
    let overloaded = |fields: u8| {
        Packet::bootp()
            .option(52, &[fields])
            .at(108, &[53, 1, DISCOVER, 61, 1, b'a', 255])
            .at(44, &[61, 1, b'b', 0, 255])
    };
    assert_eq!(value(&reply(&overloaded(1)), 61).unwrap(), b"a");
    assert_eq!(value(&reply(&overloaded(3)), 61).unwrap(), b"ab");
    assert_eq!(answer(&overloaded(2)), None, "the kind is in the file field");
    assert_eq!(answer(&overloaded(0)), None);
}

#[test]
fn an_overload_that_cannot_be_is_not_answered() {
    let good = Packet::new(DISCOVER).at(108, &[255]).at(44, &[255]);
    assert!(answer(&good.clone().option(52, &[3])).is_some());
    assert_eq!(answer(&good.clone().option(52, &[4])), None, "no such fields");
    assert_eq!(answer(&good.clone().option(52, &[])), None, "no value");
    assert_eq!(answer(&good.clone().option(52, &[1]).at(108, &[52, 1, 1, 255])), None, "an overload within");
    assert_eq!(answer(&good.clone().option(52, &[1]).at(108, &[0; 128])), None, "a field without an end");
    let cut = good.option(52, &[2]).at(44, &[0; 62]).at(106, &[12, 3]);
    assert_eq!(answer(&cut), None, "a field that is cut short");
}

#[test]
fn damaged_packets_get_a_sound_answer_or_none() {
    let seeds = [
        Packet::new(DISCOVER).option(55, &[1, 3, 6, 12, 15, 26, 28, 119, 121]).option(57, &[5, 0xdc]),
        Packet::new(REQUEST).requested(ADDRESS).server(GATEWAY).option(61, b"\x01client"),
        Packet::new(REQUEST).ciaddr(ADDRESS).option(82, &[1, 4, 1, 2, 3, 4]),
        Packet::new(INFORM).ciaddr(ADDRESS).option(60, b"MSFT 5.0"),
        Packet::new(RELEASE).ciaddr(ADDRESS).server(GATEWAY),
        Packet::new(DISCOVER).option(52, &[3]).at(44, &[12, 2, b'a', b'b', 255]).at(108, &[61, 2, 1, 1, 255]),
        Packet::new(DISCOVER).from(WEB_SECOND).giaddr(RELAY).option(82, &[1, 4, 1, 2, 3, 4]),
        udhcpc(DISCOVER),
        dhclient(REQUEST).requested(ADDRESS).server(GATEWAY),
        networkd(REQUEST).ciaddr(ADDRESS),
        windows(INFORM).ciaddr(ADDRESS),
    ];
    let seeds = seeds.map(|packet| packet.bytes());
    assert!(seeds.iter().all(|seed| table().answer(FIRST, seed, NOBODY).is_some()));
    let (table, mut replies, mut silences) = (table(), 0, 0);
    let all = rounds(ROUNDS, 0x6468_6370, |round, random| {
        let packet = damaged(&seeds[round % seeds.len()], random);
        let answer = table.answer(FIRST, &packet, NOBODY);
        assert!(answer.is_none() || table.sender(FIRST, &packet).is_some());
        match answer {
            Some(Answer::Reply(reply)) => {
                replies += 1;
                assert!((300..=1422).contains(&reply.bytes.len()));
                assert!(codes(&reply).starts_with(&[53, 54]));
                assert!(parts(&reply).iter().all(|(code, _)| *code != 0));
                if let Destination::Address(to) | Destination::Relay(to) = reply.to {
                    assert!(to.octets()[0] == 10, "{to} is outside");
                }
            }
            Some(Answer::Event(_)) => {}
            None => silences += 1,
        }
    });
    assert!(replies > all / 20 && silences > all / 20, "{replies} replies, {silences} silences");
}

/// A packet with a few changes: most in the options, because most bytes of the header are not looked at.
fn damaged(packet: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut packet = packet.to_vec();
    for _ in 0..random.random_range(1..=4) {
        let place = match random.random_range(0..4) {
            0 => random.random_range(0..packet.len()),
            1 => random.random_range(0..packet.len().min(28)),
            _ => random.random_range(packet.len().min(240) - 1..packet.len()),
        };
        match random.random_range(0..8) {
            0 => packet.truncate(place.max(1)),
            1 => packet.insert(place, random.random()),
            2 => packet.extend(std::iter::repeat_n(random.random::<u8>(), random.random_range(1..400))),
            3 => packet[place] = [0, 1, 4, 52, 82, 254, 255][random.random_range(0..7)],
            4 => packet[place] ^= 1 << random.random_range(0..8),
            _ => packet[place] = random.random(),
        }
    }
    packet
}
