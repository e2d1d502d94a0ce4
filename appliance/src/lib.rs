//! The routing appliance: what runs in a router, from its kernel's first process to its services.
//!
//! A router is told one document ([`podzol_appliance_api::Document`]) with a generation, and converges to it: links,
//! rules of the packet filter, leases, names, metadata, balancers. It writes to no disk. Everything that it does is a
//! function of the document, so a router in the place of another does the same.
//!
//! ```text
//!   init (PID 1)      mounts, modules, the power button, children's ends; a router that ends reboots the machine
//!     └─ router       seed -> links -> control API ── document ──▶ rules, links, then the services
//!          └─ haproxy balances HTTP, in images that have it
//! ```
//!
//! It knows no account, no host and no other router.

mod capture;
mod conntrack;
mod console;
mod haproxy;
mod health;
pub mod init;
mod links;
mod log;
mod nft;
mod router;
pub mod run;
mod seed;
mod serve;
mod server;
mod shown;
mod status;
mod tally;
