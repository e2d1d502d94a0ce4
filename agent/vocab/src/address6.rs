//! IPv6: prefixes of networks, ranges of either family, and the addresses that MAC addresses make.
//!
//! # Design notes
//! - An interface's address is its network's prefix and the modified EUI-64 of its MAC address (RFC 4291, appendix A): whoever
//!   knows both knows the address, and nobody has to keep or allocate one. It has `ff:fe` in its middle, so it never is the
//!   router's, which is the first of the prefix.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use ipnet::Ipv6Net;

use crate::{Invalid, Ipv4Range, MacAddr, string_form};

/// The address that a network's router has on its link, whichever router that is: VMs know their way out by it. No MAC address
/// makes it.
pub const LINK_GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// `fe80::/64`, the only part of the link-local addresses that hosts use (RFC 4291, 2.5.6).
const LINK_LOCAL: u128 = 0xfe80 << 112;

impl MacAddr {
    /// The link-local address of an interface with it.
    pub fn link_local(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(LINK_LOCAL | u128::from(self.interface_id()))
    }

    /// Whose link-local address this is, if it is one that [`MacAddr::link_local`] makes.
    pub fn of_link_local(address: Ipv6Addr) -> Option<Self> {
        let mac = Self::of_interface_id(address)?;
        (mac.link_local() == address).then_some(mac)
    }

    fn interface_id(self) -> u64 {
        let [a, b, c, d, e, f] = self.octets();
        u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
    }

    fn of_interface_id(address: Ipv6Addr) -> Option<Self> {
        let [.., a, b, c, 0xff, 0xfe, d, e, f] = address.octets() else { return None };
        Self::unicast([a ^ 2, b, c, d, e, f])
    }
}

/// The IPv6 prefix of a network, written `2001:db8:64:10::/64`: always of 64 bits, and global or unique local.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix64(Ipv6Net);

impl Prefix64 {
    /// The router's address: the first after the prefix's own.
    pub fn gateway(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.0.addr().to_bits() | 1)
    }

    /// The address of an interface with this MAC address.
    pub fn of(self, mac: MacAddr) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.0.addr().to_bits() | u128::from(mac.interface_id()))
    }

    /// Whether this is the address of an interface with some MAC address.
    pub fn is_vm_address(self, address: Ipv6Addr) -> bool {
        MacAddr::of_interface_id(address).is_some_and(|mac| self.of(mac) == address)
    }

    /// The same prefix as a network of any length.
    pub const fn net(self) -> Ipv6Net {
        self.0
    }
}

impl fmt::Display for Prefix64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Prefix64 {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let rule = || Invalid::new("must be an IPv6 prefix such as 2001:db8:64:10::/64");
        let net = text.parse::<Ipv6Net>().ok().filter(|net| net.prefix_len() == 64).ok_or_else(rule)?;
        let Ipv6Range(net) = Ipv6Range::of(net)?;
        // Global unicast (RFC 4291, 2.4, as assigned) or unique local (RFC 4193, 3.1).
        let first = net.addr().octets()[0];
        if first & 0xe0 == 0x20 || first & 0xfe == 0xfc {
            Ok(Self(net))
        } else {
            Err(Invalid::new("must be a prefix of global or unique local addresses"))
        }
    }
}

string_form!(Prefix64, "2001:db8:64:10::/64");

/// An IPv6 range of any length, written `2001:db8::/32`, `::/0` for all addresses, or `2001:db8::7` for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv6Range(Ipv6Net);

impl Ipv6Range {
    /// All addresses.
    pub const ALL: Self = Self(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0));

    /// The same range as a network.
    pub const fn net(&self) -> Ipv6Net {
        self.0
    }

    fn of(net: Ipv6Net) -> Result<Self, Invalid> {
        if net.trunc() == net {
            Ok(Self(net))
        } else {
            Err(Invalid::new(format!("must be a network address; did you mean {}?", net.trunc())))
        }
    }
}

impl From<Prefix64> for Ipv6Range {
    fn from(prefix: Prefix64) -> Self {
        Self(prefix.0)
    }
}

impl fmt::Display for Ipv6Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Ipv6Range {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let one = || text.parse::<Ipv6Addr>().ok().map(Ipv6Net::from);
        let net = text.parse().ok().or_else(one).ok_or_else(|| {
            Invalid::new("must be an IPv6 range such as 2001:db8::/32, or an address such as 2001:db8::7")
        })?;
        Self::of(net)
    }
}

string_form!(Ipv6Range, "2001:db8::/32");

/// A range of addresses of either family, written as the family writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpRange {
    /// Of IPv4 addresses.
    V4(Ipv4Range),
    /// Of IPv6 addresses.
    V6(Ipv6Range),
}

impl From<Ipv4Range> for IpRange {
    fn from(range: Ipv4Range) -> Self {
        Self::V4(range)
    }
}

impl From<Ipv6Range> for IpRange {
    fn from(range: Ipv6Range) -> Self {
        Self::V6(range)
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(range) => range.fmt(f),
            Self::V6(range) => range.fmt(f),
        }
    }
}

impl FromStr for IpRange {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.contains(':') { text.parse().map(Self::V6) } else { text.parse().map(Self::V4) }
    }
}

string_form!(IpRange, "192.0.2.0/24");

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(text: &str) -> MacAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_mac_address_makes_a_link_local_address_and_is_read_from_it() {
        for (text, address) in
            [("02:00:5e:10:00:01", "fe80::5eff:fe10:1"), ("52:54:00:12:34:56", "fe80::5054:ff:fe12:3456")]
        {
            assert_eq!(mac(text).link_local().to_string(), address);
            assert_eq!(MacAddr::of_link_local(address.parse().unwrap()), Some(mac(text)));
        }
        // Routers', of another /64, global, of a group of hosts, and of a MAC address that is none.
        assert_eq!(MacAddr::of_link_local(LINK_GATEWAY), None);
        for address in ["fe80:0:0:1::5eff:fe10:1", "2001:db8::5eff:fe10:1", "fe80::300:5eff:fe10:1", "::"] {
            assert_eq!(MacAddr::of_link_local(address.parse().unwrap()), None, "{address}");
        }
        assert_eq!(MacAddr::of_link_local("fe80::200:ff:fe00:0".parse().unwrap()), None);
    }

    #[test]
    fn a_prefix_and_a_mac_address_make_an_address_that_is_not_the_routers() {
        let prefix: Prefix64 = "2001:db8:64:10::/64".parse().unwrap();
        assert_eq!(prefix.to_string(), "2001:db8:64:10::/64");
        assert_eq!(prefix.gateway().to_string(), "2001:db8:64:10::1");
        let address = prefix.of(mac("02:00:5e:10:00:01"));
        assert_eq!(address.to_string(), "2001:db8:64:10:0:5eff:fe10:1");
        assert!(prefix.is_vm_address(address));
        for other in [prefix.gateway(), mac("02:00:5e:10:00:01").link_local(), prefix.net().addr()] {
            assert!(!prefix.is_vm_address(other), "{other}");
        }
    }

    #[test]
    fn a_prefix_is_of_64_bits_and_of_addresses_that_hosts_have() {
        assert!("fd12:3456:789a:1::/64".parse::<Prefix64>().is_ok());
        for (text, says) in [
            ("2001:db8::/63", "such as"),
            ("2001:db8::", "such as"),
            ("10.1.1.0/24", "such as"),
            ("2001:db8::1/64", "did you mean 2001:db8::/64?"),
            ("fe80::/64", "global or unique local"),
            ("ff02::/64", "global or unique local"),
            ("::/64", "global or unique local"),
        ] {
            let error = text.parse::<Prefix64>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_range_is_of_the_family_that_it_is_written_in() {
        for text in ["192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "::/0", "2001:db8::7/128"] {
            let range: IpRange = text.parse().unwrap();
            assert_eq!(
                (range.to_string().as_str(), matches!(range, IpRange::V6(_))),
                (text, text.contains(':'))
            );
            let json = serde_json::to_string(&range).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<IpRange>(&json).unwrap(), range);
        }
        assert_eq!("2001:db8::7".parse::<IpRange>().unwrap().to_string(), "2001:db8::7/128");
        for (text, says) in [
            ("2001:db8::1/32", "did you mean 2001:db8::/32?"),
            ("192.0.2.1/24", "did you mean 192.0.2.0/24?"),
            ("2001:db8::/129", "an IPv6 range"),
            ("everywhere", "an IPv4 range"),
        ] {
            let error = text.parse::<IpRange>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
