//! `podzol-lab`: a pod on one machine. Emulated servers boot Debian, get Podzol's programs as Debian packages, join, and
//! run VMs in KVM, as real ones would.
//!
//! Everything is in one network namespace: two bridges (the management network and the pod's switch), a tap for each
//! NIC, the servers, and the management service. What listens on 127.0.0.1 outside passes connections into it. So
//! ending the lab is ending the processes in the namespace, the namespace itself, and one folder; this works after a
//! crash at any point, because it needs to know nothing but the lab's name. What outlives a lab is beside the images: its
//! servers as they were when they had booted ([`kept`]), from which the next one goes on.

pub mod cloud;
pub mod console;
pub mod demo;
pub mod forward;
pub mod kept;
pub mod machine;
pub mod network;
pub mod program;
pub mod proof;
pub mod qmp;
pub mod ssh;
pub mod state;

pub use cloud::Cloud;
pub use console::Console;
pub use ssh::Ssh;
pub use state::{Host, Lab, Role};
