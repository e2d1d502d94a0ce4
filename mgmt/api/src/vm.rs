//! VMs.

use std::net::{Ipv4Addr, Ipv6Addr};

use podzol_vocab::{
    AccountId, AffinityGroupId, ByteSize, Generation, HostId, MacAddr, Name, NetworkId, NicId, OfferingId,
    PoolId, Secret, TemplateId, VmId, VolumeId, ZoneId,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Timestamp;
use crate::limits::VmLimits;
use crate::offering::Size;
use crate::traffic::Traffic;
use crate::volume::VolumeState;

/// What a VM does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// It is being started.
    Starting,
    /// It runs.
    Running,
    /// It stands still, and keeps its memory.
    Paused,
    /// It runs, and is on its way to another host.
    Migrating,
    /// It is being stopped.
    Stopping,
    /// It does not run and has no host.
    Stopped,
    /// It could not be started; `error` says why. It can be started again, or deleted.
    Failed,
    /// It was deleted, and can be recovered until `expunge_at`: it does not run, and keeps its volumes and addresses.
    Deleted,
    /// It is being deleted for good.
    Deleting,
}

/// A virtual machine.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Vm {
    /// Its id.
    pub id: VmId,
    /// Its name, unique in its account, which is also its host name.
    pub name: Name,
    /// Its account.
    pub account: AccountId,
    /// Its zone.
    pub zone: ZoneId,
    /// What it does.
    pub state: VmState,
    /// Why it failed.
    pub error: Option<String>,
    /// Its offering.
    pub offering: OfferingId,
    /// What it has.
    pub size: Size,
    /// What it may do at most, and who says so.
    #[serde(default)]
    pub limits: VmLimits,
    /// The template that it was made of.
    pub template: TemplateId,
    /// The host that it runs on; shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
    /// The host to which it is on its way; shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving_to: Option<HostId>,
    /// The affinity group that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity_group: Option<AffinityGroupId>,
    /// Its network interfaces.
    pub nics: Vec<Nic>,
    /// Its volumes, the one that it boots from first.
    pub volumes: Vec<VmVolume>,
    /// The ISO in its CD drive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iso: Option<VmIso>,
    /// The number of its description.
    pub generation: Generation,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last began to run.
    pub started_at: Option<Timestamp>,
    /// When it goes for good, if it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expunge_at: Option<Timestamp>,
    /// How long each step of its last start took.
    #[serde(default)]
    pub start_timing: Vec<Step>,
}

/// A new password of a VM.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VmPassword {
    /// The VM.
    pub vm: VmId,
    /// Its password. It is shown only here.
    #[schema(value_type = String)]
    pub password: Secret<String>,
}

/// A step of a VM's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// What was done.
    pub step: String,
    /// How long it took, in microseconds.
    pub micros: u64,
}

/// A network interface of a VM.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Nic {
    /// Its id.
    pub id: NicId,
    /// Its network.
    pub network: NetworkId,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IPv4 address.
    #[schema(value_type = String, format = "ipv4")]
    pub address: Ipv4Addr,
    /// Its IPv6 address, in a network that has IPv6: nothing else that it sends over IPv6 passes but from this and from the
    /// link-local address that its MAC address makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "ipv6")]
    pub address6: Option<Ipv6Addr>,
    /// Whether the VM has it yet, or still.
    pub attachment: Attachment,
    /// Whether it may send what is not from its own addresses, answer DHCP and announce routes. Its MAC address is its own
    /// all the same.
    #[serde(default)]
    pub may_route: bool,
    /// What went through its router; left out where VMs are listed, and where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
}

/// Changes a network interface. What is left out stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NicUpdate {
    /// Whether it may send what is not from its own addresses, as a router in a VM does.
    #[serde(default)]
    pub may_route: Option<bool>,
}

/// A volume of a VM. The rest of what there is to know of it is under `/v1/volumes`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VmVolume {
    /// Its id.
    pub id: VolumeId,
    /// Its name; a root volume has none.
    pub name: Option<Name>,
    /// `root` or `data`.
    pub kind: String,
    /// Its size.
    pub size_bytes: ByteSize,
    /// How far it is.
    pub state: VolumeState,
    /// Whether the VM has it yet, or still.
    pub attachment: Attachment,
    /// Its pool; shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolId>,
}

/// The ISO in a VM's CD drive.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VmIso {
    /// The template that it is.
    pub template: TemplateId,
    /// Whether the VM boots from it, from its next start on; it boots from its root volume if there is nothing to boot
    /// from on the ISO.
    pub boots: bool,
    /// Whether it is in the drive yet, or still. What the VM's operating system ejects stays its all the same.
    pub attachment: Attachment,
}

/// Puts an ISO into a VM's CD drive.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IsoAttach {
    /// The ISO: a template of the format `iso`.
    pub template: TemplateId,
    /// Whether the VM boots from it, from its next start on; false when left out.
    #[serde(default)]
    pub boot: bool,
}

/// How far a disk, a network interface or an ISO is on its way into a VM or out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Attachment {
    /// The VM has it, or will when it starts.
    Attached,
    /// The running VM is being given it.
    Attaching,
    /// The running VM is being asked to let go of it.
    Detaching,
}

/// Gives a VM a network interface.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NicCreate {
    /// The network, of the VM's account and zone; it gets an address in it.
    pub network: NetworkId,
}

/// Creates a VM, and starts it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VmCreate {
    /// Its name, unique in its account.
    pub name: Name,
    /// Its offering.
    pub offering: OfferingId,
    /// Its template. Of an ISO, it gets an empty root volume, with the ISO in its CD drive, from which it boots as long as
    /// nothing is on the volume.
    pub template: TemplateId,
    /// Its networks, 1 to 8, all in one zone; it gets an address in each.
    pub networks: Vec<NetworkId>,
    /// SSH public keys for its first user, each one line; 32 at the most.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// cloud-init user-data of up to 65,536 bytes. It often holds passwords, so it is never shown again.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub user_data: Option<Secret<String>>,
    /// The affinity group that it is in.
    #[serde(default)]
    pub affinity_group: Option<AffinityGroupId>,
    /// Its account; the caller's own when left out. Only admins name another.
    #[serde(default)]
    pub account: Option<AccountId>,
}

/// How a VM is to be stopped.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VmStop {
    /// How long its operating system has to shut down before it is ended by force, in seconds: 0 to 3,600; 60 when
    /// left out.
    #[serde(default)]
    pub grace_secs: Option<u64>,
}

/// What a VM is to have.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VmResize {
    /// Another offering. Its root volume grows to the offering's disk, if that is larger, and never shrinks.
    pub offering: OfferingId,
}

/// How a VM is to be deleted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct VmDelete {
    /// Whether it goes for good at once, and cannot be recovered; false when left out.
    pub expunge: Option<bool>,
}

/// Where a VM is to move.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VmMigrate {
    /// The host; chosen as for a new VM when left out.
    #[serde(default)]
    pub host: Option<HostId>,
}

/// Narrows a list of VMs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct VmFilter {
    /// Only those of this account; customers see only their own anyway.
    #[param(value_type = Option<String>)]
    pub account: Option<AccountId>,
    /// Only those in this state.
    #[param(inline)]
    pub state: Option<VmState>,
    /// Only those on this host; for admins.
    #[param(value_type = Option<String>)]
    pub host: Option<HostId>,
    /// Only those with an interface in this network.
    #[param(value_type = Option<String>)]
    pub network: Option<NetworkId>,
}

/// The end of what a VM wrote to its serial port.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ConsoleLog {
    /// The text, with what is not UTF-8 replaced.
    pub text: String,
}

/// How much of a console log.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ConsoleLogQuery {
    /// The most bytes, from the end: 1 to 1,048,576; 65,536 when left out.
    #[param(minimum = 1, maximum = 1_048_576)]
    pub bytes: Option<u64>,
}
