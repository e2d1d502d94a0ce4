//! Names of IPv6 addresses (RFC 3596, 2.5): one label for each four bits, the last ones first, under `ip6.arpa`.

use std::ops::RangeInclusive;

use podzol_vocab::Prefix64;

use crate::name::Name;

/// How many labels an address has.
pub(crate) const WHOLE: usize = 32;

/// How many labels the zone of a network's addresses has: a prefix is of 64 bits.
const ZONE: usize = 16;

/// A name in `ip6.arpa`, read as the addresses it covers.
pub(crate) struct Reverse6 {
    first: u128,
    /// How many labels of addresses it has.
    pub(crate) count: usize,
    /// Whether there are labels before them that are none.
    pub(crate) more: bool,
    /// Where the name of a network's zone begins in this name, if it is one of that or longer.
    zone: Option<usize>,
}

impl Reverse6 {
    /// Reads a name; `None` if it is none of an IPv6 address or range.
    pub(crate) fn read(name: &Name) -> Option<Self> {
        let mut labels = name.labels_from_end();
        let (Some((_, b"arpa")), Some((_, b"ip6"))) = (labels.next(), labels.next()) else { return None };
        let mut reverse = Self { first: 0, count: 0, more: false, zone: None };
        for (start, label) in labels {
            let Some(digit) = digit(label).filter(|_| reverse.count < WHOLE) else {
                reverse.more = true;
                break;
            };
            reverse.count += 1;
            reverse.first |= digit << (4 * (WHOLE - reverse.count));
            if reverse.count == ZONE {
                reverse.zone = Some(start);
            }
        }
        Some(reverse)
    }

    /// The addresses under it.
    pub(crate) fn range(&self) -> RangeInclusive<u128> {
        self.first..=self.first | u128::MAX.checked_shr(4 * self.count as u32).unwrap_or(0)
    }

    /// Where in the name the name of the zone begins that serves a network's addresses and this name, if it does.
    pub(crate) fn apex_in(&self, prefix: Prefix64) -> Option<usize> {
        let network = prefix.net().network().to_bits();
        self.zone.filter(|_| self.first >> 64 == network >> 64)
    }
}

/// A hexadecimal digit. Names are in lower case here.
fn digit(label: &[u8]) -> Option<u128> {
    let [digit] = label else { return None };
    char::from(*digit).to_digit(16).map(u128::from)
}
