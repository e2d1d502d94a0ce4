//! Names that the world has no answer for, or must not be asked about (RFC 6761, RFC 6303): answered here, so that what
//! customers call their private things does not leak.
//!
//! The list of reverse zones is RFC 6303's, with RFC 7793's.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;

use crate::local::{Found, Local, Soa};
use crate::name::Name;
use crate::reverse::Reverse;
use crate::wire::kind;

/// Last labels under which there is nothing: RFC 6761, 7686 (onion), 6762 (local), 9476 (alt), and `internal`, which
/// ICANN keeps for private use since 2024.
const NOTHING: [&[u8]; 6] = [b"invalid", b"test", b"onion", b"local", b"internal", b"alt"];

/// Names in `arpa` under which there is nothing, as they are in packets: RFC 8375 and 9462, and RFC 6303's of IPv6 but
/// for the two single addresses.
const ARPA: [&[u8]; 8] = [
    b"\x04home\x04arpa\x00",
    b"\x08resolver\x04arpa\x00",
    b"\x01d\x01f\x03ip6\x04arpa\x00",
    b"\x018\x01e\x01f\x03ip6\x04arpa\x00",
    b"\x019\x01e\x01f\x03ip6\x04arpa\x00",
    b"\x01a\x01e\x01f\x03ip6\x04arpa\x00",
    b"\x01b\x01e\x01f\x03ip6\x04arpa\x00",
    b"\x018\x01b\x01d\x010\x011\x010\x010\x012\x03ip6\x04arpa\x00",
];

/// The IPv6 addresses `::` and `::1`: 31 zeros are between these and `ip6.arpa`.
const SINGLE: [&[u8]; 2] = [b"\x010", b"\x011"];

/// Ranges whose addresses have no names for the world.
const PRIVATE: [([u8; 4], u8); 10] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 2, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
];

const SOA: Soa<'static> = Soa {
    server: b"\x09localhost\x00",
    mailbox: b"\x06nobody\x07invalid\x00",
    serial: 1,
    // A name of a VM or a network may come to be below. RFC 6303 has three hours, for zones that stay empty.
    negative_ttl: 10,
};

/// The answer to a name that must not leak; `None` for all others. Whether there is something below an empty zone's
/// name is the caller's to say.
pub(crate) fn find(name: &Name, asked: u16, has_below: impl FnOnce() -> bool) -> Option<Local<'static>> {
    let (start, last) = name.labels_from_end().next()?;
    if last == b"localhost" {
        return Some(Local { apex: start, soa: SOA, found: localhost(asked) });
    }
    let apex = match last {
        b"arpa" => arpa(name)?,
        _ => NOTHING.contains(&last).then_some(start)?,
    };
    let found = match (apex, asked) {
        (0, kind::SOA) => Found::Soa,
        (0, kind::NS) => Found::Ns,
        (0, kind::ANY) => Found::Any,
        (0, _) => Found::NoData,
        _ if has_below() => Found::NoData,
        _ => Found::NoName,
    };
    Some(Local { apex, soa: SOA, found })
}

/// The loopback addresses for it and all below (RFC 6761, 6.3).
fn localhost(asked: u16) -> Found<'static> {
    match asked {
        kind::A => Found::A(&[Ipv4Addr::LOCALHOST]),
        kind::AAAA => Found::Aaaa(&[Ipv6Addr::LOCALHOST]),
        kind::ANY => Found::Any,
        _ => Found::NoData,
    }
}

/// Where the empty zone in `arpa` begins that a name is in.
fn arpa(name: &Name) -> Option<usize> {
    if let Some(reverse) = Reverse::read(name) {
        let range = PRIVATE.iter().find_map(|(first, length)| {
            let range = Ipv4Net::new((*first).into(), *length).ok()?;
            range.contains(&reverse.first()).then_some(range)
        });
        if reverse.range() == (u32::MAX..=u32::MAX) {
            return Some(reverse.start(4));
        }
        let octets = usize::from(range?.prefix_len().div_ceil(8));
        return (reverse.count >= octets).then(|| reverse.start(octets));
    }
    let within = |(start, suffix): (usize, &[u8])| {
        let single = suffix.len() == 74
            && SINGLE.contains(&&suffix[..2])
            && suffix[2..64].chunks(2).all(|label| label == b"\x010")
            && suffix.ends_with(b"\x03ip6\x04arpa\x00");
        (single || ARPA.contains(&suffix)).then_some(start)
    };
    name.suffixes().find_map(within)
}
