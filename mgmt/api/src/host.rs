//! Hosts and storage servers.

use std::collections::BTreeSet;

use podzol_vocab::{HostId, Name, PodId, Secret, StorageServerId, ZoneId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Timestamp;
use crate::operation::Operation;

/// How a host or storage server stands to the management service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// It has a token, and has not joined yet.
    Joining,
    /// It reports.
    Up,
    /// It has not reported for a while. What runs on it is left as it is.
    Disconnected,
    /// It reports, and gets nothing new, because an operator said so.
    Maintenance,
    /// It was removed; its certificate is refused.
    Removed,
}

/// A computing server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Its name, unique among hosts and storage servers.
    pub name: Name,
    /// Its pod.
    pub pod: PodId,
    /// Its zone.
    pub zone: ZoneId,
    /// How it stands.
    pub state: ServerState,
    /// Where its agent listens, once it has reported.
    pub address: Option<String>,
    /// Its agent's version.
    pub agent_version: Option<String>,
    /// Its hypervisor and version.
    pub hypervisor: Option<String>,
    /// How VMs run on it: `kvm` or `emulation`.
    pub accelerator: Option<String>,
    /// What is wrong with it, in words.
    pub problem: Option<String>,
    /// Processors for VMs.
    pub cpus: u32,
    /// Virtual CPUs of the VMs that are placed on it.
    pub cpus_allocated: u32,
    /// Memory for VMs in MiB.
    pub memory_mib: u64,
    /// Memory of the VMs that are placed on it, in MiB.
    pub memory_allocated_mib: u64,
    /// VMs that are placed on it.
    pub vms: u32,
    /// What VMs may ask of it, through their offering.
    #[serde(default)]
    pub tags: BTreeSet<Name>,
    /// When it last reported.
    pub reported_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its last report, as the agent sent it; only when one host is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub report: Option<serde_json::Value>,
}

/// Creates a host, which then joins with a token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostCreate {
    /// Its name, unique among hosts and storage servers.
    pub name: Name,
    /// Its pod.
    pub pod: PodId,
}

/// A new host and the token with which it joins.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HostCreated {
    /// The host.
    pub host: Host,
    /// The one-time token. It is shown only here.
    #[schema(value_type = String)]
    pub join_token: Secret<String>,
    /// When the token ends.
    pub token_expires_at: Timestamp,
}

/// Changes a host. What is left out stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostUpdate {
    /// Whether new VMs stay away from it, and those on it are moved to other hosts.
    #[serde(default)]
    pub maintenance: Option<bool>,
    /// What VMs may ask of it, through their offering; 32 tags at the most. VMs that run on it stay.
    #[serde(default)]
    pub tags: Option<BTreeSet<Name>>,
}

/// A host that was changed, and the work that goes on because of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HostUpdated {
    /// The host as it is now.
    pub object: Host,
    /// The operation that moves its VMs away, if there are any.
    pub operation: Option<Operation>,
}

/// Narrows a list of hosts.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HostFilter {
    /// Only those in this pod.
    #[param(value_type = Option<String>)]
    pub pod: Option<PodId>,
}

/// A server with a storage agent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StorageServer {
    /// Its id.
    pub id: StorageServerId,
    /// Its name, unique among hosts and storage servers.
    pub name: Name,
    /// Its pod.
    pub pod: PodId,
    /// Its zone.
    pub zone: ZoneId,
    /// How it stands.
    pub state: ServerState,
    /// Where its agent listens, once it has reported.
    pub address: Option<String>,
    /// Its agent's version.
    pub agent_version: Option<String>,
    /// When it last reported.
    pub reported_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates a storage server, which then joins with a token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StorageServerCreate {
    /// Its name, unique among hosts and storage servers.
    pub name: Name,
    /// Its pod.
    pub pod: PodId,
}

/// A new storage server and the token with which it joins.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StorageServerCreated {
    /// The storage server.
    pub storage_server: StorageServer,
    /// The one-time token. It is shown only here.
    #[schema(value_type = String)]
    pub join_token: Secret<String>,
    /// When the token ends.
    pub token_expires_at: Timestamp,
}
