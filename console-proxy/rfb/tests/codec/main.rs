//! The codec against bytes that are written out here: each message and encoding, what is refused, pieces of every size, and
//! damaged bytes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod clipboard;
mod hextile;
mod hostile;
mod lies;
mod messages;
mod pixels;
mod pseudo;
mod security;
mod seeds;
mod splits;
mod tight;
mod wire;
mod world;
mod zrle;
