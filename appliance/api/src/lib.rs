//! The routing appliance's API: one document ([`Document`]) says all that a router should do, and the status
//! ([`RouterStatus`]) says what it does.
//!
//! The document is put whole, with a generation, or changed by what is different from the generation in force
//! ([`Delta`]): the thousandth rule costs what the first did on the wire too. The management service is the only caller.
//!
//! This crate does no I/O and knows neither nftables nor any protocol that the router serves.

mod before;
mod capture;
mod check;
mod delta;
mod diagnosis;
mod document;
mod endpoint;
mod firewall;
mod http;
pub mod limits;
mod seed;
mod status;

pub use before::Before;
pub use capture::{Capture, CaptureProtocol, CapturedLink, PCAP};
pub use check::{Checker, Problem};
pub use delta::{Delta, DeltaError, Entries};
pub use diagnosis::{Diagnosis, Lease, LeaseEvent, Said, Talker, Tracked};
pub use document::{
    Balancer, Check, CheckKind, Document, EXTENSION_IPV6, EXTENSION_LIMITS, EgressPolicy, GuestNetwork,
    Limits, LocalPort, Member, Method, PortForward, PublicSide, PublicSide6, StaticNat, VmFacts, VmNic,
};
pub use endpoint::{CaptureMake, DiagnosisGet, DocumentPatch, DocumentPut, LogsGet, StatusGet};
pub use firewall::{EgressRule, EgressRule6, IngressRule, IngressRule6, Traffic, Traffic6};
pub use http::{CookieName, EXTENSION_L7, HttpBalancer, Termination};
pub use podzol_vocab::{DomainName, PortRange, Prefix64, Transport};
pub use seed::{ManagementRoute, ManagementSide, ProxyIdentity, RouterSeed, SEED_FILE};
pub use status::{Counters, Health, HttpBalancerStatus, HttpCounters, LogLine, Logs, Phase, RouterStatus};

/// The port of the appliance's API on its management interface.
pub const PORT: u16 = 8447;

/// The port of a console proxy's own API, on the management interface of the appliance around it.
pub const CONSOLE_PORT: u16 = 8448;

/// What an appliance says that it has, which is a console proxy's: the program itself.
pub const EXTENSION_CONSOLE: &str = "console";

/// Where VMs ask for what they should know of themselves (RFC 3927 range; the address that cloud-init's sources use).
pub const METADATA_ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(169, 254, 169, 254);

/// Where programs in VMs ask for the same over IPv6, in vain: nothing answers there, and a router says so at once.
pub const METADATA_ADDRESS6: std::net::Ipv6Addr =
    std::net::Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
