//! The packet that is sent, and where to.

use std::net::Ipv4Addr;

use dhcproto::v4::{Flags, MAGIC};
use podzol_vocab::MacAddr;

use crate::request::Request;
use crate::table::Client;
use crate::{CLIENT_PORT, SERVER_PORT};

/// The shortest packet that is sent: what BOOTP's packets had, and some relays and clients drop shorter ones (RFC 951, 3;
/// RFC 1542, 2.1).
const MIN_PACKET: usize = 300;

/// A packet to send from port 67 of the gateway's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What it says.
    pub kind: ReplyKind,
    /// Where to.
    pub to: Destination,
    /// The UDP payload.
    pub bytes: Vec<u8>,
}

/// Where a packet goes (RFC 2131, 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To all on the link: 255.255.255.255.
    Broadcast,
    /// To a client that does not have its address yet, and so answers no ARP: the frame goes to this MAC address.
    Client {
        /// Its MAC address.
        mac: MacAddr,
        /// The address that it will have.
        address: Ipv4Addr,
    },
    /// To a client that has its address.
    Address(Ipv4Addr),
    /// To the relay that the packet came through.
    Relay(Ipv4Addr),
}

impl Destination {
    /// The UDP port: relays listen where servers do.
    pub const fn port(self) -> u16 {
        match self {
            Self::Relay(_) => SERVER_PORT,
            Self::Broadcast | Self::Client { .. } | Self::Address(_) => CLIENT_PORT,
        }
    }
}

/// What a packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    /// An OFFER.
    Offer,
    /// An ACK to a REQUEST.
    Ack,
    /// An ACK to an INFORM.
    Information {
        /// The client's address.
        to: Ipv4Addr,
    },
    /// A NAK.
    Nak,
}

impl Reply {
    /// Makes it of the options, which end with the option "end".
    pub(crate) fn new(kind: ReplyKind, client: &Client, request: &Request, options: &[u8]) -> Self {
        let to = destination(kind, client, request);
        let mut bytes = header(kind, client, request);
        bytes.extend_from_slice(options);
        if bytes.len() < MIN_PACKET {
            bytes.resize(MIN_PACKET, 0);
        }
        Self { kind, to, bytes }
    }
}

fn destination(kind: ReplyKind, client: &Client, request: &Request) -> Destination {
    let header = &request.header;
    if !header.giaddr.is_unspecified() {
        return Destination::Relay(header.giaddr);
    }
    match kind {
        ReplyKind::Nak => Destination::Broadcast,
        ReplyKind::Information { to } => Destination::Address(to),
        // Another address than its own is not believed: packets would go to whom the sender likes.
        ReplyKind::Offer | ReplyKind::Ack if header.ciaddr == client.address => {
            Destination::Address(client.address)
        }
        ReplyKind::Offer | ReplyKind::Ack if header.flags.broadcast() => Destination::Broadcast,
        ReplyKind::Offer | ReplyKind::Ack => Destination::Client { mac: client.mac, address: client.address },
    }
}

/// The fixed part (RFC 2131, table 3). `dhcproto`'s message is not used: its options come sorted by number, and a new one
/// takes a random number.
fn header(kind: ReplyKind, client: &Client, request: &Request) -> Vec<u8> {
    let asked = &request.header;
    let none = Ipv4Addr::UNSPECIFIED;
    let (ciaddr, yiaddr) = match kind {
        ReplyKind::Offer => (none, client.address),
        ReplyKind::Ack => (asked.ciaddr, client.address),
        ReplyKind::Information { .. } => (asked.ciaddr, none),
        ReplyKind::Nak => (none, none),
    };
    // The relay must broadcast it (RFC 2131, 4.3.2): the client may have no address that works.
    let relayed_nak = kind == ReplyKind::Nak && !asked.giaddr.is_unspecified();
    let flags = if relayed_nak { asked.flags.set_broadcast() } else { asked.flags };

    let mut bytes = Vec::with_capacity(MIN_PACKET);
    bytes.extend_from_slice(&[2, 1, 6, 0]);
    bytes.extend_from_slice(&asked.xid.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&<u16 as From<Flags>>::from(flags).to_be_bytes());
    for address in [ciaddr, yiaddr, none, asked.giaddr] {
        bytes.extend_from_slice(&address.octets());
    }
    bytes.extend_from_slice(&asked.chaddr);
    // The rest of `chaddr`, then `sname` and `file`, which are not used.
    bytes.resize(236, 0);
    bytes.extend_from_slice(&MAGIC);
    bytes
}
