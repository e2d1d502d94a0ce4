//! Volumes.

use podzol_vocab::{AccountId, ByteSize, Name, PoolId, VmId, VolumeId, ZoneId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Timestamp;
use crate::vm::Attachment;

/// How far a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VolumeState {
    /// It is being made; a root volume when its VM first starts.
    Creating,
    /// It is there.
    Ready,
    /// It is there, and is being given a larger size.
    Resizing,
    /// It could not be made; `error` says why. It can be deleted, or its operation retried.
    Failed,
    /// It is being destroyed.
    Deleting,
}

/// A virtual disk.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Volume {
    /// Its id. The VM sees its first 20 hexadecimal digits as the disk's serial number.
    pub id: VolumeId,
    /// Its name, unique in its account; a root volume has none.
    pub name: Option<Name>,
    /// Its account.
    pub account: AccountId,
    /// Its zone.
    pub zone: ZoneId,
    /// `root` or `data`.
    pub kind: String,
    /// Its size.
    pub size_bytes: ByteSize,
    /// How far it is.
    pub state: VolumeState,
    /// The VM that it belongs to, if any.
    pub vm: Option<VmId>,
    /// Whether that VM has it yet, or still.
    pub attachment: Option<Attachment>,
    /// Why it could not be made, or why it was last not attached or detached.
    pub error: Option<String>,
    /// Its pool; shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolId>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// What size a volume is to have.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeResize {
    /// Its new size in GiB: larger than the one it has, and at most 4,096.
    pub size_gib: u64,
}

/// Creates an empty data volume.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeCreate {
    /// Its name, unique in its account.
    pub name: Name,
    /// The zone whose VMs may have it.
    pub zone: ZoneId,
    /// Its size in GiB: 1 to 4,096.
    #[schema(minimum = 1, maximum = 4_096)]
    pub size_gib: u64,
    /// Its account; the caller's own when left out. Only admins name another.
    #[serde(default)]
    pub account: Option<AccountId>,
}

/// Gives a volume to a VM.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeAttach {
    /// The VM, of the volume's account and zone.
    pub vm: VmId,
}

/// Narrows a list of volumes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct VolumeFilter {
    /// Only those of this account; customers see only their own anyway.
    #[param(value_type = Option<String>)]
    pub account: Option<AccountId>,
    /// Only those in this state.
    #[param(inline)]
    pub state: Option<VolumeState>,
    /// Only those of this VM.
    #[param(value_type = Option<String>)]
    pub vm: Option<VmId>,
}
