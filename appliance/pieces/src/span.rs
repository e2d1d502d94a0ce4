//! Ranges of addresses and ports.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::{Add, Sub};

use ipnet::{Ipv4Net, Ipv6Net};

/// What ports and the addresses of a family are as numbers.
pub trait Number: Copy + Ord + fmt::Debug + From<u8> + Add<Output = Self> + Sub<Output = Self> {
    /// The address that it is.
    fn address(self) -> IpAddr;

    /// What it is as an address of its family.
    fn of_address(text: &str) -> Option<Self>;

    /// The length of the prefix that it and another are the first and the last address of, if there is one.
    fn prefix_to(self, last: Self) -> Option<u32>;
}

/// A prefix of a family's addresses.
pub trait Net: Copy + Ord + fmt::Debug + Default {
    /// Its addresses.
    type Number: Number;

    /// All of its addresses.
    fn span(self) -> Span<Self::Number>;

    /// The prefix that is an address alone.
    fn one(address: Self::Number) -> Self;

    /// The prefix of a length that an address is in; nothing if there is no such length.
    fn around(address: Self::Number, length: u8) -> Option<Self>;

    /// How many bits all of its addresses have in common.
    fn length(self) -> u8;

    /// Whether another is in it.
    fn holds(self, other: Self) -> bool;
}

macro_rules! family {
    ($number:ty, $address:ident, $net:ident) => {
        impl Number for $number {
            fn address(self) -> IpAddr {
                $address::from_bits(self).into()
            }

            fn of_address(text: &str) -> Option<Self> {
                text.parse::<$address>().ok().map($address::to_bits)
            }

            fn prefix_to(self, last: Self) -> Option<u32> {
                // The bits in which the two differ are the host bits of a prefix if they are the lowest and all of them.
                let host = self ^ last;
                let bits = host.count_ones();
                (host.trailing_ones() == bits && self & host == 0).then_some(Self::BITS - bits)
            }
        }

        impl Net for $net {
            type Number = $number;

            fn span(self) -> Span<$number> {
                Span::new(self.network().to_bits(), self.broadcast().to_bits())
            }

            fn one(address: $number) -> Self {
                $address::from_bits(address).into()
            }

            fn around(address: $number, length: u8) -> Option<Self> {
                Self::new($address::from_bits(address), length).ok().map(|net| net.trunc())
            }

            fn length(self) -> u8 {
                self.prefix_len()
            }

            fn holds(self, other: Self) -> bool {
                self.contains(&other)
            }
        }
    };
}

family!(u32, Ipv4Addr, Ipv4Net);
family!(u128, Ipv6Addr, Ipv6Net);

/// Numbers from one to another, both included: ports, or the addresses of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span<N = u32> {
    /// The first.
    pub first: N,
    /// The last, which is not before it.
    pub last: N,
}

impl<N> Span<N> {
    /// From one to another.
    pub const fn new(first: N, last: N) -> Self {
        Self { first, last }
    }
}

impl<N: Number> Span<N> {
    /// What is in both.
    pub fn and(self, other: Self) -> Option<Self> {
        let both = Self::new(self.first.max(other.first), self.last.min(other.last));
        (both.first <= both.last).then_some(both)
    }

    /// What is in this one only: nothing, one range or two.
    pub fn without(self, other: Self) -> impl Iterator<Item = Self> {
        let one = N::from(1);
        let Some(both) = self.and(other) else { return [Some(self), None].into_iter().flatten() };
        let before = (self.first < both.first).then(|| Self::new(self.first, both.first - one));
        let after = (both.last < self.last).then(|| Self::new(both.last + one, self.last));
        [before, after].into_iter().flatten()
    }
}

/// Makes ranges sorted and disjoint, with gaps between them.
pub(crate) fn merge(spans: &mut Vec<Span>) {
    spans.sort_unstable();
    spans.dedup_by(|next, span| {
        let touches = next.first <= span.last.saturating_add(1);
        if touches {
            span.last = span.last.max(next.last);
        }
        touches
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut spans =
            vec![Span::new(5, 6), Span::new(1, 2), Span::new(3, 3), Span::new(9, 20), Span::new(10, 11)];
        merge(&mut spans);
        assert_eq!(spans, [Span::new(1, 3), Span::new(5, 6), Span::new(9, 20)]);
    }

    #[test]
    fn a_range_without_its_middle_is_two() {
        let left: Vec<Span> = Span::new(0, 9).without(Span::new(3, 4)).collect();
        assert_eq!(left, [Span::new(0, 2), Span::new(5, 9)]);
        assert_eq!(Span::new(0_u32, 9).without(Span::new(0, 9)).count(), 0);
        assert_eq!(Span::new(0_u32, 9).without(Span::new(10, 19)).count(), 1);
    }
}
