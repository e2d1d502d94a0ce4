//! A start of a VM, byte for byte.

use dhcproto::v6::{DhcpOption, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder};

use super::packet::{Packet, SERVER, own, source, table};
use crate::world::FIRST;

/// Bytes of hexadecimal digits, with spaces between.
fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

const HEAD: &str = "ab cd ef 00 01 00 0e 00 01 00 01 2f 01 02 03 02 00 5e 00 00 10";
const SERVER_ID: &str = "00 02 00 0a 00 03 00 01 02 00 00 00 00 01";
/// The association: half a day, four fifths of a day, the address, a day and a day.
const LEASE: &str = "00 03 00 28 5e 00 00 10 00 00 a8 c0 00 01 0e 00 \
    00 05 00 18 20 01 0d b8 00 64 00 10 00 00 5e ff fe 00 00 10 00 01 51 80 00 01 51 80";
const NAMES: &str = "00 17 00 10 20 01 0d b8 00 64 00 10 00 00 00 00 00 00 00 01 \
    00 18 00 18 05 6e 65 74 2d 31 07 65 78 61 6d 70 6c 65 08 69 6e 74 65 72 6e 61 6c 00";

#[test]
fn a_client_solicits_and_requests_its_address() {
    // Elapsed time 0, name servers and domains wanted, an association with no times.
    let wants = "00 08 00 02 00 00 00 06 00 04 00 17 00 18";
    let solicit = hex(&format!("01 {HEAD} {wants} 00 03 00 0c 5e 00 00 10 00 00 00 00 00 00 00 00"));
    let advertise = table().answer(FIRST, &solicit, source()).unwrap();
    let expected = hex(&format!("02 {HEAD} {SERVER_ID} 00 07 00 01 ff {LEASE} {NAMES}"));
    assert_eq!((advertise.bytes, advertise.said), (expected, None));

    let request = hex(&format!("03 {HEAD} {SERVER_ID} {wants} {LEASE}"));
    let reply = table().answer(FIRST, &request, source()).unwrap();
    assert_eq!(reply.bytes, hex(&format!("07 {HEAD} {SERVER_ID} {LEASE} {NAMES}")));
}

#[test]
fn another_parser_reads_the_same_in_it() {
    let reply = Packet::new(6).wants(&[own()]).reply();
    let message = Message::decode(&mut Decoder::new(&reply)).unwrap();
    assert_eq!(message.msg_type(), MessageType::Reply);
    assert_eq!(message.xid(), [0xab, 0xcd, 0xef]);
    assert_eq!(message.opts().get(OptionCode::ServerId), Some(&DhcpOption::ServerId(SERVER.to_vec())));
    let Some(DhcpOption::IANA(association)) = message.opts().get(OptionCode::IANA) else {
        panic!("{message:?}")
    };
    assert_eq!((association.t1, association.t2), (43_200, 69_120));
    let Some(DhcpOption::IAAddr(lease)) = association.opts.get(OptionCode::IAAddr) else {
        panic!("{association:?}")
    };
    assert_eq!((lease.addr, lease.preferred_life, lease.valid_life), (own(), 86_400, 86_400));
    let names = message.opts().get(OptionCode::DomainNameServers);
    let Some(DhcpOption::DomainNameServers(names)) = names else { panic!("{names:?}") };
    assert_eq!(names[..], ["2001:db8:64:10::1".parse::<std::net::Ipv6Addr>().unwrap()]);
}
