//! Where replies go (RFC 2131, 4.1), and packets that come through a relay.

use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;
use podzol_appliance_dhcp::Destination;

use crate::packet::{DISCOVER, INFORM, Packet, REQUEST, decoded, kind, value};
use crate::world::{
    ADDRESS, FIRST, GATEWAY, NOBODY, RELAY, SECOND_ADDRESS, SECOND_GATEWAY, WEB, WEB_SECOND, answer, mac,
    reply, reply_of, table,
};

#[test]
fn a_client_without_an_address_gets_a_frame_to_its_mac_address() {
    let offer = reply(&Packet::new(DISCOVER));
    assert_eq!(offer.to, Destination::Client { mac: mac(WEB), address: ADDRESS });
    assert_eq!(offer.to.port(), 68);
}

#[test]
fn a_client_that_wants_a_broadcast_gets_one() {
    let offer = reply(&Packet::new(DISCOVER).broadcast());
    assert_eq!(offer.to, Destination::Broadcast);
    assert!(decoded(&offer).flags().broadcast());
}

#[test]
fn a_client_that_has_its_address_gets_it_there_whatever_the_flag_says() {
    assert_eq!(reply(&Packet::new(REQUEST).ciaddr(ADDRESS).broadcast()).to, Destination::Address(ADDRESS));
}

#[test]
fn an_offer_never_goes_to_an_address_that_the_sender_made_up() {
    let offer = reply(&Packet::new(DISCOVER).ciaddr(Ipv4Addr::new(192, 0, 2, 1)));
    assert_eq!(offer.to, Destination::Client { mac: mac(WEB), address: ADDRESS });
}

#[test]
fn a_refusal_is_broadcast() {
    assert_eq!(reply(&Packet::new(REQUEST).ciaddr(GATEWAY)).to, Destination::Broadcast);
    assert_eq!(reply(&Packet::new(REQUEST).requested(GATEWAY)).to, Destination::Broadcast);
}

#[test]
fn a_relayed_packet_is_looked_up_by_the_relays_network_and_answered_to_the_relay() {
    let packet = Packet::new(DISCOVER).from(WEB_SECOND).giaddr(RELAY).bytes();
    let offer = reply_of(table().answer(FIRST, &packet, RELAY));
    let message = decoded(&offer);
    assert_eq!(offer.to, Destination::Relay(RELAY));
    assert_eq!(offer.to.port(), 67);
    assert_eq!((message.yiaddr(), message.giaddr()), (SECOND_ADDRESS, RELAY));
    assert_eq!(value(&offer, 54).unwrap(), SECOND_GATEWAY.octets());
    assert_eq!(table().sender(FIRST, &packet), Some(mac(WEB_SECOND)));
}

#[test]
fn a_packet_comes_from_the_link_s_network_or_from_the_relay_that_it_names() {
    let (table, direct) = (table(), Packet::new(DISCOVER).bytes());
    let relayed = Packet::new(DISCOVER).from(WEB_SECOND).giaddr(RELAY).bytes();
    let elsewhere = Ipv4Addr::new(192, 0, 2, 1);
    for (source, packet, expected) in [
        (NOBODY, &direct, true),
        (ADDRESS, &direct, true),
        (SECOND_ADDRESS, &direct, false),
        (ADDRESS, &relayed, true),
        (RELAY, &relayed, true),
        (SECOND_ADDRESS, &relayed, false),
        (elsewhere, &relayed, false),
    ] {
        assert_eq!(table.is_source(FIRST, source, packet), expected, "{source}");
    }
    // Who names itself as a relay that is in none of the networks is not answered.
    let stranger = Packet::new(DISCOVER).giaddr(elsewhere).bytes();
    assert!(table.sender(FIRST, &stranger).is_none());
}

#[test]
fn a_relayed_packet_of_a_client_of_the_link_alone_is_not_answered() {
    assert_eq!(answer(&Packet::new(DISCOVER).giaddr(RELAY)), None);
}

#[test]
fn a_relayed_refusal_goes_to_the_relay_and_says_to_broadcast_it() {
    let packet = Packet::new(REQUEST).from(WEB_SECOND).giaddr(RELAY).requested(ADDRESS);
    let nak = reply(&packet);
    assert_eq!((kind(&nak), nak.to), (MessageType::Nak, Destination::Relay(RELAY)));
    assert!(decoded(&nak).flags().broadcast());
    assert!(!decoded(&reply(&packet.ciaddr(SECOND_ADDRESS))).flags().broadcast());
}

#[test]
fn a_relayed_inform_is_answered_to_the_relay() {
    let inform = Packet::new(INFORM).from(WEB_SECOND).giaddr(RELAY).ciaddr(SECOND_ADDRESS);
    assert_eq!(reply(&inform).to, Destination::Relay(RELAY));
}

#[test]
fn a_relay_outside_the_networks_or_with_the_gateways_address_is_not_answered() {
    for relay in [Ipv4Addr::new(192, 0, 2, 1), GATEWAY, Ipv4Addr::new(10, 1, 1, 255), Ipv4Addr::BROADCAST] {
        assert_eq!(answer(&Packet::new(DISCOVER).giaddr(relay)), None, "{relay}");
    }
}

#[test]
fn a_packet_that_went_through_17_relays_is_not_answered() {
    let through = |relays: u8| Packet::new(DISCOVER).at(3, &[relays]).bytes();
    assert!(table().answer(FIRST, &through(16), NOBODY).is_some());
    assert_eq!(table().answer(FIRST, &through(17), NOBODY), None);
}
