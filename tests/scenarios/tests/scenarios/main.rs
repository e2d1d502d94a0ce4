//! What must hold on a lab: real servers, real KVM, real VLANs, real NFS. Run by `make test`, one after another.

mod capacity;
mod cycles;
mod faults;
mod hostnet;
mod isolation;
mod restarts;
mod templates;
