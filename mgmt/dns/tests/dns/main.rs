//! The name server on loopback, asked by Debian's dig and by sockets of its own. Where dig is missing, that is said, and a
//! failure where `PODZOL_MUST_RUN` is set, as it is in CI.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod asked;
mod connections;
mod flood;
mod world;
