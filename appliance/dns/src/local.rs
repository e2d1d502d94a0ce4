//! Answers that come from here and not from a forwarder: those of the router's own zones and of names that must not
//! leak.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::query::Asked;
use crate::records::Section;
use crate::reply::Reply;
use crate::wire::{flag, kind, rcode};

/// How long what is here may be kept by others, in seconds. A VM that is replaced is found again within a minute.
const TTL: u32 = 60;

/// An answer of a zone that is served here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Local<'z> {
    /// Where the zone's name begins in the question's.
    pub(crate) apex: usize,
    /// The zone's first record.
    pub(crate) soa: Soa<'z>,
    /// What the zone has for the question.
    pub(crate) found: Found<'z>,
}

/// A zone's SOA record, as far as zones differ. Names are as they are in packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Soa<'z> {
    pub(crate) server: &'z [u8],
    pub(crate) mailbox: &'z [u8],
    pub(crate) serial: u32,
    /// How long it may be kept that something is not there, in seconds (RFC 2308, 4).
    pub(crate) negative_ttl: u32,
}

/// What a zone has for a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found<'z> {
    /// Addresses of a name.
    A(&'z [Ipv4Addr]),
    /// IPv6 addresses of a name.
    Aaaa(&'z [Ipv6Addr]),
    /// The name of an address, as it is in packets.
    Ptr(&'z [u8]),
    /// The zone's SOA record.
    Soa,
    /// The zone's name server.
    Ns,
    /// The name is there, and there is too much to say of it (RFC 8482, 4.2).
    Any,
    /// The name is there, without such records.
    NoData,
    /// The name is not there, nor one below it.
    NoName,
}

impl Local<'_> {
    /// As a packet.
    pub(crate) fn encode(&self, asked: Asked<'_>) -> Vec<u8> {
        let code = if self.found == Found::NoName { rcode::NO_NAME } else { rcode::NO_ERROR };
        let mut reply = Reply::to(asked, flag::AUTHORITATIVE | code);
        let mut answer = |kind, bytes: &[u8]| {
            reply.record(Section::Answer, 0, kind, TTL, |out| out.extend_from_slice(bytes));
        };
        match self.found {
            Found::A(addresses) => addresses.iter().for_each(|one| answer(kind::A, &one.octets())),
            Found::Aaaa(addresses) => addresses.iter().for_each(|one| answer(kind::AAAA, &one.octets())),
            Found::Ptr(name) => answer(kind::PTR, name),
            Found::Ns => answer(kind::NS, self.soa.server),
            Found::Any => minimal(&mut reply),
            Found::Soa => self.soa.write(&mut reply, Section::Answer, self.apex, TTL),
            Found::NoData | Found::NoName => {
                self.soa.write(&mut reply, Section::Authority, self.apex, self.soa.negative_ttl);
            }
        }
        reply.finish(asked)
    }
}

impl Soa<'_> {
    fn write(&self, reply: &mut Reply, section: Section, apex: usize, ttl: u32) {
        reply.record(section, apex, kind::SOA, ttl, |out| {
            out.extend_from_slice(self.server);
            out.extend_from_slice(self.mailbox);
            // Refresh, retry and expire are for secondary servers, of which there are none: RFC 6303's values.
            for number in [self.serial, 3600, 1200, 604_800, self.negative_ttl] {
                out.extend_from_slice(&number.to_be_bytes());
            }
        });
    }
}

/// Answers a question for all records of a name without giving any (RFC 8482, 4.2): nobody needs it but who attacks.
pub(crate) fn any(asked: Asked<'_>) -> Vec<u8> {
    let mut reply = Reply::to(asked, 0);
    minimal(&mut reply);
    reply.finish(asked)
}

fn minimal(reply: &mut Reply) {
    reply.record(Section::Answer, 0, kind::HINFO, 3600, |out| out.extend_from_slice(b"\x07RFC8482\x00"));
}
