//! The management service, with real agents on simulated servers, as its users and operators see it.

mod exhaustion;
mod lifecycle;
mod parallel;
mod restarts;
