//! How Podzol's parts speak to one another: an endpoint is a type, its bodies are JSON, and the connection is mutual
//! TLS with certificates from the installation's own authority.
//!
//! Who a peer *is* stands in its certificate ([`PeerId`]); where it is, an address book says. So a server may move to
//! another address without a new identity, and nobody gains an identity by taking over an address.
//!
//! This crate knows no endpoint but [`join::Join`], by which a server gets its identity.

pub mod client;
pub mod config;
pub mod daemon;
#[cfg(feature = "sim")]
pub mod elsewhere;
pub mod endpoint;
pub mod exec;
mod file;
pub mod identity;
pub mod join;
#[cfg(feature = "sim")]
pub mod older;
pub mod peer;
pub mod refusals;
pub mod server;
pub mod statement;
mod strangers;
pub mod stream;
pub mod tls;
#[cfg(feature = "sim")]
pub mod weather;

pub use client::{AddressBook, CallError, Client, sent_at};
pub use endpoint::{Endpoint, handle, handle_raw};
pub use identity::Identity;
pub use peer::{Caller, PeerId};
pub use refusals::{Refusal, Refusals};
pub use stream::{Asked, Bytes, StreamEndpoint, handle_stream};
