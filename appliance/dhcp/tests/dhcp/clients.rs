//! Packets shaped like those of the clients that VMs run, from the first to the last of a start.

use dhcproto::v4::MessageType;
use podzol_appliance_dhcp::Destination;

use crate::packet::{DISCOVER, Packet, REQUEST, codes, decoded, kind, value};
use crate::world::{ADDRESS, GATEWAY, WEB, mac, reply};

/// Busybox 1.36: a client identifier of the MAC address, and a maximum of 576.
pub(crate) fn udhcpc(message: u8) -> Packet {
    let client_id = [&[1], &WEB[..]].concat();
    Packet::new(message)
        .option(61, &client_id)
        .option(57, &[2, 0x40])
        .option(55, &[1, 3, 6, 12, 15, 28, 42])
        .option(60, b"udhcp 1.36.1")
}

/// ISC dhclient 4.4 with Debian's configuration: a host name and no client identifier.
pub(crate) fn dhclient(message: u8) -> Packet {
    Packet::new(message)
        .option(12, b"localhost")
        .option(55, &[1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42])
        .at(8, &[0, 7])
}

/// systemd-networkd 252: a client identifier of a DUID, no padding.
pub(crate) fn networkd(message: u8) -> Packet {
    let duid = [0xff, 0x9f, 0x6e, 0x85, 0x24, 0, 2, 0, 0, 0xab, 0x11, 1, 2, 3, 4, 5, 6, 7, 8];
    let packet = Packet::new(message)
        .option(61, &duid)
        .option(55, &[1, 3, 6, 12, 15, 26, 33, 42, 119, 120, 121])
        .option(57, &[5, 0xc0])
        .option(12, b"localhost");
    Packet { shortest: 0, ..packet }
}

/// Windows 10: wants a broadcast, and asks for Microsoft's own route option too.
pub(crate) fn windows(message: u8) -> Packet {
    Packet::new(message)
        .option(61, &[&[1], &WEB[..]].concat())
        .option(12, b"DESKTOP")
        .option(60, b"MSFT 5.0")
        .option(55, &[1, 3, 6, 15, 31, 33, 43, 44, 46, 47, 119, 121, 249, 252])
        .broadcast()
}

fn gets_its_address(client: fn(u8) -> Packet, to: Destination) {
    let offer = reply(&client(DISCOVER));
    assert_eq!((kind(&offer), decoded(&offer).yiaddr()), (MessageType::Offer, ADDRESS));
    assert_eq!(offer.to, to);
    let ack = reply(&client(REQUEST).requested(ADDRESS).server(GATEWAY));
    assert_eq!((kind(&ack), decoded(&ack).yiaddr()), (MessageType::Ack, ADDRESS));
    assert_eq!(ack.to, to);
}

#[test]
fn every_client_gets_its_address() {
    let unicast = Destination::Client { mac: mac(WEB), address: ADDRESS };
    gets_its_address(udhcpc, unicast);
    gets_its_address(dhclient, unicast);
    gets_its_address(networkd, unicast);
    gets_its_address(windows, Destination::Broadcast);
}

#[test]
fn busybox_gets_these_bytes() {
    let offer = reply(&udhcpc(DISCOVER));
    let mut header = vec![2, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0];
    header.extend([0, 0, 0, 0, 10, 1, 1, 5, 0, 0, 0, 0, 0, 0, 0, 0]);
    header.extend(WEB);
    header.resize(236, 0);
    assert_eq!(offer.bytes[..236], header);
    let options: &[&[u8]] = &[
        &[99, 130, 83, 99],
        &[53, 1, 2],
        &[54, 4, 10, 1, 1, 1],
        &[51, 4, 0, 1, 0x51, 0x80],
        &[58, 4, 0, 0, 0xa8, 0xc0],
        &[59, 4, 0, 1, 0x27, 0x50],
        &[1, 4, 255, 255, 255, 0],
        &[26, 2, 5, 0xaa],
        &[3, 4, 10, 1, 1, 1],
        &[6, 4, 10, 1, 1, 1],
        &[12, 5],
        b"web-1",
        &[15, 22],
        b"net-1.example.internal",
        &[28, 4, 10, 1, 1, 255],
        &[61, 7, 1, 2, 0, 0x5e, 0, 0, 0x10],
        &[255],
    ];
    assert_eq!(offer.bytes[236..], options.concat());
}

#[test]
fn dhclient_and_networkd_get_what_they_ask_for_in_their_order() {
    let always = [53, 54, 51, 58, 59, 1, 26];
    let dhclient = codes(&reply(&dhclient(DISCOVER)));
    assert_eq!(dhclient, [&always[..], &[28, 3, 15, 6, 119, 12, 121]].concat());
    let networkd = codes(&reply(&networkd(DISCOVER)));
    assert_eq!(networkd, [&always[..], &[3, 6, 12, 15, 119, 121, 61]].concat());
}

#[test]
fn a_host_name_that_the_client_has_is_replaced_by_the_vms() {
    assert_eq!(value(&reply(&networkd(DISCOVER)), 12).unwrap(), b"web-1");
}
