//! The console domain: what console proxies are called, and the name server that is its authority.
//!
//! [`ConsoleNames`] is a handle on the names. Who knows the proxies sets their addresses, whole; [`Server`] answers for the
//! names of these and for nothing else. It converges to nothing and keeps nothing: what is set last is what it says.
//!
//! ```text
//!  who knows the proxies ── set(addresses) ─▶ ConsoleNames ◀── find ── Zone ◀── answer ◀── packets, within their rates
//!  who makes links ─────── name_of(address) ─▶     │
//! ```
//!
//! - **What is hostile** (any packet) never ends it, never takes memory without a bound, and is never answered by much
//!   more than it brought: answers are small, networks have rates, transfers and names of others are refused, and all
//!   types of a name are asked for in vain.
//! - **What breaks** is one client's affair: a packet at which the reader fails is one without an answer, a connection that
//!   is slow makes room for the next.
//!
//! This crate knows no SQL, no use cases, and nothing of proxies but their addresses.
//!
//! # Design notes
//! - It is built of hickory's packets (`hickory-proto`) and not of its server (`hickory-server` 0.26), for that one answers
//!   malformed *answers*, so that two of them could go on for ever; logs two lines for each query; starts a task for each
//!   packet and each connection without a limit; and has no place for a rate before a packet is read. Its answers do not
//!   compress names against the question either, which makes them half as long again.
//! - The sockets are bound to single addresses. At the wildcard address, a machine with several would answer from another
//!   than was asked, and resolvers drop that.
//! - The zone is not signed: its records live a minute, and TLS proves to the browser whom it has reached.
//! - There are no secondary servers by transfer: every management server answers from what it knows itself.

mod answer;
mod counters;
mod label;
mod names;
mod rate;
mod server;
mod tcp;
mod zone;

pub use counters::Counters;
pub use names::{ConsoleNames, NameForm};
pub use server::{ListenError, Server, Settings};
pub use zone::NameServer;
