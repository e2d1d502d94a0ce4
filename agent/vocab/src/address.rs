//! MAC addresses and the address ranges of networks.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::Ipv4Net;

use crate::{Invalid, string_form};

/// A unicast MAC address, written `02:00:5e:10:00:01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// A locally administered unicast address made of 46 of these bits (the two lowest bits of the first octet
    /// are fixed by IEEE 802-2014, 8.2).
    pub fn local(random: [u8; 6]) -> Self {
        let mut octets = random;
        octets[0] = (octets[0] & 0xfc) | 0x02;
        Self(octets)
    }

    /// These octets, if they are a unicast address.
    pub(crate) fn unicast(octets: [u8; 6]) -> Option<Self> {
        (octets[0] & 1 == 0 && octets != [0; 6]).then_some(Self(octets))
    }

    /// The six octets.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let rule = || Invalid::new("must be a unicast MAC address such as 02:00:5e:10:00:01");
        let mut octets = [0u8; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let two_digits =
                |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            let part = parts.next().filter(two_digits).ok_or_else(rule)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| rule())?;
        }
        if parts.next().is_some() {
            return Err(rule());
        }
        Self::unicast(octets).ok_or_else(rule)
    }
}

string_form!(MacAddr, "02:00:5e:10:00:01");

/// The IPv4 range of a network: a network address and a prefix length of 8 to 29, written `10.1.1.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(Ipv4Net);

impl Cidr {
    /// The gateway: the first address after the network address.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.0.network().to_bits() + 1)
    }

    /// The addresses that VMs may get, lowest first: all but the network, the gateway and the broadcast address.
    pub fn vm_addresses(&self) -> RangeInclusive<Ipv4Addr> {
        let first = self.0.network().to_bits() + 2;
        let last = self.0.broadcast().to_bits() - 1;
        Ipv4Addr::from_bits(first)..=Ipv4Addr::from_bits(last)
    }

    /// Whether a VM may have this address.
    pub fn is_vm_address(&self, address: Ipv4Addr) -> bool {
        let bits = address.to_bits();
        bits >= self.0.network().to_bits() + 2 && bits < self.0.broadcast().to_bits()
    }

    /// Whether two ranges have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.contains(&other.0) || other.0.contains(&self.0)
    }

    /// The same range as a network of any prefix length.
    pub const fn net(&self) -> Ipv4Net {
        self.0
    }

    /// The number of leading one bits in the netmask.
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cidr {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let net: Ipv4Net =
            text.parse().map_err(|_| Invalid::new("must be an IPv4 range such as 10.1.1.0/24"))?;
        if net.trunc() != net {
            return Err(Invalid::new(format!("must be a network address; did you mean {}?", net.trunc())));
        }
        if !(8..=29).contains(&net.prefix_len()) {
            return Err(Invalid::new("must have a prefix length from 8 to 29"));
        }
        // Multicast, reserved and broadcast addresses begin at 224.0.0.0 (RFC 1112, 4).
        if net.network().is_loopback() || net.network().octets()[0] >= 224 || net.network().octets()[0] == 0 {
            return Err(Invalid::new("must be a range of unicast addresses"));
        }
        Ok(Self(net))
    }
}

string_form!(Cidr, "10.1.1.0/24");

/// An IPv4 range of any length, written `192.0.2.0/24`, `0.0.0.0/0` for all addresses, or `192.0.2.7` for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv4Range(Ipv4Net);

impl Ipv4Range {
    /// All addresses.
    pub const ALL: Self = Self(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));

    /// The same range as a network.
    pub const fn net(&self) -> Ipv4Net {
        self.0
    }
}

impl From<Cidr> for Ipv4Range {
    fn from(cidr: Cidr) -> Self {
        Self(cidr.0)
    }
}

impl fmt::Display for Ipv4Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Ipv4Range {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let one = || text.parse::<Ipv4Addr>().ok().map(Ipv4Net::from);
        let net: Ipv4Net = text.parse().ok().or_else(one).ok_or_else(|| {
            Invalid::new("must be an IPv4 range such as 192.0.2.0/24, or an address such as 192.0.2.7")
        })?;
        if net.trunc() != net {
            return Err(Invalid::new(format!("must be a network address; did you mean {}?", net.trunc())));
        }
        Ok(Self(net))
    }
}

string_form!(Ipv4Range, "192.0.2.0/24");

/// Addresses from one to another, both ends included, written `203.0.113.10-203.0.113.99`, or `203.0.113.10` for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    first: Ipv4Addr,
    last: Ipv4Addr,
}

impl AddressRange {
    /// The first.
    pub const fn first(self) -> Ipv4Addr {
        self.first
    }

    /// The last.
    pub const fn last(self) -> Ipv4Addr {
        self.last
    }

    /// Whether an address is in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl FromStr for AddressRange {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let rule =
            || Invalid::new("must be addresses such as 203.0.113.10-203.0.113.99, the lower one first");
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range =
            Self { first: first.parse().map_err(|_| rule())?, last: last.parse().map_err(|_| rule())? };
        if range.first > range.last { Err(rule()) } else { Ok(range) }
    }
}

string_form!(AddressRange, "203.0.113.10-203.0.113.99");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_is_six_octets_and_unicast() {
        assert_eq!("02:00:5e:10:00:01".parse::<MacAddr>().unwrap().to_string(), "02:00:5e:10:00:01");
        for bad in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:01:02",
            "01:00:5e:10:00:01",
            "2:0:5e:10:00:01",
            "02:00:5e:10:00:+1",
            "00:00:00:00:00:00",
        ] {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn local_addresses_are_unicast_and_locally_administered() {
        let mac = MacAddr::local([0xff; 6]);
        assert_eq!(mac.octets()[0], 0xfe);
    }

    #[test]
    fn a_range_keeps_its_first_address_for_the_gateway() {
        let cidr: Cidr = "10.1.1.0/29".parse().unwrap();
        assert_eq!(cidr.gateway(), Ipv4Addr::new(10, 1, 1, 1));
        let all: Vec<_> = cidr.vm_addresses().collect();
        assert_eq!(all.first(), Some(&Ipv4Addr::new(10, 1, 1, 2)));
        assert_eq!(all.last(), Some(&Ipv4Addr::new(10, 1, 1, 6)));
        assert!(all.iter().all(|address| cidr.is_vm_address(*address)));
        assert!(!cidr.is_vm_address(cidr.gateway()));
    }

    #[test]
    fn a_range_with_host_bits_or_a_useless_prefix_is_refused() {
        for bad in [
            "10.1.1.1/24",
            "10.1.1.0/30",
            "10.0.0.0/7",
            "10.1.1.0",
            "::/64",
            "127.0.0.0/8",
            "224.0.0.0/8",
            "255.255.255.0/24",
            "0.0.0.0/8",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }
}
