//! Offerings: named sizes and limits.

use std::collections::BTreeSet;

use podzol_vocab::{Name, OfferingId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::limits::Limits;

/// A named size with limits.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Offering {
    /// Its id.
    pub id: OfferingId,
    /// Its name, unique in the installation.
    pub name: Name,
    /// What a VM of it has.
    #[serde(flatten)]
    pub size: Size,
    /// The tags that a host must have for a VM of it.
    #[serde(default)]
    pub tags: BTreeSet<Name>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates an offering.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OfferingCreate {
    /// Its name, unique in the installation.
    pub name: Name,
    /// Virtual CPUs: 1 to 254.
    pub vcpus: u32,
    /// Weight when CPU time is scarce: 1 to 10,000; 100 when left out.
    #[serde(default = "ordinary_share")]
    pub cpu_share: u32,
    /// Memory in MiB: 32 to 4,194,304.
    pub memory_mib: u64,
    /// Size of the root disk in GiB: 1 to 4,096. A larger template decides itself.
    pub disk_gib: u64,
    /// The most network traffic each way in Mbit/s: 1 to 1,000,000; no limit when left out.
    #[serde(default)]
    pub network_mbps: Option<u64>,
    /// The most disk operations a second: 1 to 10,000,000; no limit when left out.
    #[serde(default)]
    pub iops: Option<u64>,
    /// The tags that a host must have for a VM of it; 32 at the most.
    #[serde(default)]
    pub tags: BTreeSet<Name>,
}

/// Changes an offering's limits; its size stays, which its VMs were placed by.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OfferingUpdate {
    /// Limits of each VM of it, in place of those before; running VMs have them within seconds.
    pub limits: Limits,
}

/// What a VM of an offering has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Size {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Weight when CPU time is scarce; 100 for an ordinary VM.
    pub cpu_share: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Size of the root disk in GiB.
    pub disk_gib: u64,
    /// The most network traffic each way in Mbit/s.
    pub network_mbps: Option<u64>,
    /// The most disk operations a second.
    pub iops: Option<u64>,
}

fn ordinary_share() -> u32 {
    100
}
