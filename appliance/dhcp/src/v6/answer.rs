//! What a server does with each message (RFC 8415, 18.3), for clients whose address is known beforehand.
//!
//! | message | answer |
//! | --- | --- |
//! | Solicit | Advertise; Reply to a client that takes one at once (Rapid Commit) |
//! | Request, Renew to this server; Rebind | Reply with the address |
//! | Confirm | Reply: whether all its addresses are its own on this link |
//! | Release, Decline to this server | Reply; an event |
//! | Information-request | Reply without an address |

use std::net::Ipv6Addr;

use super::message::{Association, AssociationKind, Kind, Message, option};
use super::table::{Client, Network};
use crate::EventKind;

/// A packet to send to port 546 of the address that asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The UDP payload.
    pub bytes: Vec<u8>,
    /// What the client said of its address, which stays its own whatever it said.
    pub said: Option<EventKind>,
    /// What becomes of its address by this.
    pub gives: Gives,
}

/// What an answer does with the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    /// Nothing.
    Nothing,
    /// It offers it.
    Offer,
    /// It gives it, or gives it for longer.
    Address,
}

/// The message types of servers.
const ADVERTISE: u8 = 2;
const REPLY: u8 = 7;

/// Status codes (RFC 8415, 21.13).
#[derive(Debug, Clone, Copy)]
enum Status {
    Success = 0,
    NoAddresses = 2,
    NotOnLink = 4,
    NoPrefix = 6,
}

/// A known client's message, with all that the answer depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exchange<'a> {
    pub(super) network: &'a Network,
    pub(super) client: &'a Client,
    pub(super) message: &'a Message<'a>,
}

impl Exchange<'_> {
    pub(super) fn answer(&self) -> Option<Answer> {
        if !self.is_allowed() {
            return None;
        }
        let mut said = None;
        let bytes = match self.message.kind {
            Kind::Solicit if self.message.takes_reply => self.with_addresses(REPLY)?,
            Kind::Solicit => self.with_addresses(ADVERTISE)?,
            Kind::Request | Kind::Renew | Kind::Rebind => self.with_addresses(REPLY)?,
            Kind::Confirm => self.with_status(self.confirmed()?),
            Kind::Release => {
                said = Some(EventKind::Released);
                self.with_status(Status::Success)
            }
            Kind::Decline => {
                said = Some(EventKind::Declined);
                self.with_status(Status::Success)
            }
            Kind::InformationRequest => self.with_settings(self.begun(REPLY)),
        };
        Some(Answer { bytes, said, gives: self.gives() })
    }

    fn gives(&self) -> Gives {
        let wants = self.message.associations.iter().any(|one| one.kind == AssociationKind::Address);
        match self.message.kind {
            _ if !wants => Gives::Nothing,
            Kind::Solicit if !self.message.takes_reply => Gives::Offer,
            Kind::Solicit | Kind::Request | Kind::Renew | Kind::Rebind => Gives::Address,
            Kind::Confirm | Kind::Release | Kind::Decline | Kind::InformationRequest => Gives::Nothing,
        }
    }

    /// Whether it names its client and its server where it must, and not where it must not (RFC 8415, 16).
    fn is_allowed(&self) -> bool {
        let Message { kind, client, server, associations, .. } = self.message;
        let is_for_us = *server == Some(&self.network.server[..]);
        match kind {
            Kind::Solicit | Kind::Confirm | Kind::Rebind => client.is_some() && server.is_none(),
            Kind::Request | Kind::Renew | Kind::Release | Kind::Decline => client.is_some() && is_for_us,
            Kind::InformationRequest => associations.is_empty() && (server.is_none() || is_for_us),
        }
    }

    /// Whether the client's addresses are right for this link, which only its own is: it may have the lease of a VM whose disk
    /// it was made of, and hosts let nothing pass from another's address. None if it has none, which is no question.
    fn confirmed(&self) -> Option<Status> {
        let mut addresses = self.message.associations.iter().flat_map(|one| &one.addresses).peekable();
        addresses.peek()?;
        let are_own = addresses.all(|address| *address == self.client.address);
        Some(if are_own { Status::Success } else { Status::NotOnLink })
    }

    fn is_near(&self, address: &Ipv6Addr) -> bool {
        self.network.prefix.net().contains(address)
    }

    /// An answer with what each association gets. None if there is none: nothing is wanted then.
    fn with_addresses(&self, kind: u8) -> Option<Vec<u8>> {
        let associations = &self.message.associations;
        let first = associations.iter().position(|one| one.kind == AssociationKind::Address);
        if associations.is_empty() {
            return None;
        }
        let mut bytes = self.begun(kind);
        if kind == ADVERTISE {
            // Nobody is preferred to this server, so that the client waits for no other (RFC 8415, 18.2.1).
            add(&mut bytes, option::PREFERENCE, &[255]);
        }
        if kind == REPLY && self.message.kind == Kind::Solicit {
            add(&mut bytes, option::RAPID_COMMIT, &[]);
        }
        for (place, association) in associations.iter().enumerate() {
            let value = match association.kind {
                AssociationKind::Address if Some(place) == first => self.association(association),
                AssociationKind::Address => refused(&association.id, 8, Status::NoAddresses),
                AssociationKind::TemporaryAddress => refused(&association.id, 0, Status::NoAddresses),
                AssociationKind::Prefix => refused(&association.id, 8, Status::NoPrefix),
            };
            add(&mut bytes, code(association.kind), &value);
        }
        Some(self.with_settings(bytes))
    }

    /// The value of the association that the address is of.
    fn association(&self, association: &Association) -> Vec<u8> {
        let wrong = association.addresses.iter().filter(|address| **address != self.client.address);
        if self.message.kind == Kind::Request && wrong.clone().any(|address| !self.is_near(address)) {
            // It takes this link for another one, and must begin anew (RFC 8415, 18.3.2).
            return refused(&association.id, 8, Status::NotOnLink);
        }
        let lease = self.network.lease_secs;
        let mut value = association.id.to_vec();
        // The shares that RFC 8415, 21.4 recommends.
        value.extend((lease / 2).to_be_bytes());
        value.extend((lease - lease / 5).to_be_bytes());
        add(&mut value, option::ADDRESS, &address(self.client.address, lease));
        if matches!(self.message.kind, Kind::Renew | Kind::Rebind) {
            // Those that are not its own end at once (RFC 8415, 18.3.4).
            wrong.for_each(|wrong| add(&mut value, option::ADDRESS, &address(*wrong, 0)));
        }
        value
    }

    fn with_status(&self, status: Status) -> Vec<u8> {
        let mut bytes = self.begun(REPLY);
        add(&mut bytes, option::STATUS, &status_value(status));
        bytes
    }

    /// Adds what is asked for of where names are found (RFC 3646); all of it if nothing is asked for by number.
    fn with_settings(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let requested = self.message.requested;
        let wants = |code: u16| {
            requested.is_none_or(|codes| codes.chunks_exact(2).any(|one| one == code.to_be_bytes()))
        };
        if wants(option::NAME_SERVERS) {
            add(&mut bytes, option::NAME_SERVERS, &self.network.prefix.gateway().octets());
        }
        if wants(option::DOMAINS) {
            add(&mut bytes, option::DOMAINS, &self.network.domain.to_wire());
        }
        bytes
    }

    /// An answer that says to whom and from whom.
    fn begun(&self, kind: u8) -> Vec<u8> {
        let [a, b, c] = self.message.transaction;
        let mut bytes = vec![kind, a, b, c];
        if let Some(client) = self.message.client {
            add(&mut bytes, option::CLIENT_ID, client);
        }
        add(&mut bytes, option::SERVER_ID, &self.network.server);
        bytes
    }
}

const fn code(kind: AssociationKind) -> u16 {
    match kind {
        AssociationKind::Address => option::IA_NA,
        AssociationKind::TemporaryAddress => option::IA_TA,
        AssociationKind::Prefix => option::IA_PD,
    }
}

/// The value of an association that gets nothing, with so many bytes of times, which are zero.
fn refused(id: &[u8; 4], times: usize, status: Status) -> Vec<u8> {
    let mut value = id.to_vec();
    value.resize(4 + times, 0);
    add(&mut value, option::STATUS, &status_value(status));
    value
}

/// An address, preferred and valid for so many seconds.
fn address(address: Ipv6Addr, secs: u32) -> Vec<u8> {
    [&address.octets()[..], &secs.to_be_bytes(), &secs.to_be_bytes()].concat()
}

/// Without a text: clients show their own.
const fn status_value(status: Status) -> [u8; 2] {
    (status as u16).to_be_bytes()
}

/// Adds an option. All values here are far shorter than 64 KiB: what is sent back of a client's is at most a DUID, an id
/// and a few addresses.
fn add(bytes: &mut Vec<u8>, code: u16, value: &[u8]) {
    bytes.extend(code.to_be_bytes());
    bytes.extend((value.len() as u16).to_be_bytes());
    bytes.extend_from_slice(value);
}
