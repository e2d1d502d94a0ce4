//! The engine that carries operations to their end. It knows leases, attempts, backoff, deadlines and limits per queue;
//! it does not know what a VM is.
//!
//! An operation is a row that says *what* should be reached; [`Work`] takes it one attempt further. Attempts are
//! level-triggered: each looks at what is and does what is missing, so an attempt after a crash, a lost answer or a
//! lost lease is an attempt like any other. Nothing is ever undone by the engine: where reaching the goal is given up,
//! the work itself says what should be reached instead.
//!
//! It fails like this: when the database fails, nothing is claimed until it works again. When this process dies, its
//! leases run out after [`LEASE`] and another engine takes over, or this one after a restart.
//!
//! # Design notes
//! Refused: sagas with an undo action per step (the undo is tried once, then somebody has to look), and an in-memory
//! queue filled at start (a second server could not share it).

mod engine;
mod outcome;

pub use engine::{Engine, LEASE};
pub use outcome::{Outcome, Work};
