//! What a client asks: header, question and OPT record, and nothing else of a packet.

use podzol_appliance_api::Transport;

use crate::name::Name;
use crate::records::{Records, u16_at};
use crate::wire::{HEADER, UDP_SIZE, flag, kind, rcode};

/// A packet's first part, which is all that some errors need.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub(crate) id: u16,
    pub(crate) flags: u16,
}

/// What a client said by an OPT record (RFC 6891, 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edns {
    /// The largest packet it takes, as far as that is of use: 512 to 1232.
    pub(crate) size: usize,
    pub(crate) version: u8,
    /// It wants DNSSEC's records (RFC 3225).
    pub(crate) wants_dnssec: bool,
}

/// What an answer needs of a query.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'q> {
    pub(crate) head: Head,
    pub(crate) question: &'q [u8],
    pub(crate) edns: Option<Edns>,
    /// The longest answer that the client takes, in bytes.
    pub(crate) limit: usize,
}

impl Asked<'_> {
    /// Whether it wants to know that an answer was validated (RFC 6840, 5.7).
    pub(crate) fn wants_authentic(&self) -> bool {
        self.head.flags & flag::AUTHENTIC != 0 || self.edns.is_some_and(|edns| edns.wants_dnssec)
    }
}

/// A question of a client.
pub(crate) struct Query<'p> {
    pub(crate) head: Head,
    /// Name, type and class as they are in the packet: answers repeat them, case and all.
    pub(crate) question: &'p [u8],
    pub(crate) name: Name,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    pub(crate) edns: Option<Edns>,
}

/// Why a packet is not a query that can be answered by its question.
pub(crate) enum Odd {
    /// It deserves no answer: it is too short to have a header, or an answer itself.
    Silence,
    /// An answer without a question, with this code.
    Code(Head, u16),
}

impl<'p> Query<'p> {
    /// Reads a packet of a client.
    pub(crate) fn read(packet: &'p [u8]) -> Result<Self, Odd> {
        let (Some(id), Some(flags)) = (u16_at(packet, 0), u16_at(packet, 2)) else {
            return Err(Odd::Silence);
        };
        // An answer to an answer could go on for ever.
        if packet.len() < HEADER || flags & flag::ANSWER != 0 {
            return Err(Odd::Silence);
        }
        let head = Head { id, flags };
        if flags & flag::OPCODE != 0 {
            return Err(Odd::Code(head, rcode::NOT_IMPLEMENTED));
        }
        Self::read_body(packet, head).ok_or(Odd::Code(head, rcode::FORMAT))
    }

    fn read_body(packet: &'p [u8], head: Head) -> Option<Self> {
        if u16_at(packet, 4) != Some(1) {
            return None;
        }
        let (name, end) = Name::read(packet, HEADER)?;
        let (kind, class) = (u16_at(packet, end)?, u16_at(packet, end + 2)?);
        let mut edns = None;
        let records = Records::of(packet, end + 4);
        for record in records {
            let record = record?;
            if record.kind != kind::OPT {
                continue;
            }
            // One at most, and it is the root's (RFC 6891, 6.1.1).
            if edns.is_some() || packet[record.start] != 0 {
                return None;
            }
            edns = Some(Edns {
                size: usize::from(record.class).clamp(512, UDP_SIZE),
                version: (record.ttl >> 16) as u8,
                wants_dnssec: record.ttl & 0x8000 != 0,
            });
        }
        if kind == kind::OPT || kind == 0 {
            return None;
        }
        Some(Self { head, question: &packet[HEADER..end + 4], name, kind, class, edns })
    }

    /// What its answer needs of it.
    pub(crate) fn asked(&self, transport: Transport) -> Asked<'p> {
        let limit = match transport {
            Transport::Tcp => usize::from(u16::MAX),
            Transport::Udp => self.edns.map_or(512, |edns| edns.size),
        };
        Asked { head: self.head, question: self.question, edns: self.edns, limit }
    }

    /// Whether it wants records of DNSSEC.
    pub(crate) fn wants_dnssec(&self) -> bool {
        self.edns.is_some_and(|edns| edns.wants_dnssec)
    }

    /// What makes questions the same for cache and forwarders: name, type, and the two wishes that change the answer.
    pub(crate) fn key(&self) -> Key {
        let name = self.name.as_bytes();
        let mut key = Key { bytes: [0; 258], length: name.len() + 3 };
        key.bytes[..name.len()].copy_from_slice(name);
        key.bytes[name.len()..name.len() + 2].copy_from_slice(&self.kind.to_be_bytes());
        let unchecked = self.head.flags & flag::CHECKING_DISABLED != 0;
        key.bytes[name.len() + 2] = u8::from(self.wants_dnssec()) | u8::from(unchecked) << 1;
        key
    }
}

/// See [`Query::key`].
pub(crate) struct Key {
    bytes: [u8; 258],
    length: usize,
}

impl Key {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
