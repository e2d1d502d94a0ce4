//! Updates from a screen to viewers' pictures: scenes with what they cost, painting at random, viewers that are slow or lose
//! what they were sent, and bodies that are damaged.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../scenes/mod.rs"]
mod scenes;

mod format;
mod golden;
mod hostile;
mod plain;
mod random;
mod scenarios;
mod seeds;
mod world;
