//! Packets as clients make them, and replies read with `dhcproto`'s own parser, which the crate itself does not use.

use std::net::Ipv4Addr;

use dhcproto::v4::{Message, MessageType};
use dhcproto::{Decodable, Decoder};
use podzol_appliance_dhcp::Reply;

use crate::world::WEB;

pub(crate) const DISCOVER: u8 = 1;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const DECLINE: u8 = 4;
pub(crate) const RELEASE: u8 = 7;
pub(crate) const INFORM: u8 = 8;

/// A packet that is being made.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) header: [u8; 240],
    pub(crate) options: Vec<u8>,
    pub(crate) shortest: usize,
}

impl Packet {
    /// BOOTP without options, from the first VM.
    pub(crate) fn bootp() -> Self {
        let mut header = [0; 240];
        header[..8].copy_from_slice(&[1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
        header[28..34].copy_from_slice(&WEB);
        header[236..].copy_from_slice(&[99, 130, 83, 99]);
        Self { header, options: Vec::new(), shortest: 300 }
    }

    pub(crate) fn new(kind: u8) -> Self {
        Self::bootp().option(53, &[kind])
    }

    pub(crate) fn option(mut self, code: u8, value: &[u8]) -> Self {
        self.options.extend([code, value.len() as u8]);
        self.options.extend(value);
        self
    }

    pub(crate) fn requested(self, address: Ipv4Addr) -> Self {
        self.option(50, &address.octets())
    }

    pub(crate) fn server(self, address: Ipv4Addr) -> Self {
        self.option(54, &address.octets())
    }

    pub(crate) fn from(self, mac: [u8; 6]) -> Self {
        self.at(28, &mac)
    }

    pub(crate) fn broadcast(self) -> Self {
        self.at(10, &[0x80, 0])
    }

    pub(crate) fn ciaddr(self, address: Ipv4Addr) -> Self {
        self.at(12, &address.octets())
    }

    pub(crate) fn giaddr(self, address: Ipv4Addr) -> Self {
        self.at(24, &address.octets())
    }

    pub(crate) fn at(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.header[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// All of it, with the option "end" and padding.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = [&self.header[..], &self.options, &[255]].concat();
        bytes.resize(bytes.len().max(self.shortest), 0);
        bytes
    }
}

pub(crate) fn decoded(reply: &Reply) -> Message {
    Message::decode(&mut Decoder::new(&reply.bytes)).unwrap()
}

pub(crate) fn kind(reply: &Reply) -> MessageType {
    decoded(reply).opts().msg_type().unwrap()
}

/// The options of a reply as they stand in it, each part by itself. Panics if they are not well made.
pub(crate) fn parts(reply: &Reply) -> Vec<(u8, Vec<u8>)> {
    let mut rest = &reply.bytes[240..];
    let mut parts = Vec::new();
    while rest[0] != 255 {
        let end = 2 + usize::from(rest[1]);
        parts.push((rest[0], rest[2..end].to_vec()));
        rest = &rest[end..];
    }
    assert!(rest[1..].iter().all(|byte| *byte == 0), "something follows the end");
    parts
}

pub(crate) fn codes(reply: &Reply) -> Vec<u8> {
    parts(reply).into_iter().map(|(code, _)| code).collect()
}

/// An option's value, whole.
pub(crate) fn value(reply: &Reply, code: u8) -> Option<Vec<u8>> {
    let of_code = parts(reply).into_iter().filter(|(other, _)| *other == code);
    of_code.map(|(_, bytes)| bytes).reduce(|all, part| [all, part].concat())
}
