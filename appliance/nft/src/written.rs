//! Ranges of addresses and ports, written as nft(8) lists them.

use std::fmt;

use podzol_appliance_pieces::{Number, Span};

/// A range of ports.
pub(crate) struct Ports(pub(crate) Span);

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span { first, last } = self.0;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

/// A range of addresses: an address, a prefix if it is one, or else the first and the last.
pub(crate) struct Addresses<N>(pub(crate) Span<N>);

impl<N: Number> fmt::Display for Addresses<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span { first, last } = self.0;
        match first.prefix_to(last) {
            _ if first == last => write!(f, "{}", first.address()),
            Some(length) => write!(f, "{}/{length}", first.address()),
            None => write!(f, "{}-{}", first.address(), last.address()),
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
        let written = |first, last| {
            let bits = |text| u128::of_address(text).unwrap();
            Addresses(Span::new(bits(first), bits(last))).to_string()
        };
        assert_eq!(written("2001:db8::1", "2001:db8::1"), "2001:db8::1");
        assert_eq!(written("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "::/0");
        assert_eq!(written("2001:db8::", "2001:db8::ffff:ffff:ffff:ffff"), "2001:db8::/64");
        assert_eq!(written("2001:db8::1", "2001:db8::2"), "2001:db8::1-2001:db8::2");
    }
}
