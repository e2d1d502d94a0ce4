//! DHCP for IPv6 (RFC 8415), as far as a router needs it: every VM's interface has one address, known beforehand, and whoever
//! asks gets that.
//!
//! Who asks is told by where the packet comes from: a link-local address made of the MAC address, which the VM's host lets
//! no other VM send from. What a client says of itself (its DUID) is sent back and otherwise not looked at: clones of an image
//! have the same one, and a VM whose disk is replaced another.
//!
//! As with IPv4, nothing is remembered between packets: [`Table`] is a function of the document, and a router that took
//! another's place renews what that one gave. Its own DUID is made of its MAC address, which stays too.
//!
//! # Which packets get no answer
//! All from addresses that are no known VM's in that network; those that break a rule of RFC 8415, 16; those cut short or
//! longer than [`MAX_PACKET`](crate::MAX_PACKET); those with more parts than any client has a use for; and what is meant for
//! another server or for relays. That a packet came to one address instead of to all ([`SERVERS`]) is the caller's to see.
//!
//! # Design notes
//! - Prefixes and temporary addresses are refused, not passed over: a client that asks for one waits less.
//! - A second association of a client with its only address gets none: the address belongs to the first one.
//! - A client that DECLINEs its address gets it again: nobody else has it, as it is made of the MAC address, and hosts let
//!   nobody else answer for it.
//! - The parser is this crate's own, as that for IPv4 is, for the same reasons.

mod answer;
mod message;
mod table;

pub use answer::{Answer, Gives};
pub use table::Table;

use std::net::Ipv6Addr;

/// The port that servers listen on.
pub const SERVER_PORT: u16 = 547;

/// The port that clients listen on.
pub const CLIENT_PORT: u16 = 546;

/// Where clients send to: all servers and relays of a link.
pub const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
