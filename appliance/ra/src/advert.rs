//! An advertisement's bytes (RFC 4861, 4.2 and 4.6; RFC 8106, 5).

use podzol_vocab::{DomainName, MacAddr, Prefix64};

/// The ICMPv6 type of an advertisement.
const ADVERTISEMENT: u8 = 134;

/// The hop limit that VMs are to use: what everybody's systems use without being told.
const VM_HOP_LIMIT: u8 = 64;

/// Addresses (M) and other settings (O) are had by DHCPv6.
const FLAGS: u8 = 0xc0;

/// The prefix is on the link (L), and no address is to be made of it (A).
const PREFIX_FLAGS: u8 = 0x80;

/// For how long this is the default router, in seconds: three times the longest silence between advertisements (RFC 4861,
/// 6.2.1). Name servers too (RFC 8106, 5.1).
const LIFETIME: u16 = 1800;

/// For how long the prefix is on the link, in seconds: a day, so that VMs of a link go on talking while no router is there.
const PREFIX_LIFETIME: u32 = 86_400;

/// Whether VMs are to send what is for others than their neighbours to this router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultRouter {
    /// It has a way to the outside.
    Yes,
    /// It has none; VMs may have another router.
    No,
}

/// What VMs of a network are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    /// The router's MAC address there.
    pub mac: MacAddr,
    /// The largest packet in bytes.
    pub mtu: u16,
    /// The network's prefix. The router's address in it answers DNS.
    pub prefix: Prefix64,
    /// The domain that VMs look for names in.
    pub domain: DomainName,
    /// Whether it is their default router.
    pub default: DefaultRouter,
}

impl Advert {
    /// The ICMPv6 packet, whose checksum is left zero: the kernel computes it (RFC 3542, 3.1).
    pub fn bytes(&self) -> Vec<u8> {
        let lifetime = match self.default {
            DefaultRouter::Yes => LIFETIME,
            DefaultRouter::No => 0,
        };
        let mut bytes = vec![ADVERTISEMENT, 0, 0, 0, VM_HOP_LIMIT, FLAGS];
        bytes.extend(lifetime.to_be_bytes());
        // Reachable time and retransmission timer: left to the VMs.
        bytes.extend([0; 8]);
        option(&mut bytes, 1, &self.mac.octets());
        option(&mut bytes, 5, &[&[0, 0][..], &u32::from(self.mtu).to_be_bytes()].concat());
        option(&mut bytes, 3, &self.prefix_information());
        let names = [&[0, 0][..], &u32::from(LIFETIME).to_be_bytes()].concat();
        option(&mut bytes, 25, &[&names[..], &self.prefix.gateway().octets()].concat());
        option(&mut bytes, 31, &[names, self.domain.to_wire()].concat());
        bytes
    }

    /// RFC 4861, 4.6.2.
    fn prefix_information(&self) -> Vec<u8> {
        let mut bytes = vec![64, PREFIX_FLAGS];
        // Valid, and preferred.
        bytes.extend([PREFIX_LIFETIME.to_be_bytes(), PREFIX_LIFETIME.to_be_bytes()].concat());
        bytes.extend([0; 4]);
        bytes.extend(self.prefix.net().network().octets());
        bytes
    }
}

/// Adds an option, which begins with its length in units of 8 bytes. What is short of a unit is filled up with zeros.
fn option(bytes: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let units = (2 + value.len()).div_ceil(8);
    let end = bytes.len() + units * 8;
    // A domain has at most 189 bytes, so no option has more than 26 units.
    bytes.extend([kind, units as u8]);
    bytes.extend_from_slice(value);
    bytes.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advert(default: DefaultRouter) -> Advert {
        Advert {
            mac: MacAddr::local([2, 0, 0, 0, 1, 0]),
            mtu: 1450,
            prefix: "2001:db8:64:10::/64".parse().unwrap(),
            domain: "net.acme.internal".parse().unwrap(),
            default,
        }
    }

    /// Bytes of hexadecimal digits with spaces between.
    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    #[test]
    fn an_advertisement_has_the_router_the_prefix_and_the_names() {
        let expected = [
            // The head: hop limit 64, M and O, 1800 s.
            "86 00 00 00 40 c0 07 08 00 00 00 00 00 00 00 00",
            // The router's MAC address.
            "01 01 02 00 00 00 01 00",
            // The MTU, 1450.
            "05 01 00 00 00 00 05 aa",
            // The prefix: length 64, L without A, 86400 s twice.
            "03 04 40 80 00 01 51 80 00 01 51 80 00 00 00 00 20 01 0d b8 00 64 00 10 00 00 00 00 00 00 00 00",
            // The name server, 1800 s.
            "19 03 00 00 00 00 07 08 20 01 0d b8 00 64 00 10 00 00 00 00 00 00 00 01",
            // The domain, 1800 s, filled up.
            "1f 04 00 00 00 00 07 08 03 6e 65 74 04 61 63 6d 65 08 69 6e 74 65 72 6e 61 6c 00 00 00 00 00 00",
        ];
        assert_eq!(advert(DefaultRouter::Yes).bytes(), hex(&expected.join(" ")));
    }

    #[test]
    fn a_router_without_a_way_out_is_nobodys_default_router() {
        let bytes = advert(DefaultRouter::No).bytes();
        assert_eq!(bytes[6..8], [0, 0]);
        assert_eq!(bytes[8..], advert(DefaultRouter::Yes).bytes()[8..]);
    }

    #[test]
    fn every_option_ends_where_the_next_begins_whatever_the_domain_s_length() {
        for length in 1..=63 {
            let domain = format!("{}.internal", "a".repeat(length)).parse().unwrap();
            let bytes = Advert { domain, ..advert(DefaultRouter::Yes) }.bytes();
            let (mut kinds, mut rest) = (Vec::new(), &bytes[16..]);
            while let [kind, units, ..] = rest {
                kinds.push(*kind);
                rest = &rest[usize::from(*units) * 8..];
            }
            assert_eq!(kinds, [1, 5, 3, 25, 31], "{length}");
        }
    }
}
