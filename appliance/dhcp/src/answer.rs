//! What a server does with each message (RFC 2131, 4.3), for clients whose address is known beforehand.
//!
//! | message | answer |
//! | --- | --- |
//! | DISCOVER | OFFER |
//! | REQUEST after an offer (server identifier, option 54) | another server's: silence; its own address: ACK; else NAK |
//! | REQUEST after a reboot (option 50 alone) | its own address: ACK; else NAK |
//! | REQUEST to renew or rebind (`ciaddr`) | its own address: ACK; else NAK |
//! | INFORM | ACK without an address and lease |
//! | RELEASE, DECLINE | none; an event |

use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;
use podzol_vocab::{MacAddr, NetworkId};

use crate::offered::Offered;
use crate::reply::{Reply, ReplyKind};
use crate::request::Request;
use crate::table::{Client, Network};

/// What comes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A packet is to be sent.
    Reply(Reply),
    /// Nothing is to be sent, but the client said something of its address.
    Event(Event),
}

/// What a client said of its address without wanting an answer. The address stays its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// What it said.
    pub kind: EventKind,
    /// The network.
    pub network: NetworkId,
    /// The client.
    pub mac: MacAddr,
    /// The address, which need not be the one it was given.
    pub address: Ipv4Addr,
}

/// What a client may say of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It no longer uses the address (RELEASE).
    Released,
    /// Someone else uses the address (DECLINE): a VM has set up by hand what is not its own.
    Declined,
}

/// A known client's packet, with all that the answer depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange<'a> {
    pub(crate) id: NetworkId,
    pub(crate) network: &'a Network,
    pub(crate) client: &'a Client,
    pub(crate) request: &'a Request,
    pub(crate) source: Ipv4Addr,
}

impl Exchange<'_> {
    pub(crate) fn answer(&self) -> Option<Answer> {
        if self.request.server.is_some_and(|server| server != self.network.cidr.gateway()) {
            return None;
        }
        let kind = match self.request.kind {
            MessageType::Discover => ReplyKind::Offer,
            MessageType::Request if self.wanted()? == self.client.address => ReplyKind::Ack,
            MessageType::Request => ReplyKind::Nak,
            MessageType::Inform => ReplyKind::Information { to: self.informed()? },
            MessageType::Release => return self.event(EventKind::Released, self.request.header.ciaddr),
            MessageType::Decline => return self.event(EventKind::Declined, self.request.requested?),
            _ => return None,
        };
        self.reply(kind).map(Answer::Reply)
    }

    /// The address that a REQUEST is about. One with neither address has none of the forms in RFC 2131, 4.3.2. With both,
    /// which no form has, `ciaddr` counts: it is what the client uses now.
    fn wanted(&self) -> Option<Ipv4Addr> {
        let in_use = self.request.header.ciaddr;
        if in_use.is_unspecified() { self.request.requested } else { Some(in_use) }
    }

    /// Where to send the answer to an INFORM: an address of the network, because it is not looked up (RFC 2131, 4.3.5), and
    /// strangers should get nothing. Clients that leave `ciaddr` empty are known by where the packet came from.
    fn informed(&self) -> Option<Ipv4Addr> {
        let header = &self.request.header;
        let direct = header.giaddr.is_unspecified() && header.ciaddr.is_unspecified();
        let address = if direct { self.source } else { header.ciaddr };
        self.network.cidr.is_vm_address(address).then_some(address)
    }

    fn event(&self, kind: EventKind, address: Ipv4Addr) -> Option<Answer> {
        // Both messages must name the server (RFC 2131, table 5).
        self.request.server?;
        Some(Answer::Event(Event { kind, network: self.id, mac: self.client.mac, address }))
    }

    fn reply(&self, kind: ReplyKind) -> Option<Reply> {
        let offered = Offered { network: self.network, client: self.client, request: self.request };
        Some(Reply::new(kind, self.client, self.request, &offered.options(kind)?))
    }
}
