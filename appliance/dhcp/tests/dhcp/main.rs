//! What clients send, what the table answers, and what hostile packets get.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod clients;
mod destinations;
mod hostile;
mod messages;
mod options;
mod packet;
mod v6;
mod world;
