//! Ethernet frames: with a UDP packet for a client that has no address yet, and so answers no ARP; and those that say where an
//! address is.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use podzol_appliance_ra::{ALL_NODES, HOP_LIMIT};

/// A MAC address, of one or of all.
pub(super) type Mac = [u8; 6];

/// The MAC address of all on a link.
pub(super) const ALL: Mac = [0xff; 6];

/// The frame (RFC 894, 791 and 768).
pub(super) fn udp(
    (from_mac, from): (Mac, SocketAddrV4),
    (to_mac, to): (Mac, SocketAddrV4),
    payload: &[u8],
) -> Vec<u8> {
    let udp_length = 8 + payload.len() as u16;
    let mut ip = [0; 20];
    ip[0] = 0x45;
    // Interactive network control: what DHCP servers use.
    ip[1] = 0x10;
    ip[2..4].copy_from_slice(&(20 + udp_length).to_be_bytes());
    // Do not fragment, so the identification may be zero (RFC 6864, 4.1).
    ip[6] = 0x40;
    ip[8] = 64;
    ip[9] = 17;
    ip[12..16].copy_from_slice(&from.ip().octets());
    ip[16..].copy_from_slice(&to.ip().octets());
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut udp = [0; 8];
    udp[..2].copy_from_slice(&from.port().to_be_bytes());
    udp[2..4].copy_from_slice(&to.port().to_be_bytes());
    udp[4..6].copy_from_slice(&udp_length.to_be_bytes());
    let sum = checksum(&[&pseudo_header(*from.ip(), *to.ip(), udp_length), &udp, payload]);
    // Zero stands for "no checksum".
    udp[6..].copy_from_slice(&(if sum == 0 { u16::MAX } else { sum }).to_be_bytes());
    let ethernet = [&to_mac[..], &from_mac, &[8, 0]].concat();
    [&ethernet, &ip[..], &udp, payload].concat()
}

/// The announcement of an address (RFC 5227, 3; RFC 826): a question for it that comes from itself.
pub(super) fn announcement(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    let ethernet = [&ALL[..], &mac, &[8, 6]].concat();
    let head = [0, 1, 8, 0, 6, 4, 0, 1];
    let address = address.octets();
    [&ethernet[..], &head, &mac, &address, &[0; 6], &address].concat()
}

/// The same for an address of IPv6: an advertisement that nobody asked for, of a router (R), which counts more than what was
/// known before (O) (RFC 4861, 4.4 and 7.2.6).
pub(super) fn announcement6(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    const LENGTH: u8 = 32;
    let (from, to) = (address.octets(), ALL_NODES.octets());
    // The group's MAC address (RFC 2464, 7).
    let ethernet = [&[0x33, 0x33], &to[12..], &mac, &[0x86, 0xdd]].concat();
    let ip = [&[0x60, 0, 0, 0, 0, LENGTH, ICMPV6, HOP_LIMIT][..], &from, &to].concat();
    let mut icmp = [&[136, 0, 0, 0, 0xa0, 0, 0, 0][..], &from, &[2, 1], &mac].concat();
    let pseudo_header = [&from[..], &to, &[0, 0, 0, LENGTH, 0, 0, 0, ICMPV6]].concat();
    let sum = checksum(&[&pseudo_header, &icmp]);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    [ethernet, ip, icmp].concat()
}

const ICMPV6: u8 = 58;

fn pseudo_header(from: Ipv4Addr, to: Ipv4Addr, length: u16) -> [u8; 12] {
    let mut header = [0; 12];
    header[..4].copy_from_slice(&from.octets());
    header[4..8].copy_from_slice(&to.octets());
    header[9] = 17;
    header[10..].copy_from_slice(&length.to_be_bytes());
    header
}

/// The Internet checksum (RFC 1071) of parts, of which all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_right_lengths_and_checksums() {
        let mac = |last| [2, 0, 0, 0, 0, last];
        let at = |last, port| SocketAddrV4::new(Ipv4Addr::new(10, 1, 1, last), port);
        for payload in [&b"odd"[..], b"even", b""] {
            let frame = udp((mac(1), at(1, 67)), (mac(2), at(7, 68)), payload);
            assert_eq!(frame.len(), 14 + 20 + 8 + payload.len());
            assert_eq!(frame[..14], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
            let (ip, udp) = frame[14..].split_at(20);
            assert_eq!(checksum(&[ip]), 0);
            let length = udp.len() as u16;
            assert_eq!(ip[2..4], (20 + length).to_be_bytes());
            assert_eq!(udp[4..6], length.to_be_bytes());
            assert_eq!(checksum(&[&pseudo_header(*at(1, 0).ip(), *at(7, 0).ip(), length), udp]), 0);
        }
    }

    #[test]
    fn an_announcement_of_an_address_of_ipv6_is_as_on_the_wire() {
        let frame = announcement6([2, 0, 0, 0, 1, 2], "fe80::1:3".parse().unwrap());
        let expected = "33 33 00 00 00 01 02 00 00 00 01 02 86 dd \
            60 00 00 00 00 20 3a ff fe 80 00 00 00 00 00 00 00 00 00 00 00 01 00 03 \
            ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 01 \
            88 00 00 00 a0 00 00 00 fe 80 00 00 00 00 00 00 00 00 00 00 00 01 00 03 02 01 02 00 00 00 01 02";
        let mut expected: Vec<u8> =
            expected.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        expected[56..58].copy_from_slice(&frame[56..58]);
        assert_eq!(frame, expected);
        let pseudo_header = [&frame[22..54], &[0, 0, 0, 32, 0, 0, 0, 58]].concat();
        assert_eq!(checksum(&[&pseudo_header, &frame[54..]]), 0);
    }
}
