//! Packets that break the rules, and many that were damaged at random.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Enough that each byte of a query takes each value with several others; some seconds unoptimised.
const ROUNDS: usize = 200_000;

fn code(packet: &[u8]) -> Option<ResponseCode> {
    let reply = answer(&zone(), packet, Transport::Udp)?;
    Some(Message::from_vec(&reply.bytes).unwrap().metadata.response_code)
}

#[test]
fn what_is_no_query_gets_no_answer() {
    assert_eq!(code(b""), None);
    assert_eq!(code(&[0; 11]), None);
    let mut reply = query(DOMAIN, RecordType::SOA);
    reply.metadata.message_type = MessageType::Response;
    assert_eq!(code(&reply.to_vec().unwrap()), None);
    // Not even that it is malformed: whoever gets that would say the same of it.
    assert_eq!(code(&[0xff; 12]), None);
}

#[test]
fn changes_are_refused_and_what_nobody_knows_is_not_implemented() {
    for (operation, expected) in [
        (OpCode::Update, ResponseCode::Refused),
        (OpCode::Notify, ResponseCode::Refused),
        (OpCode::Status, ResponseCode::NotImp),
        (OpCode::Unknown(6), ResponseCode::NotImp),
    ] {
        let mut asked = query(DOMAIN, RecordType::SOA);
        asked.metadata.op_code = operation;
        let asked = asked.to_vec().unwrap();
        assert_eq!(code(&asked), Some(expected), "{operation}");
        assert_eq!(answer(&zone(), &asked, Transport::Udp).unwrap().bytes.len(), 12);
    }
}

#[test]
fn no_question_many_questions_and_records_that_do_not_belong_are_malformed() {
    let good = query(DOMAIN, RecordType::SOA).to_vec().unwrap();
    assert_eq!(code(&good), Some(ResponseCode::NoError));
    // The counts of questions, answers, authority and additional records.
    for (place, counts) in
        [(4, [0, 2, 0xffff]), (6, [1, 2, 0xffff]), (8, [1, 2, 0xffff]), (10, [1, 4, 0xffff])]
    {
        for count in counts {
            let mut bad = good.clone();
            bad[place..place + 2].copy_from_slice(&u16::to_be_bytes(count));
            assert_eq!(code(&bad), Some(ResponseCode::FormErr), "{count} at {place}");
        }
    }
    for kind in [RecordType::OPT, RecordType::ZERO] {
        let reply = code(&query(DOMAIN, kind).to_vec().unwrap());
        assert_eq!(reply, Some(ResponseCode::FormErr), "{kind}");
    }
}

#[test]
fn a_name_that_leads_into_itself_or_out_of_the_packet_is_malformed() {
    let header = [0x12, 0x67, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for name in
        [&[0xc0, 12][..], &[0xc0, 14], &[1, b'a', 0xc0, 12], &[0xff, 0xff], &[0x40, 1], &[0x80], &[63, b'a']]
    {
        let packet = [&header[..], name, &[0, 1, 0, 1]].concat();
        assert_eq!(code(&packet), Some(ResponseCode::FormErr), "{name:?}");
    }
    let long = [
        &header[..],
        &b"\x3faaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".repeat(4),
        &[0, 0, 1, 0, 1],
    ];
    assert_eq!(code(&long.concat()), Some(ResponseCode::FormErr));
}

#[test]
fn a_query_cut_short_anywhere_is_malformed_or_nothing() {
    let mut asked = query("192-0-2-7.console.example.org", RecordType::A);
    asked.set_edns(edns(1232));
    let asked = asked.to_vec().unwrap();
    for length in 0..asked.len() {
        let expected = (length >= 12).then_some(ResponseCode::FormErr);
        assert_eq!(code(&asked[..length]), expected, "{length} bytes");
    }
}

#[test]
fn damaged_packets_are_answered_shortly_or_not_at_all() {
    let zone = zone();
    let mut random = StdRng::seed_from_u64(1035);
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for (name, kind) in [
        ("192-0-2-7.console.example.org", RecordType::A),
        ("console.example.org", RecordType::NS),
        ("c-sg8u91d60breakr08i1tq49vb4.console.example.org", RecordType::ANY),
        ("www.example.net", RecordType::IXFR),
    ] {
        let mut asked = query(name, kind);
        seeds.push(asked.to_vec().unwrap());
        asked.set_edns(edns(4096));
        asked.add_authority(zone.soa(&asked.queries[0].name));
        seeds.push(asked.to_vec().unwrap());
    }
    let mut answered = 0;
    for round in 0..ROUNDS {
        let mut packet = seeds[round % seeds.len()].clone();
        for _ in 0..random.random_range(1..6) {
            let place = random.random_range(0..packet.len());
            match random.random_range(0..6) {
                0 => packet[place] = random.random(),
                1 => packet[place] ^= 1 << random.random_range(0..8),
                2 => packet.truncate(place.max(1)),
                3 => packet.insert(place, random.random()),
                4 => packet[place] = 0xc0,
                _ => packet.extend_from_slice(&random.random::<[u8; 11]>()),
            }
        }
        for transport in [Transport::Udp, Transport::Tcp] {
            let Some(reply) = answer(&zone, &packet, transport) else { continue };
            answered += 1;
            assert_eq!(reply.bytes[..2], packet[..2], "the id");
            assert!(reply.bytes[2] & 0x80 != 0, "an answer");
            assert!(reply.bytes.len() <= packet.len() + 150, "{packet:02x?}");
            Message::from_vec(&reply.bytes).unwrap();
        }
        come_by_tcp(&packet).inspect(|short| assert!(short.len() <= packet.len() + 11, "{packet:02x?}"));
    }
    assert!(answered > ROUNDS, "{answered}");
}
