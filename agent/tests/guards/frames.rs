//! Frames of IPv6, as bytes. Checksums are zero: bridges do not look at them.

use std::net::Ipv6Addr;
use std::ops::Range;

/// The first VM's link-local address.
pub(crate) const VM: &str = "fe80::5eff:fe10:1";
/// The first VM's address.
pub(crate) const VM6: &str = "2001:db8:64:10:0:5eff:fe10:1";
/// The second VM's address.
pub(crate) const SECOND: &str = "2001:db8:64:10:0:5eff:fe10:2";
pub(crate) const ALL_NODES: &str = "ff02::1";

/// The last byte of a MAC address: of the first VM, and of the router.
const FIRST: u8 = 1;
const ROUTER: u8 = 3;

const OPTIONS: u8 = 60;

/// Headers that stand before others, each with what is behind its first byte: options for all on the way, which are padding
/// (RFC 8200, 4.3), a routing header with nothing left to visit (4.4), authentication (RFC 4302, 2), and options.
pub(crate) const HEADERS: [(u8, &[u8]); 4] = [
    (0, &[0, 1, 4, 0, 0, 0, 0]),
    (43, &[0, 2, 0, 0, 0, 0, 0]),
    (51, &[2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
    (OPTIONS, &[0, 1, 4, 0, 0, 0, 0]),
];
const FRAGMENT: u8 = 44;

/// A packet, and whose frame it is in.
#[derive(Clone)]
pub(crate) struct Frame {
    sender: u8,
    source: Ipv6Addr,
    target: Ipv6Addr,
    /// What the payload begins with (RFC 8200, 4.1).
    next: u8,
    payload: Vec<u8>,
}

/// A packet of a protocol.
pub(crate) fn ip(source: &str, target: &str, next: u8, payload: &[u8]) -> Frame {
    let (source, target) = (source.parse().unwrap(), target.parse().unwrap());
    Frame { sender: FIRST, source, target, next, payload: payload.to_vec() }
}

pub(crate) fn udp(source: &str, target: &str, from: u16, to: u16) -> Frame {
    let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
    ip(source, target, 17, &[&ports[..], &[0, 16, 0, 0], &[0; 8]].concat())
}

pub(crate) fn icmp(source: &str, target: &str, kind: u8, rest: &[u8]) -> Frame {
    ip(source, target, 58, &[&[kind, 0, 0, 0, 0, 0, 0, 0], rest].concat())
}

/// A neighbour solicitation (RFC 4861, 4.3), to everybody.
pub(crate) fn solicits(source: &str, target: &str) -> Frame {
    icmp(source, ALL_NODES, 135, &address(target))
}

/// A neighbour advertisement (RFC 4861, 4.4), to everybody.
pub(crate) fn advertises(source: &str, target: &str) -> Frame {
    icmp(source, ALL_NODES, 136, &address(target))
}

fn address(text: &str) -> [u8; 16] {
    text.parse::<Ipv6Addr>().unwrap().octets()
}

impl Frame {
    pub(crate) fn of_router(self) -> Self {
        Self { sender: ROUTER, ..self }
    }

    /// With a header of destination options in front, all of it padding (RFC 8200, 4.6).
    pub(crate) fn behind_options(self) -> Self {
        self.behind(OPTIONS, &[0, 1, 4, 0, 0, 0, 0])
    }

    /// With a header of a kind in front, whose bytes behind its first one these are.
    pub(crate) fn behind(self, kind: u8, rest: &[u8]) -> Self {
        let payload = [&[self.next], rest, &self.payload[..]].concat();
        Self { next: kind, payload, ..self }
    }

    /// This part of the payload as a fragment with more behind it (RFC 8200, 4.5).
    pub(crate) fn fragment(self, part: Range<usize>) -> Self {
        let offset = u16::try_from(part.start).unwrap() | 1;
        let header = [&[self.next, 0][..], &offset.to_be_bytes(), &[0, 0, 0, 7]].concat();
        let payload = [&header[..], &self.payload[part]].concat();
        Self { next: FRAGMENT, payload, ..self }
    }

    /// The whole frame, to everybody.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = u16::try_from(self.payload.len()).unwrap().to_be_bytes();
        let header = [0x60, 0, 0, 0, length[0], length[1], self.next, 255];
        [
            &[0x33, 0x33, 0, 0, 0, 1, 0x02, 0, 0x5e, 0x10, 0, self.sender, 0x86, 0xdd],
            &header[..],
            &self.source.octets(),
            &self.target.octets(),
            &self.payload,
        ]
        .concat()
    }

    pub(crate) fn sender(&self) -> u8 {
        self.sender
    }
}
