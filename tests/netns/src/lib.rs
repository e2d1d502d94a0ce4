//! A router with everything around it, each in a network namespace of its own on this machine's kernel: a management
//! network, an outside, and VMs on a switch.
//!
//! ```text
//!   management 192.168.99.1 ──── eth1 ┐
//!                                     router ── eth0 ── switch ── vm namespaces (10.1.1.2 …)
//!   outside    203.0.113.1  ──── eth2 ┘
//! ```
//!
//! The router is the real program in a namespace; or, if `PODZOL_ROUTER` names a template, it is a VM of that under
//! emulation, whose processor and kernel are its own. The namespaces and the processes in them go with the [`World`].

mod body;
mod certificates;
mod client;
mod http;
mod ipv6;
mod machine;
mod namespace;
mod site;
mod wait;
mod world;

pub use client::{Caller, Session};
pub use http::{Kept, Reply, echo};
pub use ipv6::{GATEWAY6, INTERNET6};
pub use machine::{Firmware, Machine};
pub use namespace::{Namespace, Running};
pub use site::{Connection, Load, Site, Try, Visit};
pub use wait::wait_for;
pub use world::{GATEWAY, NETWORK, OUTSIDE, PUBLIC, SECOND_PUBLIC, Vm, World, seed_drive};
