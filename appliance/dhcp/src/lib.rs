//! DHCP for IPv4 as a routing appliance serves it: a packet goes in, and the packet to send and where to goes out.
//!
//! [`Table`] is made from the document and holds the address of every network interface. Nothing is remembered between
//! packets: a lease is a function of the document, so a router that was replaced gives everyone the same address, and there
//! is no file that could be lost. [`Limiter`] keeps one VM's flood from the others.
//!
//! This crate does no I/O and knows no clock. A packet that breaks a rule gets no answer; nothing in a packet makes it panic
//! or take more memory than a few times the packet's size.
//!
//! # Which packets get no answer
//! All from interfaces that the document does not know in that network. They are not told "no" either (RFC 2131, 4.3.2:
//! without a record, silence), because another server may know them. Further: BOOTP without a message type, what is not
//! Ethernet, what is meant for another server, and what is cut short or longer than [`MAX_PACKET`].
//!
//! # Design notes
//! `dhcproto` encodes options and reads the fixed header. Its own parser of options is not used: it asserts on lengths that
//! the sender chose, lets the last of several parts win where RFC 3396 joins them, and takes a packet that is cut short for
//! one that ends there. Its encoder of whole messages is not used either: it sorts options by number.

mod answer;
mod limiter;
mod offered;
mod reply;
mod request;
mod table;
pub mod v6;

pub use answer::{Answer, Event, EventKind};
pub use limiter::{Limiter, Limits, Rate};
pub use reply::{Destination, Reply, ReplyKind};
pub use request::MAX_PACKET;
pub use table::Table;

/// The port that servers and relays listen on.
pub const SERVER_PORT: u16 = 67;

/// The port that clients listen on.
pub const CLIENT_PORT: u16 = 68;
