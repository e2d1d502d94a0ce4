//! What a client sent (RFC 8415, 8 and 21): a packet is understood whole or not at all.

use std::net::Ipv6Addr;

use crate::MAX_PACKET;

/// The longest DUID in bytes, with its type (RFC 8415, 11.1).
const MAX_DUID: usize = 130;

/// How many associations a message may have, and how many addresses each of them. Clients have one with one, or two; an
/// answer to so many still fits into one packet of the smallest MTU.
const MAX_ASSOCIATIONS: usize = 8;
const MAX_ADDRESSES: usize = 8;

/// The numbers of options (RFC 8415, 21; RFC 3646).
pub(super) mod option {
    pub(in crate::v6) const CLIENT_ID: u16 = 1;
    pub(in crate::v6) const SERVER_ID: u16 = 2;
    pub(in crate::v6) const IA_NA: u16 = 3;
    pub(in crate::v6) const IA_TA: u16 = 4;
    pub(in crate::v6) const ADDRESS: u16 = 5;
    pub(in crate::v6) const REQUESTED: u16 = 6;
    pub(in crate::v6) const PREFERENCE: u16 = 7;
    pub(in crate::v6) const STATUS: u16 = 13;
    pub(in crate::v6) const RAPID_COMMIT: u16 = 14;
    pub(in crate::v6) const NAME_SERVERS: u16 = 23;
    pub(in crate::v6) const DOMAINS: u16 = 24;
    pub(in crate::v6) const IA_PD: u16 = 25;
}

/// What a client wants (RFC 8415, 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Solicit,
    Request,
    Confirm,
    Renew,
    Rebind,
    Release,
    Decline,
    InformationRequest,
}

impl Kind {
    fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Solicit,
            3 => Self::Request,
            4 => Self::Confirm,
            5 => Self::Renew,
            6 => Self::Rebind,
            8 => Self::Release,
            9 => Self::Decline,
            11 => Self::InformationRequest,
            // What servers and relays send, or nobody.
            _ => return None,
        })
    }
}

/// A message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: Kind,
    pub(super) transaction: [u8; 3],
    /// Who it says it is.
    pub(super) client: Option<&'a [u8]>,
    /// The server that it speaks to.
    pub(super) server: Option<&'a [u8]>,
    /// The numbers of the options it wants, two bytes each.
    pub(super) requested: Option<&'a [u8]>,
    /// Whether it takes a Reply to a Solicit.
    pub(super) takes_reply: bool,
    /// What it wants addresses or prefixes for, in order.
    pub(super) associations: Vec<Association>,
}

/// Something that a client wants addresses or prefixes for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Association {
    pub(super) kind: AssociationKind,
    pub(super) id: [u8; 4],
    /// Those that it has, or would like to have.
    pub(super) addresses: Vec<Ipv6Addr>,
}

/// What it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AssociationKind {
    Address,
    TemporaryAddress,
    Prefix,
}

impl<'a> Message<'a> {
    /// Reads a packet whole.
    pub(super) fn parse(packet: &'a [u8]) -> Option<Self> {
        if packet.len() > MAX_PACKET {
            return None;
        }
        let (head, rest) = packet.split_first_chunk::<4>()?;
        let [kind, transaction @ ..] = *head;
        let mut message = Self {
            kind: Kind::of(kind)?,
            transaction,
            client: None,
            server: None,
            requested: None,
            takes_reply: false,
            associations: Vec::new(),
        };
        for option in Options(rest) {
            let (code, value) = option?;
            message.take(code, value)?;
        }
        Some(message)
    }

    /// Takes one option in. None when it breaks a rule, or is there already and may not be twice.
    fn take(&mut self, code: u16, value: &'a [u8]) -> Option<()> {
        let id = || (3..=MAX_DUID).contains(&value.len()).then_some(value);
        let is_new = match code {
            option::CLIENT_ID => self.client.replace(id()?).is_none(),
            option::SERVER_ID => self.server.replace(id()?).is_none(),
            option::REQUESTED if value.len().is_multiple_of(2) => self.requested.replace(value).is_none(),
            option::REQUESTED => false,
            option::RAPID_COMMIT => value.is_empty() && !std::mem::replace(&mut self.takes_reply, true),
            option::IA_NA | option::IA_TA | option::IA_PD => {
                self.associations.push(Association::parse(code, value)?);
                self.associations.len() <= MAX_ASSOCIATIONS
            }
            // The others change no answer.
            _ => true,
        };
        is_new.then_some(())
    }
}

impl Association {
    fn parse(code: u16, value: &[u8]) -> Option<Self> {
        let (kind, head) = match code {
            option::IA_NA => (AssociationKind::Address, 12),
            option::IA_TA => (AssociationKind::TemporaryAddress, 4),
            _ => (AssociationKind::Prefix, 12),
        };
        let (head, rest) = value.split_at_checked(head)?;
        let id = *head.first_chunk::<4>()?;
        let mut addresses = Vec::new();
        for option in Options(rest) {
            let (code, value) = option?;
            if code == option::ADDRESS {
                // The address and two lifetimes, and options that are of no interest.
                let (address, rest) = value.split_first_chunk::<16>()?;
                Options(rest.get(8..)?).try_for_each(|option| option.map(drop))?;
                addresses.push(Ipv6Addr::from(*address));
            }
        }
        (addresses.len() <= MAX_ADDRESSES).then_some(Self { kind, id, addresses })
    }
}

/// The options of a packet or of an option; `None` once, and then the end, where one is cut short.
struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    fn one(&mut self) -> Option<(u16, &'a [u8])> {
        let (head, rest) = self.0.split_first_chunk::<4>()?;
        let [code, length] = [[head[0], head[1]], [head[2], head[3]]].map(u16::from_be_bytes);
        let (value, rest) = rest.split_at_checked(length.into())?;
        self.0 = rest;
        Some((code, value))
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Option<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let one = self.one();
        if one.is_none() {
            self.0 = &[];
        }
        Some(one)
    }
}
