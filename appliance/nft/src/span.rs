//! Ranges of addresses and ports, written as nft(8) lists them.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Numbers from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl Span {
    pub(crate) const fn new(first: u32, last: u32) -> Self {
        Self { first, last }
    }

    pub(crate) fn of(net: Ipv4Net) -> Self {
        Self::new(net.network().to_bits(), net.broadcast().to_bits())
    }

    /// What is in both.
    pub(crate) fn and(self, other: Self) -> Option<Self> {
        let both = Self::new(self.first.max(other.first), self.last.min(other.last));
        (both.first <= both.last).then_some(both)
    }

    /// What is in this one only: nothing, one range or two.
    pub(crate) fn without(self, other: Self) -> impl Iterator<Item = Self> {
        let Some(both) = self.and(other) else { return [Some(self), None].into_iter().flatten() };
        let before = (self.first < both.first).then(|| Self::new(self.first, both.first - 1));
        let after = (both.last < self.last).then(|| Self::new(both.last + 1, self.last));
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

/// A range of ports.
pub(crate) struct Ports(pub(crate) Span);

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span { first, last } = self.0;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

/// A range of addresses: an address, a prefix if it is one, or else the first and the last.
pub(crate) struct Addresses(pub(crate) Span);

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span { first, last } = self.0;
        let address = Ipv4Addr::from_bits(first);
        // The bits in which the two differ are the host bits of a prefix if they are the lowest and all of them.
        let host = first ^ last;
        match host.count_ones() {
            0 => write!(f, "{address}"),
            bits if host.trailing_ones() == bits && first & host == 0 => write!(f, "{address}/{}", 32 - bits),
            _ => write!(f, "{address}-{}", Ipv4Addr::from_bits(last)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_nft_lists_them() {
        let written = |first: [u8; 4], last: [u8; 4]| {
            Addresses(Span::new(u32::from_be_bytes(first), u32::from_be_bytes(last))).to_string()
        };
        assert_eq!(written([10, 0, 0, 1], [10, 0, 0, 1]), "10.0.0.1");
        assert_eq!(written([0, 0, 0, 0], [255, 255, 255, 255]), "0.0.0.0/0");
        assert_eq!(written([10, 0, 0, 0], [10, 3, 255, 255]), "10.0.0.0/14");
        assert_eq!(written([10, 0, 0, 1], [10, 0, 0, 2]), "10.0.0.1-10.0.0.2");
        assert_eq!(written([10, 0, 0, 0], [10, 0, 0, 2]), "10.0.0.0-10.0.0.2");
    }

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
        assert_eq!(Span::new(0, 9).without(Span::new(0, 9)).count(), 0);
        assert_eq!(Span::new(0, 9).without(Span::new(10, 19)).count(), 1);
    }
}
