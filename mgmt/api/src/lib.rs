//! The bodies of the public API under `/v1`, one module per resource. They know no database and no HTTP.
//!
//! Every resource has the same shape: `Thing` is what is shown, `ThingCreate` what creates it, `ThingFilter` what a list
//! can be narrowed by. Unknown fields are refused; times are RFC 3339 in UTC; sizes carry their unit in their name.

pub mod account;
pub mod affinity;
pub mod capacity;
pub mod console;
pub mod doctor;
pub mod event;
pub mod firewall;
pub mod host;
pub mod limits;
pub mod load_balancer;
pub mod network;
pub mod offering;
pub mod operation;
pub mod page;
pub mod pool;
pub mod port_forward;
pub mod problem;
pub mod public_ip;
pub mod router;
pub mod static_nat;
pub mod template;
pub mod timestamp;
pub mod traffic;
pub mod vm;
pub mod volume;
pub mod zone;

pub use page::{Created, Page, PageQuery, UnnamedPageQuery};
pub use problem::Problem;
pub use timestamp::Timestamp;
