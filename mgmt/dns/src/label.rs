//! The label that stands for an address below the console domain, in two forms.
//!
//! - **Written**: the address with hyphens for dots and colons: `192-0-2-7`, `2001-db8--1`. An IPv6 address is as RFC 5952
//!   writes it, with zeros where that would not be a host name or would look like one of another kind: `0--1` for `::1`,
//!   `2001-db8--0` for `2001:db8::`, `00fd--1` for `fd::1`, since hyphens in the third and fourth place are for encodings
//!   of other scripts (RFC 5890, 2.3.1).
//! - **Opaque**: `c-` and 26 letters and digits, made from the address by a key. It reveals nothing of the address, and
//!   without the key nobody can make one.
//!
//! No label is of both forms: after `c-`, an opaque one has no hyphen any more, and an address has at least one.
//!
//! # Design notes
//! - There is no way back from a label to an address. The server knows the labels of all addresses that it answers for,
//!   so that a label which is spelled otherwise is simply none of them.
//! - 128 bits of the HMAC are left: enough that no two addresses meet and none is guessed, and short enough to read.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use data_encoding::BASE32_DNSSEC;
use podzol_vocab::{Name, Secret};
use ring::hmac;

/// What opaque labels are made with.
pub(crate) struct LabelKey(hmac::Key);

/// How much of an HMAC stands in a label, in bytes.
const TAG: usize = 16;

impl LabelKey {
    pub(crate) fn new(key: &Secret<[u8; 32]>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    /// The opaque label of an address.
    pub(crate) fn label(&self, address: IpAddr) -> Name {
        let tag = match address {
            IpAddr::V4(address) => hmac::sign(&self.0, &address.octets()),
            IpAddr::V6(address) => hmac::sign(&self.0, &address.octets()),
        };
        named(format_args!("c-{}", BASE32_DNSSEC.encode(&tag.as_ref()[..TAG])))
    }
}

/// The label that an address is written as.
pub(crate) fn written(address: IpAddr) -> Name {
    match address {
        IpAddr::V4(address) => written_v4(address),
        IpAddr::V6(address) => written_v6(address),
    }
}

fn written_v4(address: Ipv4Addr) -> Name {
    let [a, b, c, d] = address.octets();
    named(format_args!("{a}-{b}-{c}-{d}"))
}

fn written_v6(address: Ipv6Addr) -> Name {
    let groups = address.segments();
    let zeros = longest_zeros(&groups);
    let hyphenated = |groups: &[u16]| {
        let groups: Vec<String> = groups.iter().map(|group| format!("{group:x}")).collect();
        groups.join("-")
    };
    if zeros.is_empty() {
        return named(format_args!("{}", hyphenated(&groups)));
    }
    let (mut before, mut after) = (hyphenated(&groups[..zeros.start]), hyphenated(&groups[zeros.end..]));
    if before.is_empty() {
        before.push('0');
    }
    if before.len() == 2 {
        before.insert_str(0, "00");
    }
    if after.is_empty() {
        after.push('0');
    }
    named(format_args!("{before}--{after}"))
}

/// The first of the longest runs of two or more zeros, which `::` stands for (RFC 5952, 4.2).
fn longest_zeros(groups: &[u16; 8]) -> std::ops::Range<usize> {
    let mut longest = 0..0;
    let mut start = 0;
    for (place, group) in groups.iter().enumerate() {
        if *group != 0 {
            start = place + 1;
        } else if place + 1 - start > longest.len().max(1) {
            longest = start..place + 1;
        }
    }
    longest
}

fn named(text: fmt::Arguments<'_>) -> Name {
    text.to_string().parse().expect("digits, letters and hyphens, none at an end, and at most 39 of them")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// The address that a written label means, as any reader would take it.
    fn read(label: &str) -> IpAddr {
        let dotted = label.replace('-', ".").parse::<Ipv4Addr>();
        dotted.map_or_else(|_| label.replace('-', ":").parse::<Ipv6Addr>().unwrap().into(), IpAddr::from)
    }

    fn check(address: &str, label: &str) {
        let address = address.parse().unwrap();
        assert_eq!(written(address).as_str(), label);
        assert_eq!(read(label), address);
    }

    /// Many addresses, with zeros and short groups in all places.
    fn addresses() -> BTreeSet<IpAddr> {
        let mut random = StdRng::seed_from_u64(2181);
        let mut group = |kind: u8| match kind % 4 {
            0 | 1 => 0,
            2 => random.random_range(0..=0x1ff),
            _ => random.random(),
        };
        let mut kinds = StdRng::seed_from_u64(1035);
        let v6 = std::iter::repeat_with(|| {
            let kinds: [u8; 8] = kinds.random();
            IpAddr::from(Ipv6Addr::from(kinds.map(&mut group)))
        });
        let mut bits = StdRng::seed_from_u64(1034);
        let v4 = std::iter::repeat_with(|| IpAddr::from(Ipv4Addr::from(bits.random::<u32>())));
        v6.take(20_000).chain(v4.take(5_000)).collect()
    }

    #[test]
    fn an_address_is_written_with_hyphens() {
        check("192.0.2.7", "192-0-2-7");
        check("0.0.0.0", "0-0-0-0");
        check("255.255.255.255", "255-255-255-255");
        check("2001:db8::1", "2001-db8--1");
        check("2001:db8:1:2:3:4:5:6", "2001-db8-1-2-3-4-5-6");
        check("2001:db8:0:1:1:1:1:1", "2001-db8-0-1-1-1-1-1");
        check("2001:0:0:1::1", "2001-0-0-1--1");
        check("2001:db8::1:0:0:1", "2001-db8--1-0-0-1");
    }

    #[test]
    fn a_label_neither_begins_nor_ends_with_a_hyphen_nor_looks_encoded() {
        check("::", "0--0");
        check("::1", "0--1");
        check("2001:db8::", "2001-db8--0");
        check("fd::1", "00fd--1");
        check("fd0::1", "fd0--1");
        check("f::1", "f--1");
        check("::c000:207", "0--c000-207");
    }

    #[test]
    fn what_is_written_can_be_read_by_anybody() {
        for address in addresses() {
            let label = written(address);
            assert_eq!(read(label.as_str()), address, "{label}");
            assert_ne!(label.as_str().get(2..4), Some("--"), "{label}");
        }
    }

    #[test]
    fn no_two_addresses_and_no_two_keys_have_a_label_in_common() {
        let keys = [7, 8].map(|byte| LabelKey::new(&Secret::new([byte; 32])));
        let addresses = addresses();
        let labels: BTreeSet<Name> = addresses
            .iter()
            .flat_map(|address| [written(*address), keys[0].label(*address), keys[1].label(*address)])
            .collect();
        assert_eq!(labels.len(), 3 * addresses.len());
    }

    /// Links that were given out go on: a change of this form would break them.
    #[test]
    fn the_opaque_form_stays_as_it_is() {
        let label = LabelKey::new(&Secret::new([7; 32])).label(IpAddr::from([192, 0, 2, 7]));
        assert_eq!(label.as_str(), "c-sg8u91d60breakr08i1tq49vb4");
    }
}
