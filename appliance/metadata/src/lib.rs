//! What VMs ask a router about themselves: which bytes a VM gets for which HTTP request.
//!
//! [`Facts`] answers on port 80 what cloud-init's sources NoCloud, CloudStack and Ec2 ask for, and those that ask likewise;
//! [`Passwords`] answers on port 8080 in the form of CloudStack's password server. Both are made of the document. A VM is
//! known by the network that its request came in on and its source address, and gets its own data only; whoever is no VM
//! of the document gets 404 for everything.
//!
//! This crate does no I/O and has no clock: the time is a parameter. It does not know how a request came, so whoever
//! calls it has to see to it that a source address is real (the bridge's filters and the router's own do).
//!
//! # Design notes
//! All forms but NoCloud's are one tree, from which both the leaves and the lists of directories come, so a
//! list cannot promise what is not there. It is the same tree under every version, but for one path: CloudStack's
//! clients take all keys as text from `latest/meta-data/public-keys`, and EC2's a list of numbers. cloud-init reads both
//! by EC2's rules, as it asks for the list's own entries, and the list says `public-keys/`. What is left are those that
//! ask for `public-keys` without a slash: CloudStack's scripts (and cloudbase-init's source for it) do under `latest`, and
//! cloudbase-init's source for EC2 does under `2009-04-04`. So without a slash, `latest` and `1.0` give the text and the
//! versions with a date give the list; with a slash, all give the list.

mod answer;
mod ec2;
mod facts;
mod nocloud;
mod passwords;
mod path;
mod response;
mod token;
mod tree;

pub use facts::Facts;
pub use passwords::Passwords;
pub use response::{Request, Response};
pub use token::TokenKey;

/// The port of [`Facts`].
pub const METADATA_PORT: u16 = 80;

/// The port of [`Passwords`].
pub const PASSWORD_PORT: u16 = 8080;
