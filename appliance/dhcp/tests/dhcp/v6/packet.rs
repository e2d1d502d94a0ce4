//! Packets as clients make them, and answers taken apart.

use std::net::Ipv6Addr;

use podzol_appliance_api::Document;
use podzol_appliance_dhcp::v6::{Answer, Table};

use crate::world::{FIRST, SECOND, WEB, document as document4, mac};

pub(super) const SOLICIT: u8 = 1;
pub(super) const REQUEST: u8 = 3;
pub(super) const CONFIRM: u8 = 4;
pub(super) const RENEW: u8 = 5;
pub(super) const REBIND: u8 = 6;
pub(super) const RELEASE: u8 = 8;
pub(super) const DECLINE: u8 = 9;
pub(super) const INFORMATION: u8 = 11;

/// What the client says it is: a DUID of a link-layer address and a time.
pub(super) const CLIENT: [u8; 14] = [0, 1, 0, 1, 0x2f, 1, 2, 3, 2, 0, 0x5e, 0, 0, 0x10];

/// The DUID of the router in the first network.
pub(super) const SERVER: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 1];

pub(super) const IA_ID: [u8; 4] = [0x5e, 0, 0, 0x10];

pub(super) fn address(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// The VM's address in the first network.
pub(super) fn own() -> Ipv6Addr {
    address("2001:db8:64:10:0:5eff:fe00:10")
}

/// Where the VM's packets come from.
pub(super) fn source() -> Ipv6Addr {
    mac(WEB).link_local()
}

/// The document of IPv4, where both networks have IPv6 too.
pub(super) fn document() -> Document {
    let mut document = document4();
    for (network, prefix) in [(FIRST, "2001:db8:64:10::/64"), (SECOND, "2001:db8:64:11::/64")] {
        document.guests.get_mut(&network).unwrap().prefix6 = Some(prefix.parse().unwrap());
    }
    for nic in document.nics.values_mut() {
        nic.address6 = document.guests[&nic.network].prefix6.map(|prefix| prefix.of(nic.mac));
    }
    document
}

pub(super) fn table() -> Table {
    let document = document();
    assert_eq!(document.problems(), []);
    Table::new(&document)
}

/// A packet that is being made.
#[derive(Debug, Clone)]
pub(super) struct Packet(pub(super) Vec<u8>);

impl Packet {
    /// One without options.
    pub(super) fn bare(kind: u8) -> Self {
        Self(vec![kind, 0xab, 0xcd, 0xef])
    }

    /// One of the client.
    pub(super) fn new(kind: u8) -> Self {
        Self::bare(kind).option(1, &CLIENT)
    }

    /// One of the client to the router.
    pub(super) fn to_server(kind: u8) -> Self {
        Self::new(kind).option(2, &SERVER)
    }

    pub(super) fn option(mut self, code: u16, value: &[u8]) -> Self {
        self.0.extend(code.to_be_bytes());
        self.0.extend((value.len() as u16).to_be_bytes());
        self.0.extend(value);
        self
    }

    /// With an association with these addresses.
    pub(super) fn wants(self, addresses: &[Ipv6Addr]) -> Self {
        self.option(3, &association(12, addresses))
    }

    /// What the first network answers.
    pub(super) fn answer(&self) -> Option<Answer> {
        table().answer(FIRST, &self.0, source())
    }

    /// The packet that the first network answers with.
    pub(super) fn reply(&self) -> Vec<u8> {
        self.answer().expect("an answer").bytes
    }
}

/// The value of an association with a head of so many bytes.
pub(super) fn association(head: usize, addresses: &[Ipv6Addr]) -> Vec<u8> {
    let mut value = IA_ID.to_vec();
    value.resize(head, 0);
    for address in addresses {
        value.extend([0, 5, 0, 24]);
        value.extend(address.octets());
        value.extend([0, 0, 0, 60, 0, 0, 0, 120]);
    }
    value
}

/// The options of an answer, or of an option behind its head. Panics if they are not well made.
pub(super) fn options(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut options = Vec::new();
    while !bytes.is_empty() {
        let [code, length] = [0, 2].map(|at| u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let end = 4 + usize::from(length);
        options.push((code, bytes[4..end].to_vec()));
        bytes = &bytes[end..];
    }
    options
}

pub(super) fn codes(answer: &[u8]) -> Vec<u16> {
    options(&answer[4..]).into_iter().map(|(code, _)| code).collect()
}

/// All values of an option.
pub(super) fn values(answer: &[u8], code: u16) -> Vec<Vec<u8>> {
    options(&answer[4..]).into_iter().filter(|(other, _)| *other == code).map(|(_, value)| value).collect()
}

/// The addresses in an association's value, each with how long it is preferred and valid.
pub(super) fn leases(value: &[u8]) -> Vec<(Ipv6Addr, u32, u32)> {
    let addresses = options(&value[12..]).into_iter().filter(|(code, _)| *code == 5);
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    addresses
        .map(|(_, value)| {
            let address = <[u8; 16]>::try_from(&value[..16]).unwrap().into();
            (address, number(&value[16..20]), number(&value[20..24]))
        })
        .collect()
}

/// The status code in an option's value behind a head of so many bytes.
pub(super) fn status(value: &[u8], head: usize) -> Option<u16> {
    let found = options(&value[head..]).into_iter().find(|(code, _)| *code == 13)?.1;
    Some(u16::from_be_bytes([found[0], found[1]]))
}
