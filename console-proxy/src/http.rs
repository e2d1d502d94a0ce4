//! What browsers and the proxy say to each other: `PROTOCOL.md`.
//!
//! ```text
//!   connection ─▶ TLS ─▶ HTTP ─▶ route ─▶ cookie ─▶ viewer ─▶ one of the modules below
//! ```
//! Nothing that a browser leaves undone holds anything for long: each step has its time, each body its size, and a connection that
//! takes nothing is closed. What an answer is made of is made when there is room for it.

mod answer;
mod busy;
mod connection;
pub(crate) mod fault;
mod input;
mod page;
pub(crate) mod repeats;
mod route;
mod serial;
mod serve;
mod socket;
mod state;
mod strangers;
mod stream;
mod updates;

pub(crate) use self::connection::listen;
