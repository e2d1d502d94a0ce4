//! The routing appliance's packet filter and NAT: a document becomes text for nft(8), and bytes for the kernel where that is
//! what changes often or is much.
//!
//! One skeleton ([`skeleton`]) is loaded before any link is up and never changes. What a document says stands in the
//! elements of its sets and maps, and in one small chain for each balancer ([`Ruleset`]). A change of the document is
//! followed ([`Rules`]), in one transaction: the thousandth rule costs what the first did.
//!
//! ```text
//!  eth1 ── input: the appliance's API, which is not tracked, echo requests; nothing is ever forwarded from or to it
//!
//!  eth2 ──┬─ to_vms (DNAT: ports, ranges, balancers, static NAT) ── forward ── ingress: closed but for its sets
//!         └─ input: ICMP and ports of balancers of HTTP by the same ingress sets, and resets where a balancer of
//!                   connections has no member left
//!
//!  eth0, eth3 … ── spoofed: a source must be in the link's own network
//!         ├─ input: DHCP, DNS, which is not tracked, metadata, passwords, echo requests, to the link's own addresses only
//!         ├─ forward to eth2: the network's egress policy and its exceptions, then source NAT
//!         ├─ forward to another guest network: allowed, for both are the same account's
//!         └─ to a public address: as from eth2 (hairpin)
//! ```
//!
//! IPv6 has a table of its own ([`podzol_appliance_api::PublicSide6`]): the same chains without NAT, for a VM's address is the
//! same outside. A source must be a VM's that is known, behind its link; ingress is closed as well, and opened for an address
//! or for a network's prefix.
//!
//! - **Hairpin.** A VM that opens a connection to a public address of its own router is a source like any other: the
//!   ingress rules must let its private address in, as a rule for 0.0.0.0/0 does.
//! - **Established connections** go on whatever becomes of the rule that let them in; a rule decides about new ones.
//! - **Without an address outside** (no source NAT and no static NAT) nothing leaves at all.
//! - **Connections that a VM has begun** are counted by its address, in each family, when a packet begins one: at the limit it
//!   gets no answer. What the limit is stands in the rules that count ([`Ruleset`]), made anew when it changes.
//! - **Counting** is done in a table of its own, so that repairing the filter keeps the counters. What is counted was
//!   let through; traffic that stays on one link is not.
//!
//! This crate never runs nft(8) nor asks the kernel: it makes text and bytes, and reads them. It does not know the links' addresses
//! or routes, which it relies on for the check of sources (`fib`), so links have theirs before they are in a document's rule set.
//!
//! # Design notes
//! - Rules that overlap cannot be elements of one interval set: the kernel refuses overlaps (`File exists`). They are cut
//!   into pieces that do not; how stands in `pieces`.
//! - The interval sets with several fields (`nft_set_pipapo`) are copied by the kernel for each transaction and deletion
//!   looks at all elements: 5 and 23 ms at 5,000 elements, measured. So the common rule, one port for everybody, and the
//!   common forward, one port, are in hashes, where they cost the same at any number.
//! - The kernel deletes from such a set whatever begins where the given element begins. That is the right one only because
//!   elements never overlap and all deletions of a transaction come before its additions.
//! - [`Ruleset::whole`] makes the filter's tables anew rather than emptying them, so that nothing strange outlives it. A new
//!   chain's policy comes into force a moment after its rules: with policies alone, each repair let a packet through,
//!   measured. So the skeleton's chains end with `drop`.
//! - Refused for the check of sources: the kernel's own (`rp_filter`). It costs less, but packets that arrive together are
//!   routed by the first of them (`ip_route_use_hint`), and its setting is nothing that a transaction brings back.
//! - ICMP's type and code are matched as `ct original proto-dst`, where connection tracking keeps them as one 16-bit
//!   number: one set serves all protocols.
//! - Both families are counted in one table of the family `inet`: nft(8) of version 1.0.6 finds no more than the last table when
//!   it is asked for two at a time, and a program of its own for each would cost twice.
//! - Keys have `icmpv6`, which nft(8) reads without `/etc/protocols` too, unlike `ipv6-icmp`. It lists protocols by numbers then.
//! - Whether an address is the router's own outside says a set: `fib daddr . iif type local` matches none of IPv6 (Linux 6.18
//!   puts `local` and `unicast` together there).
//! - The gateway's answers to neighbour solicitation are let through by a rule for its link-local addresses: the kernel asks from
//!   the address that the waiting packet has, so they come to a global one.
//! - What each packet is asked goes by the groups of links and not by their names: of a name the kernel copies sixteen bytes
//!   one by one and compares them all, in six rules for a packet to the outside.
//! - Refused: the kernel's flow tables, which pass over all of this for established connections. They look at nothing but
//!   addresses, ports and the link: with one, on the template's kernel (6.1), a VM got segments far outside TCP's window,
//!   with wrong checksums of TCP or of IP's header, and in frames for another MAC address or for all. All of that is dropped
//!   here, and not counted. Nor do the counters see what a flow table passes on, and counters at links (`netdev`) see other
//!   things: fragments instead of the packet (4068 bytes for 4028), and what Ethernet fills short packets up with (46 for 40).
//! - Refused: `reject` for all unique local addresses (RFC 4193) outside. Sites may have nothing else; what is theirs to route,
//!   their gateway knows.
//! - Refused: to count the connections that are begun to VMs too. Whoever floods a VM's public port from outside would then keep
//!   others out of it with few packets; as it is, the kernel forgets what was never answered first (`early_drop`).
//! - Port ranges that are shifted (8000-8010 to 9000-9010) become single ports: nft has no expression for them.

mod balancer;
mod counters;
mod limit;
mod listing;
mod rules;
mod ruleset;
mod script;
mod shape;
mod skeleton;
mod wire;
mod written;

pub use counters::{Counted, counters};
pub use listing::{LIST, ListingError, Observed, observed};
pub use rules::{Down, Rules};
pub use ruleset::Ruleset;
pub use script::{Change, Step};
pub use shape::Shape;
pub use skeleton::{first_load, skeleton};
pub use wire::{Batch, BatchError, Dump, DumpError};

/// The groups of links, as the skeleton has them: that of the link to the management network, that of the one to the outside,
/// and that of all others, which is the kernel's for links that nobody has put in one.
pub const MANAGEMENT_GROUP: u32 = 1;
/// See [`MANAGEMENT_GROUP`].
pub const OUTSIDE_GROUP: u32 = 2;
/// See [`MANAGEMENT_GROUP`].
pub const OTHER_GROUP: u32 = 0;

/// The user that balances HTTP, as the skeleton has it: what it may do and how it counts go by that.
pub const BALANCER: u32 = 65_080;
