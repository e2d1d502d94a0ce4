//! The routing appliance's API: one document ([`Document`]) says all that a router should do, and the status
//! ([`RouterStatus`]) says what it does.
//!
//! The document is put whole, with a generation, or changed by what is different from the generation in force
//! ([`Delta`]): the thousandth rule costs what the first did on the wire too. The management service is the only caller.
//!
//! This crate does no I/O and knows neither nftables nor any protocol that the router serves.

mod check;
mod delta;
mod document;
mod endpoint;
mod firewall;
mod seed;
mod status;

pub use check::Problem;
pub use delta::{Delta, DeltaError, Entries};
pub use document::{
    Balancer, Check, CheckKind, Document, DomainName, EgressPolicy, GuestNetwork, Member, Method,
    PortForward, PublicSide, StaticNat, VmFacts, VmNic,
};
pub use endpoint::{DiagnosisGet, DocumentPatch, DocumentPut, LogsGet, StatusGet};
pub use firewall::{EgressRule, IngressRule, PortRange, Traffic, Transport};
pub use seed::{ManagementRoute, ManagementSide, RouterSeed, SEED_FILE};
pub use status::{Counters, Diagnosis, Health, LogLine, Logs, Phase, RouterStatus};

/// The port of the appliance's API on its management interface.
pub const PORT: u16 = 8447;

/// Where VMs ask for what they should know of themselves (RFC 3927 range; the address that cloud-init's sources use).
pub const METADATA_ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(169, 254, 169, 254);
