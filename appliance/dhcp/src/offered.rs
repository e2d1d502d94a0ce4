//! The options of a packet: which, in what order, and which of them go when there is no room.
//!
//! # Which
//! The message's kind, the server, the lease and its times, the mask and the MTU are always there: a client that does not
//! ask for the MTU loses large packets without a word. So are the client's identifier (RFC 6842) and what the relay added
//! (RFC 3046), if they were sent. All others are there if they are asked for, in the order they are asked for; a client that
//! gives no list gets [`WITHOUT_LIST`].
//!
//! # When there is no room
//! [`IMPORTANCE`] says what goes first: the search domain, which repeats the domain, then the broadcast address, which
//! follows from the mask, and so on. When even the [`INDISPENSABLE`] do not fit, there is no answer: one without what the
//! relay added would go nowhere.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, MessageType, UnknownOption};
use dhcproto::{Encodable, Encoder};
use ipnet::Ipv4Net;
use podzol_appliance_api::METADATA_ADDRESS;

use crate::reply::ReplyKind;
use crate::request::Request;
use crate::table::{Client, Network, Role};

/// All options that are ever sent, the most important first.
const IMPORTANCE: [u8; 17] = [53, 54, 51, 61, 82, 1, 121, 3, 26, 6, 58, 59, 12, 15, 56, 28, 119];

/// How many of them, from the front, an answer is worth nothing without.
const INDISPENSABLE: usize = 6;

/// What a client gets that says nothing of what it wants. Classless routes are not among it: they are only for those who ask
/// (RFC 3442), and so is the search domain (RFC 3397).
const WITHOUT_LIST: [u8; 5] = [3, 6, 12, 15, 28];

/// What a client may ask for.
const ON_REQUEST: [u8; 7] = [3, 6, 12, 15, 28, 119, 121];

/// The IP packet that every host takes, and the least that option 57 may say (RFC 2132, 9.10).
const SMALLEST_MAX: u16 = 576;

/// IP, UDP and BOOTP headers with the magic cookie, which count towards option 57, and the option "end".
const OVERHEAD: usize = 20 + 8 + 240 + 1;

/// What the options of one answer are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offered<'a> {
    pub(crate) network: &'a Network,
    pub(crate) client: &'a Client,
    pub(crate) request: &'a Request,
}

impl Offered<'_> {
    /// The options as bytes, up to and with "end". None if those that must be there do not fit.
    pub(crate) fn options(&self, kind: ReplyKind) -> Option<Vec<u8>> {
        let encoded = |code: u8| Some((code, encode(&self.option(kind, code)?)?));
        let mut options: Vec<(u8, Vec<u8>)> = self.codes(kind).into_iter().filter_map(encoded).collect();
        for code in IMPORTANCE.iter().rev() {
            if options.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() <= self.room() {
                break;
            }
            if IMPORTANCE[..INDISPENSABLE].contains(code) {
                return None;
            }
            options.retain(|(other, _)| other != code);
        }
        let mut bytes: Vec<u8> = options.into_iter().flat_map(|(_, bytes)| bytes).collect();
        bytes.push(255);
        Some(bytes)
    }

    /// How many bytes the options may have. More than the network's MTU would be sent in fragments, which a client without
    /// an address may not put together.
    fn room(&self) -> usize {
        let accepted = self.request.max_size.unwrap_or(SMALLEST_MAX).max(SMALLEST_MAX);
        usize::from(accepted.min(self.network.mtu)).saturating_sub(OVERHEAD)
    }

    /// Which options, in order.
    fn codes(&self, kind: ReplyKind) -> Vec<u8> {
        let mut codes = match kind {
            ReplyKind::Nak => vec![53, 54, 56],
            ReplyKind::Information { .. } => vec![53, 54, 1, 26],
            ReplyKind::Offer | ReplyKind::Ack => vec![53, 54, 51, 58, 59, 1, 26],
        };
        if kind != ReplyKind::Nak {
            for code in self.request.parameters.as_deref().unwrap_or(&WITHOUT_LIST) {
                if ON_REQUEST.contains(code) && !codes.contains(code) {
                    codes.push(*code);
                }
            }
        }
        // What the relay added is last, so that it can take it off again (RFC 3046, 2.2).
        codes.extend([61, 82]);
        codes
    }

    /// An option's value, if there is one for this client.
    fn option(&self, kind: ReplyKind, code: u8) -> Option<DhcpOption> {
        let cidr = self.network.cidr;
        let lease = self.network.lease_secs;
        Some(match code {
            1 => DhcpOption::SubnetMask(cidr.net().netmask()),
            3 if self.client.role == Role::Primary => DhcpOption::Router(vec![cidr.gateway()]),
            6 => DhcpOption::DomainNameServer(vec![cidr.gateway()]),
            12 => DhcpOption::Hostname(self.client.name.as_ref()?.as_str().to_owned()),
            15 => DhcpOption::DomainName(self.network.domain.as_str().to_owned()),
            26 => DhcpOption::InterfaceMtu(self.network.mtu),
            28 => DhcpOption::BroadcastAddr(cidr.net().broadcast()),
            51 => DhcpOption::AddressLeaseTime(lease),
            53 => DhcpOption::MessageType(message_type(kind)),
            54 => DhcpOption::ServerIdentifier(cidr.gateway()),
            56 => DhcpOption::Message("this address is not the client's".to_owned()),
            // The halves and eighths that RFC 2131, 4.4.5 has for clients that are not told.
            58 => DhcpOption::Renewal(lease / 2),
            59 => DhcpOption::Rebinding(lease - lease / 8),
            61 => DhcpOption::ClientIdentifier(self.request.client_id.clone()?),
            82 => unknown(82, self.request.relay.clone()?),
            // A search list of one (RFC 3397, 2): a single name has nothing to compress.
            119 => unknown(119, self.network.domain.to_wire()),
            121 => DhcpOption::ClasslessStaticRoute(self.routes()),
            _ => return None,
        })
    }

    /// Where metadata is, so that it is asked for through this interface, and the way to everywhere for those who have it
    /// through this router: whoever takes this option ignores option 3 (RFC 3442).
    fn routes(&self) -> Vec<(Ipv4Net, Ipv4Addr)> {
        let gateway = self.network.cidr.gateway();
        let mut routes = vec![(Ipv4Net::from(METADATA_ADDRESS), gateway)];
        if self.client.role == Role::Primary {
            routes.push((Ipv4Net::default(), gateway));
        }
        routes
    }
}

const fn message_type(kind: ReplyKind) -> MessageType {
    match kind {
        ReplyKind::Offer => MessageType::Offer,
        ReplyKind::Ack | ReplyKind::Information { .. } => MessageType::Ack,
        ReplyKind::Nak => MessageType::Nak,
    }
}

/// An option given as bytes. `dhcproto` would take what a relay added apart and put it together in another order.
fn unknown(code: u8, bytes: Vec<u8>) -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(code.into(), bytes))
}

fn encode(option: &DhcpOption) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    option.encode(&mut Encoder::new(&mut bytes)).ok()?;
    Some(bytes)
}
