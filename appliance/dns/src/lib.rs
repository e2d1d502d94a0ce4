//! The routing appliance's name server: what guest networks' VMs are called, and, through forwarders, the rest of the
//! world.
//!
//! [`Server`] is a pure machine: packets, times and a document's [`Zones`] go in, [`Action`]s come out. It has no
//! socket, no clock and no task; the caller sends and receives. So each rule is a test of a few lines.
//!
//! ```text
//!  a client's packet ─▶ too many? not from its network? no query? ─▶ dropped, refused, or an error
//!                       │
//!                       ├─ a guest network's domain, or an address in its range ─▶ Zones, as their authority
//!                       ├─ a name that the world has no answer for ─▶ an empty zone (RFC 6761, RFC 6303)
//!                       ├─ all records of a name ─▶ as few as may be (RFC 8482)
//!                       ├─ asked before, and still true ─▶ cache
//!                       └─ forwarders, each question once at a time, however many wait for its answer
//! ```
//!
//! - **What is hostile** (any packet) never panics, never makes it loop, and never takes memory without a bound: names
//!   in questions are not compressed, records are walked and never followed, tables have limits ([`Limits`]).
//! - **Answers of forwarders** are kept and passed on as they are but for id, case of the question, TTLs, flags and the
//!   OPT record. Addresses in them are not judged: private ones from outside pass (no rebind protection), for
//!   customers' own domains have them.
//! - **DNSSEC** is the forwarders' and clients' affair: DO and CD reach the forwarder, AD reaches who understands it.
//!   The router's own zones are not signed.
//!
//! # Design notes
//! - The parser is this crate's own. A general one builds a message of names and records on the heap for each query,
//!   which costs more than the rest of an answer together. Tests read all answers with one.
//! - The case of a question's letters comes back as it was, for clients that hide random bits there ("0x20"). Towards
//!   forwarders the id and the socket are the random bits.

mod action;
mod cache;
mod flight;
mod flights;
mod forward;
mod local;
mod name;
mod query;
mod rate;
mod records;
mod reply;
mod response;
mod reverse;
mod reverse6;
mod server;
mod special;
mod wire;
mod zones;

pub use action::{Action, Client, Via};
pub use server::{Limits, Server};
pub use zones::Zones;
