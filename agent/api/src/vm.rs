//! VMs: what should be, what is, and the endpoints between the two.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::Method;
use podzol_rpc::{Endpoint, StreamEndpoint};
use podzol_vocab::{
    ByteSize, Generation, HostId, MacAddr, Name, NetworkId, NicId, Secret, Tag, VmId, VolumeId,
};
use serde::{Deserialize, Serialize};

/// All that a host must know of a VM to run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmPlan {
    /// Which VM.
    pub vm: VmId,
    /// The number of this description.
    pub generation: Generation,
    /// Its name, which is its host name.
    pub name: Name,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Its weight when CPU time is scarce, as cgroups count it: 1 to 10,000, 100 for an ordinary VM.
    pub cpu_share: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Its disks, the one to boot from first.
    pub disks: Vec<DiskPlan>,
    /// Its network interfaces, in the order of its slots.
    pub nics: Vec<NicPlan>,
    /// What the VM reads about itself at boot.
    pub seed: Seed,
    /// The generation with which it was last told to reboot, 0 if that is not wanted any more: a greater number than the one in
    /// force reboots it once.
    pub reboots: u64,
    /// Whether it stands still: it keeps its memory and gets no CPU time.
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
    /// The ISO in its CD drive; every VM has the drive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdrom: Option<CdromPlan>,
}

/// Left out where it says nothing, so that an agent which does not know the field yet takes the description.
fn is_false(value: &bool) -> bool {
    !value
}

/// A disk of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskPlan {
    /// Which volume.
    pub volume: VolumeId,
    /// Where its contents are.
    pub source: DiskSource,
    /// The most I/O operations a second, or no limit.
    pub iops: Option<u64>,
    /// Its size, if it has got a larger one than it was made with: a running VM sees it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
}

/// An ISO in a VM's CD drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CdromPlan {
    /// Where its contents are. The name of the file tells one ISO from another.
    pub source: DiskSource,
    /// Whether the VM's firmware tries it before the first disk, from the VM's next start on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub boots: bool,
}

/// Where a volume or an ISO is, as a host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum DiskSource {
    /// A file in a folder that a storage server exports over NFS; that of a disk is in qcow2 format.
    Nfs {
        /// The storage server's address on the storage network.
        server: String,
        /// The exported folder.
        export: String,
        /// The file's path below it.
        file: String,
    },
}

/// A network interface of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicPlan {
    /// Which interface.
    pub nic: NicId,
    /// Which network it is in.
    pub network: NetworkId,
    /// What keeps the network apart from others between hosts; or which of the host's own networks it is, on a bridge that
    /// its operator has made. Its name is from the time when that was always a VLAN.
    #[serde(rename = "vlan")]
    pub tag: Tag,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Its IPv6 address beside its link-local one, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address6: Option<Ipv6Addr>,
    /// The most traffic each way in Mbit/s (10^6 bit), or no limit.
    pub rate_mbps: Option<u64>,
    /// Whether it may send what is not from its own addresses, as a router does. Its MAC address is its own all the same.
    #[serde(default, skip_serializing_if = "is_false")]
    pub may_route: bool,
}

/// The NoCloud data of a VM: three files on a small disk with the label `cidata`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// `meta-data`.
    pub meta_data: String,
    /// `user-data`. It often holds passwords.
    pub user_data: Secret<String>,
    /// `network-config`, version 2.
    pub network_config: String,
}

/// What a VM does on its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// It does not run, and nothing of it is left on the host.
    Absent,
    /// What it needs is being made.
    Starting,
    /// It runs.
    Running,
    /// It stands still, as it should.
    Paused,
    /// It runs and is on its way to another host.
    Leaving,
    /// It was sent to another host whole, and stands still here: the answer was lost, and only the other host knows
    /// whether it got there. It runs on here only when it is told to.
    Sent,
    /// All is made for it to come from another host; it is on its way or waited for.
    Arriving,
    /// It was asked to end, or is being removed.
    Stopping,
    /// It ended by itself; what it needs is still there.
    Stopped,
    /// It could not be started; the error says why. The agent tries again when it is told again.
    Failed,
}

/// Why a VM ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Its operating system shut it down.
    ByItself,
    /// It crashed, was killed, or the host was started anew.
    ByForce,
}

/// What is known of a VM on its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmStatus {
    /// Which VM.
    pub vm: VmId,
    /// The newest description that the agent was told.
    pub generation: Generation,
    /// What it does.
    pub state: VmState,
    /// Why it ended, when it is [`VmState::Stopped`].
    #[serde(default)]
    pub ended: Option<Ended>,
    /// Why it could not be started, when it is [`VmState::Failed`]; or why its newest description could not be brought
    /// into force, or why it did not get to another host, when it is [`VmState::Running`].
    #[serde(default)]
    pub error: Option<String>,
    /// How far it is on its way, when it is [`VmState::Leaving`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    /// Whether it was awaited here from another host and has certainly never run here, when it is [`VmState::Absent`] after
    /// it was told to stay where it is. What is absent without that may have come and gone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub never_came: bool,
    /// How long each step of its last start took.
    #[serde(default)]
    pub timing: Vec<StepTiming>,
    /// What it has used since it was started.
    #[serde(default)]
    pub usage: Usage,
}

/// How much of a VM has gone to another host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Moved {
    /// Bytes that were sent. Memory that changed meanwhile is sent again, so these may be more than there are.
    pub sent_bytes: u64,
    /// Bytes that are still to be sent.
    pub left_bytes: u64,
}

/// How long a step of a VM's start took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTiming {
    /// The step, such as `network` or `libvirt start`.
    pub step: String,
    /// Its length in microseconds.
    pub micros: u64,
}

/// Counters of a VM. They start from zero at each start of the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in nanoseconds.
    pub cpu_nanos: u64,
    /// Memory in use by the hypervisor for it, in KiB.
    pub memory_kib: u64,
    /// Bytes read from its disks.
    pub disk_read_bytes: u64,
    /// Bytes written to its disks.
    pub disk_written_bytes: u64,
    /// Bytes that it received from networks.
    pub network_received_bytes: u64,
    /// Bytes that it sent to networks.
    pub network_sent_bytes: u64,
}

macro_rules! vm_endpoint {
    ($(#[$doc:meta])* $name:ident, $method:ident $below:literal, $request:ty, $answer:ty) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl Endpoint for $name {
            const METHOD: Method = Method::$method;
            const ROUTE: &'static str = concat!("/v1/vms/{vm}", $below);
            type Path = VmId;
            type Request = $request;
            type Answer = $answer;

            fn path(vm: &VmId) -> String {
                format!("/v1/vms/{vm}{}", $below)
            }
        }
    };
}

vm_endpoint! {
    /// Makes a VM run as described. Repeating it is success; an older generation is refused, and so is another
    /// description with the same one. A running VM takes a reboot, a seed for its next boot, disks but its first, network
    /// interfaces, an ISO, and limits; whatever else differs from what it runs with is refused as a conflict. Answers when
    /// the VM runs, has failed, or `wait_ms` has passed.
    VmPut, PUT "", VmPutRequest, VmStatus
}

vm_endpoint! {
    /// Ends a VM and removes all of it from the host; success when there is none. Answers when it is gone, or when
    /// `wait_ms` has passed.
    VmDelete, DELETE "", VmDeleteRequest, VmStatus
}

vm_endpoint! {
    /// What a VM does, as the hypervisor says now; absent if there is none. Changes nothing.
    VmGet, GET "", (), VmStatus
}

vm_endpoint! {
    /// Makes ready for a VM to come from another host, as described; the host may then open [`MoveStream`]s. Repeating it
    /// is success, and so is a VM that is here already. Answers when all is ready, cannot be made, or `wait_ms` has passed.
    VmArrive, PUT "/arrival", VmArriveRequest, VmStatus
}

vm_endpoint! {
    /// Moves a running VM to another host, where [`VmArrive`] has made ready for it. Repeating it is success. Answers when
    /// it is gone from here (absent), is here for good after all (running, with an error), or `wait_ms` has passed
    /// (leaving). A VM that is not here is absent: this call never starts one.
    VmLeave, PUT "/departure", VmLeaveRequest, VmStatus
}

vm_endpoint! {
    /// Calls back a VM that is on its way to another host. Answers what has become of it: here it is running, paused or
    /// stopped, and stays so; or it is gone (absent). This call starts and ends nothing.
    VmStay, DELETE "/departure", VmStayRequest, VmStatus
}

/// The body of [`VmPut`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmPutRequest {
    /// The whole description.
    pub plan: VmPlan,
    /// How long to wait for it to come true, in milliseconds.
    pub wait_ms: u64,
}

/// The body of [`VmDelete`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmDeleteRequest {
    /// The number of the description "it is not here".
    pub generation: Generation,
    /// How long the VM's operating system has to shut down before it is ended by force, in seconds; 0 for at once.
    pub grace_secs: u64,
    /// How long to wait for it to be gone, in milliseconds.
    pub wait_ms: u64,
}

/// The body of [`VmArrive`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmArriveRequest {
    /// The whole description; what comes is of an older one.
    pub plan: VmPlan,
    /// The host that it comes from.
    pub from: HostId,
    /// How long to wait until all is ready, in milliseconds.
    pub wait_ms: u64,
}

/// The body of [`VmLeave`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmLeaveRequest {
    /// The number of the description with which it arrives on the other host.
    pub generation: Generation,
    /// The host that it goes to.
    pub to: HostId,
    /// Where that host's agent listens: `host:port`.
    pub address: String,
    /// How long to wait until it is gone, in milliseconds.
    pub wait_ms: u64,
}

/// The body of [`VmStay`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmStayRequest {
    /// Newer than the one with which it was to go.
    pub generation: Generation,
    /// How long to wait until it is known where it is, in milliseconds.
    pub wait_ms: u64,
}

/// A stream from the host that a VM leaves to the one where it arrives.
#[derive(Debug)]
pub struct MoveStream;

impl StreamEndpoint for MoveStream {
    const ROUTE: &'static str = "/v1/vms/{vm}/arrival/{channel}";
    type Path = (VmId, MoveChannel);

    fn path((vm, channel): &(VmId, MoveChannel)) -> String {
        format!("/v1/vms/{vm}/arrival/{}", channel.name())
    }
}

/// What a [`MoveStream`] carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveChannel {
    /// What the two hypervisors agree on.
    Control,
    /// The VM's memory and devices.
    Data,
    /// What it has written to its serial port, up to 1 MiB at a time, one way.
    Log,
}

impl MoveChannel {
    /// Its name in paths.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Data => "data",
            Self::Log => "log",
        }
    }
}

/// The end of what a VM wrote to its serial port.
#[derive(Debug)]
pub struct VmConsoleLog;

impl Endpoint for VmConsoleLog {
    const METHOD: Method = Method::GET;
    const ROUTE: &'static str = "/v1/vms/{vm}/console-log/{bytes}";
    /// The VM, and the most bytes to get.
    type Path = (VmId, u64);
    type Request = ();
    type Answer = ConsoleLog;

    fn path((vm, bytes): &(VmId, u64)) -> String {
        format!("/v1/vms/{vm}/console-log/{bytes}")
    }
}

/// What a VM wrote to its serial port.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConsoleLog {
    /// The text, with what is not UTF-8 replaced.
    pub text: String,
}
