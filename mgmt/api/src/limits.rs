//! Limits of what each VM may do, and quotas of what an account may have.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Limits of each VM of an account or a zone, where nothing nearer to the VM says otherwise: its offering comes first, then
/// its account, then its zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The most network traffic each way of each interface in Mbit/s: 1 to 1,000,000; no limit when left out.
    #[serde(default)]
    pub network_mbps: Option<u64>,
    /// The most disk operations a second of each disk: 1 to 10,000,000; no limit when left out.
    #[serde(default)]
    pub iops: Option<u64>,
}

/// Where a limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitFrom {
    /// The VM's offering.
    Offering,
    /// Its account.
    Account,
    /// Its zone.
    Zone,
}

/// A limit that is in force for a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limit {
    /// How much, in the unit of its name.
    pub value: u64,
    /// Where it comes from.
    pub from: LimitFrom,
}

/// The limits in force for a VM; none where nothing limits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct VmLimits {
    /// The most network traffic each way of each interface, in Mbit/s.
    pub network_mbps: Option<Limit>,
    /// The most disk operations a second of each disk.
    pub iops: Option<Limit>,
}

/// The most that an account may have; no limit of what is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    /// VMs, running or not.
    #[serde(default)]
    pub vms: Option<u64>,
    /// Virtual CPUs of all its VMs.
    #[serde(default)]
    pub vcpus: Option<u64>,
    /// Memory of all its VMs in MiB.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Volumes, root volumes included.
    #[serde(default)]
    pub volumes: Option<u64>,
    /// The sum of its volumes' sizes in GiB.
    #[serde(default)]
    pub storage_gib: Option<u64>,
    /// Networks.
    #[serde(default)]
    pub networks: Option<u64>,
    /// Addresses of its VMs' network interfaces.
    #[serde(default)]
    pub addresses: Option<u64>,
    /// Public addresses, but for the one that its router takes.
    #[serde(default)]
    pub public_ips: Option<u64>,
    /// Console sessions.
    #[serde(default)]
    pub console_sessions: Option<u64>,
    /// API requests a second of all its users together, on average: 1 to 1,000,000. What the installation allows when left
    /// out.
    #[serde(default)]
    pub api_requests_per_second: Option<u32>,
}

/// What an account has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct InUse {
    /// VMs.
    pub vms: u64,
    /// Virtual CPUs.
    pub vcpus: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Volumes.
    pub volumes: u64,
    /// The sum of its volumes' sizes in bytes.
    pub storage_bytes: u64,
    /// Networks.
    pub networks: u64,
    /// Addresses.
    pub addresses: u64,
    /// Public addresses, but for the one that its router takes.
    #[serde(default)]
    pub public_ips: u64,
    /// Console sessions.
    #[serde(default)]
    pub console_sessions: u64,
}
