//! Affinity groups: VMs that keep together or apart.

use podzol_vocab::{AccountId, AffinityGroupId, Name, VmId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// How the VMs of a group keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// All on one host, or those that run are.
    Affinity,
    /// No two on one host.
    AntiAffinity,
}

/// VMs that keep together or apart, wherever they start or move.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AffinityGroup {
    /// Its id.
    pub id: AffinityGroupId,
    /// Its name, unique in its account.
    pub name: Name,
    /// Its account.
    pub account: AccountId,
    /// How its VMs keep.
    pub policy: Policy,
    /// Its VMs; only when one group is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vms: Option<Vec<VmId>>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates an affinity group. VMs come into it when they are created.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AffinityGroupCreate {
    /// Its name, unique in its account.
    pub name: Name,
    /// How its VMs keep.
    pub policy: Policy,
    /// Its account; the caller's own when left out. Only admins name another.
    #[serde(default)]
    pub account: Option<AccountId>,
}
