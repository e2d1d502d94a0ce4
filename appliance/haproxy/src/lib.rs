//! The routing appliance's balancers of HTTP: a document becomes a configuration of haproxy(1) and commands to it.
//!
//! ```text
//!   document, members that are down ─▶ Model ─┬─▶ Config: text, certificates, and which line is of which field
//!                                             └─▶ commands that make what haproxy has of what it should have
//! ```
//!
//! What a model's [shape](Model::fits) is, a process of haproxy has for its life: addresses, ports, certificates,
//! cookies, methods, limits, and how many places for members there are. Who is in the places, with which weight, and
//! whether it works, changes by commands, and connections go on meanwhile.
//! A process goes on with more places than there are members.
//!
//! Every text that gets into the configuration is of a type that holds nothing but letters, digits and a few harmless
//! signs: ids, addresses, numbers, [`CookieName`](podzol_appliance_api::CookieName) and [`Folder`]. There is nothing to
//! escape, and nothing is escaped.
//!
//! This crate never runs haproxy: it makes text and reads text. It asks no member whether it works; who does, says so by
//! the set of those that are down.
//!
//! # Design notes
//! - haproxy can check members itself. But its checks begin anew with each process, so that after each reload a dead
//!   member would be believed to work; and there would be two kinds of checks in one router.
//! - A member that drains has the weight 0 and is not in haproxy's state `drain`, which no configuration can begin with:
//!   so a new process has all members as they should be from its first moment.
//! - haproxy can add and remove servers (`add server`), but not with a cookie, and a server that still has connections
//!   cannot be removed. Places that stand empty can be taken and left at any time.
//! - Cookies are haproxy's `dynamic` ones: made of a key, the member's address and its port. So they are the same in every
//!   process and on every router, whatever place the member is in, and say nothing to those who do not know the key.

mod blame;
mod config;
mod model;
mod servers;
mod stats;

pub use blame::{Blame, blame};
pub use config::{Certificate, Config, Folder, USER};
pub use model::Model;
pub use servers::{LIST_SERVERS, Servers};
pub use stats::{LIST_STATS, Shown, stats};

/// What haproxy says is not in the form that it is known to have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {line:?} of what haproxy says to `{asked}`")]
pub struct ReadError {
    asked: &'static str,
    line: String,
}
