//! The storage agent's API: pools, templates and volumes, and the report that it sends.
//!
//! Every object is told whole, and told again it is success. A storage agent knows neither VMs nor accounts.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use podzol_rpc::{Endpoint, Refusal};
use podzol_vocab::{ByteSize, PoolId, Secret, Sha256, StorageServerId, VolumeId};
use serde::{Deserialize, Serialize};

macro_rules! endpoint {
    ($(#[$doc:meta])* $name:ident: $method:ident $route:literal ($($part:ident: $type:ty),*), $request:ty => $answer:ty) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl Endpoint for $name {
            const METHOD: Method = Method::$method;
            const ROUTE: &'static str = $route;
            type Path = ($($type,)*);
            type Request = $request;
            type Answer = $answer;

            fn path(($($part,)*): &Self::Path) -> String {
                format!($route)
            }
        }
    };
}

endpoint! {
    /// Makes a pool in a folder of the storage server, and exports it.
    PoolPut: PUT "/v1/pools/{pool}" (pool: PoolId), PoolPlan => PoolStatus
}
endpoint! {
    /// Ends the export of a pool and forgets it. Refused while it has volumes; its templates are removed.
    PoolDelete: DELETE "/v1/pools/{pool}" (pool: PoolId), () => ()
}
endpoint! {
    /// Brings a template into a pool. Answers when it is there, has failed, or `wait_ms` has passed.
    TemplatePut: PUT "/v1/pools/{pool}/templates/{sha256}" (pool: PoolId, sha256: Sha256), TemplatePlan => TemplateStatus
}
endpoint! {
    /// Removes a template from a pool; success when it is not there. Refused while a volume is based on it. Whether an ISO
    /// is in a VM's drive is not known here: whoever asks has made sure that it is in none.
    TemplateDelete: DELETE "/v1/pools/{pool}/templates/{sha256}" (pool: PoolId, sha256: Sha256), () => ()
}
endpoint! {
    /// Makes a volume.
    VolumePut: PUT "/v1/pools/{pool}/volumes/{volume}" (pool: PoolId, volume: VolumeId), VolumePlan => VolumeStatus
}
endpoint! {
    /// Destroys a volume; success when it is not there.
    VolumeDelete: DELETE "/v1/pools/{pool}/volumes/{volume}" (pool: PoolId, volume: VolumeId), () => ()
}
endpoint! {
    /// What is in a pool.
    PoolContents: GET "/v1/pools/{pool}/contents" (pool: PoolId), () => Contents
}
endpoint! {
    /// Sends a report to the management service.
    StorageReportPost: POST "/v1/storage-servers/{server}/report" (server: StorageServerId), StorageReport => ()
}

/// What a pool should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolPlan {
    /// The folder on the storage server. It must be empty, or this very pool's already.
    pub path: String,
    /// The addresses of the hosts that may mount it.
    pub hosts: Vec<String>,
}

/// What a pool is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Which pool.
    pub pool: PoolId,
    /// The storage server's address on the storage network, for mounting.
    pub server: String,
    /// The exported folder.
    pub export: String,
    /// How much fits in.
    pub capacity: ByteSize,
    /// How much is used.
    pub used: ByteSize,
    /// The sum of its volumes' sizes.
    pub allocated: ByteSize,
}

/// Where a template comes from, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplatePlan {
    /// Where its bytes are.
    pub source: TemplateSource,
    /// What it is.
    #[serde(default, skip_serializing_if = "TemplateFormat::is_qcow2")]
    pub format: TemplateFormat,
    /// Who made it, which some storage servers want to know. Left out where nobody says so, for agents that do not know the
    /// field yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedManifest>,
    /// How long to wait for it, in milliseconds.
    pub wait_ms: u64,
}

/// A manifest that lists a template's SHA-256 among its files, and a signature over it: `podzol-image sign` writes both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedManifest {
    /// The whole text of `manifest.json`, to the byte.
    pub manifest: String,
    /// The text of `manifest.sig`: an Ed25519 signature in Base64.
    pub signature: String,
}

/// Where a template's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TemplateSource {
    /// Somewhere on the web. The URL may hold a password.
    Url {
        /// An `http` or `https` URL.
        url: Secret<String>,
    },
    /// At the management service, where somebody uploaded it.
    Management {
        /// The path to get it from.
        path: String,
    },
}

/// What a template is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateFormat {
    /// A qcow2 image, which volumes are based on.
    #[default]
    Qcow2,
    /// An ISO 9660 image, which VMs have in their drives; see [`iso_file`].
    Iso,
}

impl TemplateFormat {
    /// Left out where it says nothing, so that an agent which does not know the field yet takes the plan.
    fn is_qcow2(&self) -> bool {
        *self == Self::Qcow2
    }
}

/// The file of an ISO in every pool that has it, relative to the exported folder.
pub fn iso_file(sha256: Sha256) -> String {
    format!("templates/{sha256}.iso")
}

/// How far the import of a template is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TemplateStatus {
    /// Bytes are coming in.
    Importing {
        /// How many have come.
        done: ByteSize,
        /// How many there are, if the source says.
        total: Option<ByteSize>,
    },
    /// It is there, and its digest is right.
    Ready {
        /// The size of the file.
        size: ByteSize,
        /// The size of the disk in it, or of the file system in an ISO.
        virtual_size: ByteSize,
    },
    /// It could not be brought in, and nothing of it is left. The next request tries again.
    Failed {
        /// Whether trying again can help.
        transient: bool,
        /// Why.
        message: String,
    },
}

/// The largest volume: what one cluster of an image's level-1 table covers.
pub const LARGEST_VOLUME: ByteSize = ByteSize(4 << 40);

/// What a volume should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumePlan {
    /// The template that it starts as, which is no ISO, or none for an empty one.
    pub template: Option<Sha256>,
    /// Its size; at least the template's, and at most [`LARGEST_VOLUME`].
    pub size: ByteSize,
}

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeStatus {
    /// Its file, relative to the exported folder.
    pub file: String,
    /// Its size.
    pub size: ByteSize,
}

/// What is in a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The volumes.
    pub volumes: Vec<VolumeId>,
    /// The templates.
    pub templates: Vec<Sha256>,
    /// How large the disks of volumes are, as their files say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sizes: BTreeMap<VolumeId, ByteSize>,
    /// The addresses to which the pool is exported, looked up now; nothing if that cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported_to: Option<BTreeSet<String>>,
}

/// All that is worth knowing of a storage server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageReport {
    /// Where the agent's API is: `address:port`.
    pub api_address: String,
    /// The agent's version.
    pub agent_version: String,
    /// Its pools.
    pub pools: Vec<PoolStatus>,
    /// Whom its agent has refused since it was heard last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
}
