//! Each message of RFC 2131, 4.3, and who gets no answer.

use dhcproto::v4::{MessageType, Opcode};
use podzol_appliance_api::Document;
use podzol_appliance_dhcp::{Answer, Destination, Event, EventKind, Table};

use crate::packet::{DECLINE, DISCOVER, INFORM, Packet, RELEASE, REQUEST, codes, decoded, kind, value};
use crate::world::{
    ADDRESS, FIRST, GATEWAY, NOBODY, SECOND, WEB, WEB_SECOND, answer, document, mac, reply, reply_of, table,
};

const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 0x66];
const OTHER: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 1, 1, 77);

#[test]
fn a_discover_is_answered_with_an_offer() {
    let offer = reply(&Packet::new(DISCOVER).requested(OTHER));
    let message = decoded(&offer);
    assert_eq!(kind(&offer), MessageType::Offer);
    assert_eq!(message.opcode(), Opcode::BootReply);
    assert_eq!((message.xid(), message.hops(), message.secs()), (0xdead_beef, 0, 0));
    assert_eq!((message.yiaddr(), message.siaddr(), message.ciaddr()), (ADDRESS, NOBODY, NOBODY));
    assert_eq!(message.chaddr(), WEB);
}

#[test]
fn a_request_after_an_offer_is_acknowledged() {
    let ack = reply(&Packet::new(REQUEST).server(GATEWAY).requested(ADDRESS));
    assert_eq!((kind(&ack), decoded(&ack).yiaddr()), (MessageType::Ack, ADDRESS));
}

#[test]
fn a_request_for_another_address_than_the_offered_is_refused() {
    let nak = reply(&Packet::new(REQUEST).server(GATEWAY).requested(OTHER));
    assert_eq!((kind(&nak), decoded(&nak).yiaddr()), (MessageType::Nak, NOBODY));
    assert_eq!(codes(&nak), [53, 54, 56]);
}

#[test]
fn a_request_to_another_server_is_not_answered() {
    assert_eq!(answer(&Packet::new(REQUEST).server(OTHER).requested(ADDRESS)), None);
    assert_eq!(answer(&Packet::new(REQUEST).server(OTHER).requested(OTHER)), None);
}

#[test]
fn a_request_after_a_reboot_is_acknowledged_or_refused() {
    assert_eq!(kind(&reply(&Packet::new(REQUEST).requested(ADDRESS))), MessageType::Ack);
    assert_eq!(kind(&reply(&Packet::new(REQUEST).requested(OTHER))), MessageType::Nak);
}

#[test]
fn a_request_to_renew_or_rebind_is_acknowledged_to_the_address_in_use() {
    let ack = reply(&Packet::new(REQUEST).ciaddr(ADDRESS));
    let message = decoded(&ack);
    assert_eq!((message.ciaddr(), message.yiaddr()), (ADDRESS, ADDRESS));
    assert_eq!(ack.to, Destination::Address(ADDRESS));
    assert_eq!(value(&ack, 51).unwrap(), 86_400_u32.to_be_bytes());
}

#[test]
fn a_request_to_renew_another_address_is_refused() {
    let nak = reply(&Packet::new(REQUEST).ciaddr(OTHER));
    assert_eq!((kind(&nak), decoded(&nak).ciaddr()), (MessageType::Nak, NOBODY));
}

#[test]
fn a_request_without_any_address_is_not_answered() {
    assert_eq!(answer(&Packet::new(REQUEST)), None);
    assert_eq!(answer(&Packet::new(REQUEST).server(GATEWAY)), None);
}

#[test]
fn an_inform_is_answered_without_an_address_or_a_lease() {
    let ack = reply(&Packet::new(INFORM).ciaddr(OTHER).option(55, &[1, 3, 6, 51, 58, 59]));
    assert_eq!((kind(&ack), decoded(&ack).yiaddr()), (MessageType::Ack, NOBODY));
    assert_eq!(codes(&ack), [53, 54, 1, 26, 3, 6]);
    assert_eq!(ack.to, Destination::Address(OTHER));
}

#[test]
fn an_inform_without_ciaddr_is_answered_to_where_it_came_from() {
    let inform = Packet::new(INFORM).bytes();
    assert_eq!(reply_of(table().answer(FIRST, &inform, OTHER)).to, Destination::Address(OTHER));
}

#[test]
fn an_inform_from_outside_the_network_is_not_answered() {
    let outside = std::net::Ipv4Addr::new(192, 0, 2, 1);
    assert_eq!(answer(&Packet::new(INFORM)), None);
    assert_eq!(answer(&Packet::new(INFORM).ciaddr(outside)), None);
    assert_eq!(answer(&Packet::new(INFORM).ciaddr(GATEWAY)), None);
    assert_eq!(table().answer(FIRST, &Packet::new(INFORM).bytes(), outside), None);
}

#[test]
fn a_release_and_a_decline_are_events() {
    let event = |kind, address| Some(Answer::Event(Event { kind, network: FIRST, mac: mac(WEB), address }));
    let release = Packet::new(RELEASE).ciaddr(ADDRESS).server(GATEWAY);
    assert_eq!(answer(&release), event(EventKind::Released, ADDRESS));
    let decline = Packet::new(DECLINE).requested(ADDRESS).server(GATEWAY);
    assert_eq!(answer(&decline), event(EventKind::Declined, ADDRESS));
}

#[test]
fn a_release_or_decline_to_another_server_or_to_none_is_nothing() {
    for kind in [RELEASE, DECLINE] {
        assert_eq!(answer(&Packet::new(kind).ciaddr(ADDRESS).requested(ADDRESS).server(OTHER)), None);
        assert_eq!(answer(&Packet::new(kind).ciaddr(ADDRESS).requested(ADDRESS)), None);
    }
}

#[test]
fn bootp_and_messages_that_only_servers_send_are_not_answered() {
    assert_eq!(answer(&Packet::bootp()), None);
    assert_eq!(answer(&Packet::bootp().option(12, b"web-1")), None);
    for kind in [0, 2, 5, 6, 9, 10, 18, 255] {
        assert_eq!(answer(&Packet::new(kind).requested(ADDRESS).ciaddr(ADDRESS)), None, "{kind}");
    }
}

#[test]
fn an_unknown_mac_address_is_not_answered_and_never_refused() {
    for kind in [DISCOVER, REQUEST, INFORM, RELEASE, DECLINE] {
        let packet = Packet::new(kind).from(STRANGER).requested(OTHER).server(GATEWAY);
        assert_eq!(answer(&packet), None);
        assert_eq!(table().sender(FIRST, &packet.bytes()), None);
    }
}

#[test]
fn a_mac_address_of_another_network_is_unknown_in_this_one() {
    let packet = Packet::new(DISCOVER).from(WEB_SECOND);
    assert_eq!(answer(&packet), None);
    assert!(table().answer(SECOND, &packet.bytes(), NOBODY).is_some());
}

#[test]
fn the_sender_is_known_by_the_header_alone() {
    let packet = Packet::new(DISCOVER);
    assert_eq!(table().sender(FIRST, &packet.bytes()), Some(mac(WEB)));
    assert_eq!(table().sender(SECOND, &packet.bytes()), None);
    assert_eq!(table().sender(FIRST, b""), None);
}

#[test]
fn the_owner_of_a_frame_is_who_has_its_source_on_that_link() {
    let table = table();
    assert_eq!(table.owner(FIRST, mac(WEB).octets()), Some(mac(WEB)));
    assert_eq!(table.owner(SECOND, mac(WEB).octets()), None);
    assert_eq!(table.owner(FIRST, [0xff; 6]), None);
}

#[test]
fn a_table_of_a_newer_document_answers_by_it() {
    let mut newer = document();
    newer.nics.values_mut().for_each(|nic| {
        if nic.network == FIRST {
            nic.address = OTHER;
        }
    });
    let renewal = Packet::new(REQUEST).ciaddr(ADDRESS).bytes();
    let answer = Table::new(&newer).answer(FIRST, &renewal, ADDRESS);
    assert_eq!(kind(&reply_of(answer)), MessageType::Nak);
    assert_eq!(Table::new(&Document::default()).answer(FIRST, &renewal, ADDRESS), None);
}
