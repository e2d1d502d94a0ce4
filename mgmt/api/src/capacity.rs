//! Where a VM would go, and how many more would fit.

use podzol_vocab::{HostId, Name, OfferingId, PodId, PoolId, ZoneId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a VM would go now, and why not elsewhere. Nothing is changed by asking.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Placement {
    /// Whether it would fit.
    pub fits: bool,
    /// Why it would not, or why hosts would be passed over.
    pub reasons: Vec<String>,
    /// The host that it would go to; shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
    /// The pool of its root volume; shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolId>,
    /// All hosts of the zone, the one that would be chosen first; shown to admins only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
}

/// A host as placement sees it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    /// Which host.
    pub host: HostId,
    /// Its name.
    pub name: String,
    /// Why it would be passed over; nothing if the VM could go there.
    pub reason: Option<String>,
    /// Free memory in MiB, overcommit included.
    pub memory_free_mib: u64,
    /// Free virtual CPUs, overcommit included.
    pub vcpus_free: u32,
}

/// How many more VMs of an offering fit into a pod.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Capacity {
    /// The zone.
    pub zone: ZoneId,
    /// The pod.
    pub pod: PodId,
    /// The offering.
    pub offering: OfferingId,
    /// Its name.
    pub offering_name: Name,
    /// How many more fit now.
    pub fits: u64,
    /// What runs out first: `memory`, `vcpus`, `storage`, the `reserve` for hosts that fail, or `hosts` where none takes
    /// VMs of this offering.
    pub runs_out: String,
}
