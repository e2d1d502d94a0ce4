//! What tests of several parts share: waiting for something ([`wait_for`]), the management service in this process
//! ([`ControlPlane`]), a client for its API ([`Api`]) with one-liners that make things, and disk images ([`image`]),
//! and customers' certificates ([`certificate`]).
//!
//! It knows no agent: those are in `podzol-sim`.

mod answer;
mod api;
pub mod certificate;
mod control_plane;
pub mod image;
mod make;
mod process;
mod stream;
pub mod virtual_time;
mod wait;

pub use answer::{Answer, text};
pub use api::Api;
pub use control_plane::ControlPlane;
pub use make::Customer;
pub use process::Process;
pub use stream::{Changes, Message};
pub use wait::{SOON, wait_for};
