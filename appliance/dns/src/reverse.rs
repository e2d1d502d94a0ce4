//! Names of addresses (RFC 1035, 3.5): `5.1.1.10.in-addr.arpa` is 10.1.1.5.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;

use crate::name::Name;

/// A name in `in-addr.arpa`, read as the addresses it covers.
pub(crate) struct Reverse {
    octets: [u8; 4],
    /// How many octets it has.
    pub(crate) count: usize,
    /// Whether there are labels before them that are no octet.
    pub(crate) more: bool,
    /// Where the name with so many octets begins in this name; the first is `in-addr.arpa`.
    starts: [usize; 5],
}

impl Reverse {
    /// Reads a name; `None` if it is none of an IPv4 address or range.
    pub(crate) fn read(name: &Name) -> Option<Self> {
        let mut labels = name.labels_from_end();
        if labels.next()?.1 != b"arpa" {
            return None;
        }
        let (start, b"in-addr") = labels.next()? else { return None };
        let mut reverse = Self { octets: [0; 4], count: 0, more: false, starts: [start; 5] };
        for (start, label) in labels {
            let Some(octet) = octet(label).filter(|_| reverse.count < 4) else {
                reverse.more = true;
                break;
            };
            reverse.octets[reverse.count] = octet;
            reverse.count += 1;
            reverse.starts[reverse.count] = start;
        }
        Some(reverse)
    }

    /// The addresses under it.
    pub(crate) fn range(&self) -> RangeInclusive<u32> {
        let first = u32::from_be_bytes(self.octets);
        first..=first | u32::MAX.checked_shr(8 * self.count as u32).unwrap_or(0)
    }

    /// The first address under it.
    pub(crate) fn first(&self) -> Ipv4Addr {
        self.octets.into()
    }

    /// Where in the name the name of the zone begins that serves a network's addresses and this name, if one does.
    ///
    /// Zones end at octets. A network of a /20 has sixteen zones of three octets each. One smaller than a /24 shares
    /// the zone of three octets with its neighbours.
    pub(crate) fn apex_in(&self, network: Ipv4Net) -> Option<usize> {
        let octets = usize::from(network.prefix_len().div_ceil(8).min(3));
        let inside = if self.count < 4 {
            let zone = Ipv4Net::new(network.network(), network.prefix_len().min(24)).ok()?.trunc();
            zone.contains(&self.first())
        } else {
            network.contains(&self.first())
        };
        (inside && self.count >= octets).then(|| self.starts[octets])
    }

    /// Where the name of its first octets begins.
    pub(crate) fn start(&self, octets: usize) -> usize {
        self.starts[octets]
    }
}

/// Decimal without a zero in front, for each address has one name.
fn octet(label: &[u8]) -> Option<u8> {
    let digits = label.iter().all(u8::is_ascii_digit) && (label[0] != b'0' || label.len() == 1);
    if digits { std::str::from_utf8(label).ok()?.parse().ok() } else { None }
}
