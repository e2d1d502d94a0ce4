//! What VMs ask (RFC 4861, 4.1 and 6.1.1).

use std::net::Ipv6Addr;

use crate::HOP_LIMIT;

/// The ICMPv6 type of a solicitation.
pub const SOLICITATION: u8 = 133;

/// The option that says the sender's MAC address.
const SOURCE_MAC: u8 = 1;

/// Somebody asks for an advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Solicitation {
    /// One with this link-local address, to which it can be sent.
    From(Ipv6Addr),
    /// One whom everybody's is for: without an address yet, or with one of the network.
    Anybody,
}

/// Reads an ICMPv6 packet with the source and the hop limit that it came with; none if it is no solicitation, or one that
/// breaks a rule. Its checksum is the kernel's to check.
///
/// A pure function of its arguments for any bytes, and so where a fuzzer should begin.
pub fn solicitation(from: Ipv6Addr, hop_limit: u8, packet: &[u8]) -> Option<Solicitation> {
    let (head, mut options) = packet.split_at_checked(8)?;
    if hop_limit != HOP_LIMIT || head[..2] != [SOLICITATION, 0] || from.is_multicast() {
        return None;
    }
    while !options.is_empty() {
        let [kind, units, ..] = *options else { return None };
        let is_forbidden = kind == SOURCE_MAC && from.is_unspecified();
        if units == 0 || is_forbidden {
            return None;
        }
        options = options.get(usize::from(units) * 8..)?;
    }
    Some(if from.is_unicast_link_local() { Solicitation::From(from) } else { Solicitation::Anybody })
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    const VM: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x5eff, 0xfe10, 1);
    const PLAIN: [u8; 8] = [133, 0, 0x12, 0x34, 0, 0, 0, 0];
    const WITH_MAC: [u8; 16] = [133, 0, 0x12, 0x34, 0, 0, 0, 0, 1, 1, 2, 0, 0x5e, 0x10, 0, 1];

    #[test]
    fn one_with_a_link_local_address_can_be_answered_there() {
        assert_eq!(solicitation(VM, 255, &PLAIN), Some(Solicitation::From(VM)));
        assert_eq!(solicitation(VM, 255, &WITH_MAC), Some(Solicitation::From(VM)));
    }

    #[test]
    fn one_without_an_address_or_with_a_global_one_is_answered_to_all() {
        for from in [Ipv6Addr::UNSPECIFIED, "2001:db8::5".parse().unwrap()] {
            assert_eq!(solicitation(from, 255, &PLAIN), Some(Solicitation::Anybody), "{from}");
        }
    }

    #[test]
    fn options_that_nobody_knows_are_passed_by() {
        let nonce = [&PLAIN[..], &[14, 1, 1, 2, 3, 4, 5, 6], &[200, 2], &[0; 14]].concat();
        assert_eq!(solicitation(VM, 255, &nonce), Some(Solicitation::From(VM)));
    }

    #[test]
    fn what_breaks_a_rule_is_none() {
        let spoiled = |at: usize, value: u8| {
            let mut packet = WITH_MAC;
            packet[at] = value;
            solicitation(VM, 255, &packet)
        };
        assert_eq!(spoiled(0, 134), None, "an advertisement");
        assert_eq!(spoiled(1, 1), None, "a code");
        assert_eq!(spoiled(9, 0), None, "an option without a length");
        assert_eq!(spoiled(9, 2), None, "an option that is cut short");
        assert_eq!(solicitation(VM, 254, &PLAIN), None, "one that was forwarded");
        assert_eq!(solicitation(Ipv6Addr::UNSPECIFIED, 255, &WITH_MAC), None, "a MAC address of nobody");
        assert_eq!(solicitation("ff02::1".parse().unwrap(), 255, &PLAIN), None, "from all");
        for length in (0..16).filter(|length| *length != 8) {
            assert_eq!(solicitation(VM, 255, &WITH_MAC[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn damaged_packets_are_questions_or_none() {
        let mut random = StdRng::seed_from_u64(0x7261_7261);
        let (mut asked, mut none) = (0, 0);
        for _ in 0..200_000 {
            let mut packet = [&WITH_MAC[..], &[14, 1, 1, 2, 3, 4, 5, 6]].concat();
            for _ in 0..random.random_range(1..=3) {
                let place = random.random_range(0..packet.len());
                match random.random_range(0..4) {
                    0 => packet.truncate(place.max(1)),
                    1 => packet.insert(place, random.random()),
                    _ => packet[place] = random.random(),
                }
            }
            match solicitation(VM, 255, &packet) {
                Some(found) => {
                    asked += 1;
                    assert_eq!(found, Solicitation::From(VM));
                    assert_eq!((packet[0], packet.len() % 8), (133, 0));
                }
                None => none += 1,
            }
        }
        assert!(asked > 20_000 && none > 20_000, "{asked} {none}");
    }
}
