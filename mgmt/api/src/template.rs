//! Templates.

use std::collections::BTreeSet;

use podzol_vocab::{ByteSize, Name, Sha256, TemplateId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// How far a template is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TemplateState {
    /// Its bytes are still to be uploaded.
    AwaitingUpload,
    /// It is being brought into the pools.
    Importing,
    /// VMs can be made of it.
    Ready,
    /// It could not be brought in.
    Failed,
}

/// What the image file of a template is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TemplateFormat {
    /// A disk in qcow2 format: the root volume of a VM starts as it.
    #[default]
    Qcow2,
    /// An ISO 9660 image. It goes into the CD drives of VMs; a VM that is created of it gets an empty root volume and boots
    /// from the drive, to install what is on it.
    Iso,
}

/// What VMs of a template are for, if that is a part of Podzol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TemplateRole {
    /// Routers.
    Router,
    /// Console proxies.
    ConsoleProxy,
}

/// What VMs of a template can do beside what all of its role can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TemplateExtension {
    /// Routers that balance HTTP. They have 256 MiB of memory, where others have 128.
    L7,
    /// Routers that know IPv6.
    Ipv6,
}

/// A bootable disk image, or an ISO.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Template {
    /// Its id.
    pub id: TemplateId,
    /// Its name, unique in the installation.
    pub name: Name,
    /// SHA-256 of the image file.
    pub sha256: Sha256,
    /// What the image file is.
    pub format: TemplateFormat,
    /// The operating system in it, in words.
    pub os: String,
    /// What VMs of it are for, if that is a part of Podzol.
    pub role: Option<TemplateRole>,
    /// What they can do beside what all of that role can.
    #[serde(default)]
    pub extensions: BTreeSet<TemplateExtension>,
    /// Where it came from; none if it was uploaded. A password in it is not shown.
    pub url: Option<String>,
    /// How far it is.
    pub state: TemplateState,
    /// The size of the image file, once known.
    pub size_bytes: Option<ByteSize>,
    /// The size of the disk in it, or of the file system in an ISO, once known.
    pub virtual_size_bytes: Option<ByteSize>,
    /// Why it failed.
    pub error: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates a template from a URL, or for an upload that follows with `PUT /v1/templates/{id}/data`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateCreate {
    /// Its name, unique in the installation.
    pub name: Name,
    /// SHA-256 of the image file. An image with another one is not imported.
    pub sha256: Sha256,
    /// What the image file is; `qcow2` when left out. What is something else is not imported.
    #[serde(default)]
    #[schema(inline)]
    pub format: TemplateFormat,
    /// An `http` or `https` URL; none for an upload.
    #[serde(default)]
    pub url: Option<String>,
    /// The operating system in it, in words of up to 200 characters.
    #[serde(default)]
    pub os: String,
    /// What VMs of it are for, if that is a part of Podzol: then customers can make none of it. The newest one of a role
    /// is used for what is made from then on: with an extension where that is needed, and without one elsewhere.
    #[serde(default)]
    pub role: Option<TemplateRole>,
    /// What they can do beside what all of that role can.
    #[serde(default)]
    pub extensions: BTreeSet<TemplateExtension>,
    /// Who made it, for storage servers that take nothing else.
    #[serde(default)]
    pub signed: Option<SignedManifest>,
}

/// A manifest that lists an image's SHA-256 among its files, and a signature over it: `podzol-image sign` writes both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedManifest {
    /// The whole text of `manifest.json`, to the byte: at most 1 MiB.
    pub manifest: String,
    /// The text of `manifest.sig`: an Ed25519 signature in Base64.
    pub signature: String,
}
