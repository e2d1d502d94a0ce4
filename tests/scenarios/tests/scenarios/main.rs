//! What must hold on a lab: real servers, real KVM, real VLANs, real NFS. Run by `make test`: each has the lab
//! for itself, but for those in `beside`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod beside;
mod capacity;
mod clocks;
mod commands;
mod console;
mod cycles;
mod devices;
mod doctor;
mod faults;
mod http;
mod ipv6;
mod iso;
mod isolation;
mod kills;
mod limits;
mod migration;
mod pages;
mod restarts;
mod router;
mod rules;
mod spoofing;
mod vxlan;
