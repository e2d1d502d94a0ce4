//! What must hold on a lab: real servers, real KVM, real VLANs, real NFS. Run by `make test`, one after another.

mod capacity;
mod clocks;
mod cloud_init;
mod commands;
mod cycles;
mod devices;
mod emulation;
mod faults;
mod iso;
mod isolation;
mod kills;
mod limits;
mod migration;
mod on_hosts;
mod restarts;
mod spoofing;
mod templates;
mod vxlan;
