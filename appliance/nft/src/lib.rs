//! The routing appliance's packet filter and NAT: a document becomes text for nft(8).
//!
//! One skeleton ([`skeleton`]) is loaded before any link is up and never changes. What a document says stands in the
//! elements of its sets and maps, and in one small chain for each balancer ([`Ruleset`]). A change of the document is
//! the difference of two such rule sets, in one transaction: the thousandth rule costs what the first did.
//!
//! ```text
//!  eth1 ── input: the appliance's API, echo requests; nothing is ever forwarded from or to it
//!
//!  eth2 ──┬─ to_vms (DNAT: ports, ranges, balancers, static NAT) ── forward ── ingress: closed but for its sets
//!         └─ input: ICMP by the same ingress sets, and resets where a balancer has no member left
//!
//!  eth0, eth3 … ── spoofed: a source must be in the link's own network
//!         ├─ input: DHCP, DNS, metadata, passwords, echo requests, to the link's own addresses only
//!         ├─ forward to eth2: the network's egress policy and its exceptions, then source NAT
//!         ├─ forward to another guest network: allowed, for both are the same account's
//!         └─ to a public address: as from eth2 (hairpin)
//! ```
//!
//! - **Hairpin.** A VM that opens a connection to a public address of its own router is a source like any other: the
//!   ingress rules must let its private address in, as a rule for 0.0.0.0/0 does.
//! - **Established connections** go on whatever becomes of the rule that let them in; a rule decides about new ones.
//! - **Without an address outside** (no source NAT and no static NAT) nothing leaves at all.
//! - **Counting** is done in a table of its own, so that repairing the filter keeps the counters. What is counted was
//!   let through; traffic that stays on one link is not.
//!
//! This crate never runs nft(8): it makes text and reads text. It does not know the links' addresses or routes, which it
//! relies on for the check of sources (`fib`), so links have theirs before they are in a document's rule set.
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
//! - ICMP's type and code are matched as `ct original proto-dst`, where connection tracking keeps them as one 16-bit
//!   number: one set serves all protocols.
//! - Port ranges that are shifted (8000-8010 to 9000-9010) become single ports: nft has no expression for them.

mod balancer;
mod counters;
mod listing;
mod pieces;
mod ruleset;
mod script;
mod shape;
mod span;

pub use counters::{Counted, LIST_COUNTERS, counters};
pub use listing::{LIST, ListingError, Observed, observed};
pub use ruleset::Ruleset;
pub use script::skeleton;
pub use shape::Shape;
