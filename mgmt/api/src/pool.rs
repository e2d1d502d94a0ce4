//! Pools.

use podzol_vocab::{ByteSize, Name, PoolId, StorageServerId, ZoneId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// How far a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PoolState {
    /// It is being made on its storage server.
    Creating,
    /// Volumes can be made in it.
    Ready,
    /// It could not be made.
    Failed,
    /// It is being removed.
    Deleting,
}

/// A place for volumes on a storage server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Pool {
    /// Its id.
    pub id: PoolId,
    /// Its name, unique in the installation.
    pub name: Name,
    /// Its storage server.
    pub storage_server: StorageServerId,
    /// Its zone.
    pub zone: ZoneId,
    /// How hosts reach it: `nfs`.
    pub kind: String,
    /// Its folder on the storage server.
    pub path: String,
    /// How far it is.
    pub state: PoolState,
    /// How much fits in.
    pub capacity_bytes: ByteSize,
    /// How much is used.
    pub used_bytes: ByteSize,
    /// The sum of its volumes' sizes.
    pub allocated_bytes: ByteSize,
    /// Why it failed.
    pub error: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates a pool in a folder of a storage server, exported over NFS.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolCreate {
    /// Its name, unique in the installation.
    pub name: Name,
    /// Its storage server.
    pub storage_server: StorageServerId,
    /// Its folder there: an absolute path without `..`.
    pub path: String,
}
