//! `podzol-lab`: a pod on one machine. Emulated servers boot Debian, get Podzol's programs as Debian packages, join, and
//! run VMs in KVM, as real ones would.
//!
//! ```text
//!  127.0.0.1 ─▶ forward ─▶ management service                         ┊
//!                          10.77.0.1                                  ┊  server: HTTP, DNS, echo
//!                              │                                      ┊  203.0.113.1, and 198.51.100.1 on lo
//!  mgmt ═══╤═════════════╤═════╧═══   switch ══╤══   outside ══╤═══ uplink ── eth0
//!          │             │                     │               │      ┊
//!     eth0 │        eth2 │                eth1 │          eth3 │      ┊
//!  ┌───────┴─────────────┴─────────────────────┴───────────────┴───┐  ┊
//!  │  10.77.0.11   br-management             trunk       br-public │  ┊
//!  │                     └────── a router ─────┴───────────────┘   │  ┊
//!  └───────────────────────────────────────────────────────────────┘  ┊
//!   h1, h2, …: computing. s1: storage, with eth0 and eth1 only        ┊
//!  namespace pzlab-…                                                  ┊  namespace pzlab-…-outside
//! ```
//!
//! Nearly everything is in one network namespace: three bridges (the management network, the pod's switch, and the
//! network outside), a tap for each NIC, the servers, and the management service. What is outside has a namespace of its
//! own, and nobody in the first one has an address on the way there: what customers send out reaches no part of the
//! cloud. The two bridges of a computing server into which routers are plugged have no addresses either; its boot makes
//! them. What listens on 127.0.0.1 outside of both passes connections to the management service.
//!
//! So ending the lab is ending the processes in the namespaces, the namespaces themselves, and one folder; this works
//! after a crash at any point, because it needs to know nothing but the lab's name. What outlives a lab is beside the
//! images: its servers as they were when they had booted ([`kept`]), from which the next one goes on.

pub mod cloud;
pub mod console;
pub mod demo;
pub mod forward;
pub mod internet;
pub mod kept;
pub mod machine;
pub mod network;
pub mod outside;
pub mod program;
pub mod proof;
pub mod qmp;
pub mod ssh;
pub mod state;

pub use cloud::Cloud;
pub use console::Console;
pub use ssh::Ssh;
pub use state::{Host, Lab, Role};
