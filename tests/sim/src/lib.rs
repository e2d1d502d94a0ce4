//! A simulated pod: the real host agent and the real storage agent, on simulated servers.
//!
//! The agents run as they do on a server: joined by a token, over mutual TLS, with their own state machines. What is
//! simulated is what they stand on: the hypervisor ([`SimulatedHypervisor`]), the kernel's network links, NFS mounts and
//! exports ([`Exports`]). That outlives an agent, so an agent can be killed and started again under running VMs. Those of
//! the VMs that are routers answer the management service as routers do ([`SimulatedRouter`]).
//!
//! It knows no time but what a test asks for with a [`Fault`].

mod console_proxy;
mod exports;
mod fault;
mod filter;
mod host;
mod hypervisor;
mod links;
mod locks;
mod mounts;
mod pod;
mod router;
mod storage;
mod transit;
mod web;

pub use console_proxy::SimulatedConsoleProxy;
pub use exports::Exports;
pub use fault::{Fault, Faults, Step};
pub use filter::SimulatedFilter;
pub use host::SimHost;
pub use hypervisor::{SimulatedDomain, SimulatedHypervisor};
pub use locks::Locks;
pub use mounts::SimulatedMounts;
pub use pod::{PodPlan, SimPod};
pub use router::{Calls, SimulatedRouter};
pub use storage::SimStorage;
pub use web::SimWeb;
