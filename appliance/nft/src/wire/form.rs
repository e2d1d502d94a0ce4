//! What the elements of each set are made of, and the bytes of that.

use podzol_appliance_pieces::{Net, Number, Span};
use podzol_vocab::MacAddr;

use crate::ruleset::Set;
use crate::wire::Writer;

const NFT_GOTO: u32 = -4_i32 as u32;

/// How long a link's name is in a key (`IFNAMSIZ`).
const LINK: usize = 16;

/// What a set's elements are made of.
pub(crate) struct Form {
    key: &'static [Field],
    /// Whether a key has a first and a last value.
    is_interval: bool,
    value: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Address,
    Address6,
    Protocol,
    Port,
    Link,
    Mac,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Nothing,
    Fields(&'static [Field]),
    /// `goto` a chain.
    Goto,
}

/// A protocol in a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Icmp,
    Tcp,
    Udp,
    Icmpv6,
}

impl Protocol {
    const ALL: [Self; 4] = [Self::Icmp, Self::Tcp, Self::Udp, Self::Icmpv6];

    /// The name that nft(8) takes, whether the machine has a list of protocols or not.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmpv6 => "icmpv6",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Icmp => 1,
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmpv6 => 58,
        }
    }

    /// That of a name, its own or one in a list of protocols.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let name = if name == "ipv6-icmp" { "icmpv6" } else { name };
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }

    pub(crate) fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.number() == number)
    }
}

impl Form {
    /// Nothing if the set's elements cannot be made here.
    pub(crate) fn of(set: Set) -> Option<Self> {
        use Field::{Address, Address6, Link, Mac, Port, Protocol};
        const PLACE: &[Field] = &[Address, Protocol, Port];
        let (key, is_interval, value): (&[Field], _, _) = match set {
            Set::Ingress | Set::Egress => (&[Address, Protocol, Port, Address], true, Kind::Nothing),
            Set::Ingress6 | Set::Egress6 => (&[Address6, Protocol, Port, Address6], true, Kind::Nothing),
            Set::IngressAll | Set::EgressAll => (&[Address, Address], true, Kind::Nothing),
            Set::IngressAll6 | Set::EgressAll6 => (&[Address6, Address6], true, Kind::Nothing),
            Set::IngressPort | Set::Refused | Set::Answered => (PLACE, false, Kind::Nothing),
            Set::IngressPort6 => (&[Address6, Protocol, Port], false, Kind::Nothing),
            Set::IngressLink6 => (&[Link, Protocol, Port], false, Kind::Nothing),
            Set::ForwardPort => (PLACE, false, Kind::Fields(&[Address, Port])),
            Set::ForwardRange => (PLACE, true, Kind::Fields(&[Address])),
            Set::Balancers => (PLACE, false, Kind::Goto),
            Set::StaticIn | Set::StaticOut => (&[Address], false, Kind::Fields(&[Address])),
            Set::NicSent | Set::NicReceived | Set::PublicSent | Set::PublicReceived => {
                (&[Address], false, Kind::Nothing)
            }
            Set::Own6 | Set::NicSent6 | Set::NicReceived6 => (&[Address6], false, Kind::Nothing),
            Set::Vms => (&[Mac, Address], false, Kind::Nothing),
            Set::Sources6 => (&[Link, Address6], false, Kind::Nothing),
            Set::Guests
            | Set::SameLink
            | Set::Gateways
            | Set::CountedSameLink
            | Set::EgressPolicy
            | Set::SourceNat
            | Set::Guests6
            | Set::Gateways6
            | Set::EgressPolicy6 => return None,
        };
        Some(Self { key, is_interval, value })
    }

    /// Whether the field of this number, counted from 0, of a key is a protocol.
    pub(crate) fn has_protocol_at(&self, number: usize) -> bool {
        self.key.get(number) == Some(&Field::Protocol)
    }

    /// An element, as the attributes of `enum nft_set_elem_attributes`.
    pub(super) fn write(&self, writer: &mut Writer, key: &str, value: Option<&str>) -> Option<()> {
        let (first, last) = values(self.key, key)?;
        writer.data(1, &first);
        match (self.value, value) {
            (_, None) => {}
            (Kind::Nothing, Some(_)) => return None,
            (Kind::Fields(fields), Some(value)) => writer.data(2, &values(fields, value)?.0),
            (Kind::Goto, Some(value)) => {
                let data = writer.open(2);
                let verdict = writer.open(2);
                writer.value(1, &NFT_GOTO.to_be_bytes());
                writer.text(2, value.strip_prefix("goto ")?);
                writer.close(verdict);
                writer.close(data);
            }
        }
        if self.is_interval {
            writer.data(10, &last);
        }
        (self.is_interval || first == last).then_some(())
    }
}

/// Fields as the kernel has them: each in network byte order and in whole words. The first values and the last.
fn values(fields: &[Field], text: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut firsts, mut lasts) = (Vec::with_capacity(16), Vec::with_capacity(16));
    let mut texts = text.split(" . ");
    for field in fields {
        let text = texts.next()?;
        match field {
            Field::Address => {
                let Span { first, last } = addresses::<ipnet::Ipv4Net>(text)?;
                firsts.extend(first.to_be_bytes());
                lasts.extend(last.to_be_bytes());
            }
            Field::Address6 => {
                let Span { first, last } = addresses::<ipnet::Ipv6Net>(text)?;
                firsts.extend(first.to_be_bytes());
                lasts.extend(last.to_be_bytes());
            }
            Field::Port => {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                for (values, port) in [(&mut firsts, first), (&mut lasts, last)] {
                    let [high, low] = port.parse::<u16>().ok()?.to_be_bytes();
                    values.extend([high, low, 0, 0]);
                }
            }
            Field::Protocol => {
                let number = Protocol::named(text)?.number();
                [&mut firsts, &mut lasts].into_iter().for_each(|values| values.extend([number, 0, 0, 0]));
            }
            Field::Mac => {
                let [a, b, c, d, e, f] = text.parse::<MacAddr>().ok()?.octets();
                [&mut firsts, &mut lasts]
                    .into_iter()
                    .for_each(|values| values.extend([a, b, c, d, e, f, 0, 0]));
            }
            Field::Link => {
                let name = text.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
                let mut bytes = [0; LINK];
                bytes[..LINK - 1].get_mut(..name.len())?.copy_from_slice(name);
                [&mut firsts, &mut lasts].into_iter().for_each(|values| values.extend(bytes));
            }
        }
    }
    texts.next().is_none().then_some((firsts, lasts))
}

fn addresses<A: Net + std::str::FromStr>(text: &str) -> Option<Span<A::Number>> {
    let of = A::Number::of_address;
    if let Some((first, last)) = text.split_once('-') {
        return Some(Span::new(of(first)?, of(last)?));
    }
    if text.contains('/') { Some(text.parse::<A>().ok()?.span()) } else { Some(A::one(of(text)?).span()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_network_order_and_whole_words() {
        let place = [Field::Address, Field::Protocol, Field::Port, Field::Address];
        let (first, last) = values(&place, "203.0.113.5 . tcp . 80-90 . 10.0.0.0/8").unwrap();
        assert_eq!(first, [203, 0, 113, 5, 6, 0, 0, 0, 0, 80, 0, 0, 10, 0, 0, 0]);
        assert_eq!(last, [203, 0, 113, 5, 6, 0, 0, 0, 0, 90, 0, 0, 10, 255, 255, 255]);
        assert_eq!(values(&[Field::Address], "10.0.0.1-10.0.0.3").unwrap().1, [10, 0, 0, 3]);
        let (vm, _) = values(&[Field::Mac, Field::Address], "02:00:5e:10:00:01 . 10.0.0.7").unwrap();
        assert_eq!(vm, [2, 0, 0x5e, 0x10, 0, 1, 0, 0, 10, 0, 0, 7]);
        for other in ["203.0.113.5", "203.0.113.5 . tcp . 80 . 10.0.0.1 . 7", "a . tcp . 80 . 10.0.0.1"] {
            assert_eq!(values(&place, other), None, "{other}");
        }
    }

    #[test]
    fn addresses_of_ipv6_and_names_of_links_have_sixteen_bytes() {
        let (first, last) = values(&[Field::Protocol, Field::Address6], "icmpv6 . 2001:db8::/112").unwrap();
        let start = [58, 0, 0, 0, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(first, [&start[..], &[0, 0]].concat());
        assert_eq!(last, [&start[..], &[0xff, 0xff]].concat());
        let (link, _) = values(&[Field::Link], "\"eth0\"").unwrap();
        assert_eq!(link, *b"eth0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert!(values(&[Field::Link], "\"fifteen-letters\"").is_some());
        for other in ["\"sixteen-letters!\"", "eth0", "\""] {
            assert_eq!(values(&[Field::Link], other), None, "{other}");
        }
        assert_eq!(values(&[Field::Address6], "10.0.0.1"), None);
    }
}
