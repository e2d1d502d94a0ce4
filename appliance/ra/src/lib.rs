//! Router advertisements for IPv6 (RFC 4861) as a routing appliance sends them: what VMs of a network are told, what of
//! theirs counts as a question for it, and when it is said.
//!
//! VMs learn from it who their router is, that their network's prefix is on the link, its MTU and where names are asked for;
//! and that addresses are had by DHCPv6 alone (M=1, A=0): which one a VM has is known beforehand to those who guard its port
//! and count its traffic, and none that it makes up would pass them.
//!
//! This crate does no I/O and knows no clock. A packet that breaks a rule is no question; nothing in a packet makes it panic,
//! and nothing of a packet is kept.
//!
//! # Design notes
//! - A router that takes another's place says the same from the same address ([`podzol_vocab::LINK_GATEWAY`]) and the same
//!   MAC address, so VMs do not see that it is another one. So nobody says good-bye with a lifetime of zero (RFC 4861,
//!   6.2.5): the old router would take away what the new one gives.
//! - A network that had IPv6 keeps it and its prefix until it is deleted; nothing here takes a prefix back.

mod advert;
mod schedule;
mod solicitation;

pub use advert::{Advert, DefaultRouter};
pub use schedule::Schedule;
pub use solicitation::{SOLICITATION, Solicitation, solicitation};

use std::net::Ipv6Addr;

/// All nodes of a link, who hear advertisements (RFC 4291, 2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// All routers of a link, who hear solicitations (RFC 4291, 2.7.1).
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The hop limit that all packets of neighbour discovery have: none that was forwarded does (RFC 4861, 3.1).
pub const HOP_LIMIT: u8 = 255;
