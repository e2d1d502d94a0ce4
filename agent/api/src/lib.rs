//! The host agent's API: the endpoints that it serves to the management service ([`vm`], [`host`]), and the report
//! that it sends ([`report`]). Everything goes over [`podzol_rpc`], with the management service as the only caller, but for the
//! streams of VMs' consoles ([`console`]), which console proxies open too, if they were granted them ([`grant`]).
//!
//! The agent is told whole VMs ([`vm::VmPlan`]) with a generation; what it is not told, it does not do. It knows no
//! customer, no account and no other host.

pub mod console;
pub mod grant;
pub mod host;
pub mod report;
pub mod vm;
