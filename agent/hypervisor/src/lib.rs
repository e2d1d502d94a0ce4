//! Running VMs: the domain XML as a pure function ([`xml`]), and libvirt behind a trait ([`Hypervisor`]).
//!
//! What a VM is stands in libvirt's own metadata ([`Record`]); this crate keeps no other state, so after a restart of
//! the agent, of libvirtd, or of the host, [`Hypervisor::list`] tells everything again. Domains without that metadata
//! are not ours: they are never listed and never touched. A domain whose metadata is ours and cannot be read is ours all
//! the same: it is listed with the error, so that nobody takes what it uses for leftovers.
//!
//! It knows no network and no storage: it is given the names of bridges and files.

mod devices;
mod libvirt;
pub mod probe;
mod record;
pub mod unborn;
pub mod xml;

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;

use podzol_agent_api::report::Accelerator;
use podzol_agent_api::vm::{Ended, Moved, Usage, VmPlan};
use podzol_vocab::{InterfaceName, VmId, VolumeId};

pub use devices::{Cd, Change, Devices, DiskDevice, NicDevice};
pub use libvirt::Libvirt;
pub use record::{Record, RecordError};
pub use xml::port_name;

/// All that a domain is made of.
#[derive(Debug, Clone)]
pub struct Domain {
    /// What it should be.
    pub plan: VmPlan,
    /// How its instructions are run.
    pub accelerator: Accelerator,
    /// The file of each disk, in the plan's order.
    pub disks: Vec<PathBuf>,
    /// The file of the ISO in its CD drive, if the plan has one.
    pub cdrom: Option<PathBuf>,
    /// The bridge of each network interface, in the plan's order.
    pub bridges: Vec<InterfaceName>,
    /// The image with its NoCloud data.
    pub seed: PathBuf,
    /// Where what its serial port sends is written to.
    pub serial_log: PathBuf,
    /// The UNIX socket of its serial port.
    pub serial_socket: PathBuf,
}

/// What a domain does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainState {
    /// It runs.
    Running,
    /// It stands still until it is resumed: by request, or because it could not go on.
    Paused,
    /// It stands still at one of the two ends of its way to another host.
    Passing,
    /// It is just being made, or is about to end: what comes of that is not known yet.
    Undecided,
    /// It does not run.
    Off(Ended),
}

/// The UNIX sockets on this host that lead to a domain's next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// To the hypervisor there.
    pub control: PathBuf,
    /// To the domain there; it listens at the same path there.
    pub data: PathBuf,
}

/// A domain that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Which VM it is.
    pub vm: VmId,
    /// What stands in its metadata.
    pub record: Result<Record, RecordError>,
    /// What it does.
    pub state: DomainState,
}

impl Found {
    /// Whether it is here to stay, running or standing still.
    pub fn runs(&self) -> bool {
        matches!(self.state, DomainState::Running | DomainState::Paused)
    }
}

/// Why the hypervisor did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HypervisorError {
    /// It does not answer, or is not there. Whether it did anything is not known.
    #[error("the hypervisor does not answer while it should {step}: {reason}")]
    Unavailable {
        /// What it should have done.
        step: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// It answered with an error.
    #[error("the hypervisor cannot {step}: {reason}")]
    Failed {
        /// What it should have done.
        step: &'static str,
        /// What it answered.
        reason: String,
    },
}

/// A hypervisor. Every call can be repeated: what is so already is success.
pub trait Hypervisor: Send + Sync + 'static {
    /// Its name and version.
    fn version(&self) -> impl Future<Output = Result<String, HypervisorError>> + Send;

    /// All domains of ours, running or not. One that hangs does not hold this up.
    fn list(&self) -> impl Future<Output = Result<Vec<Found>, HypervisorError>> + Send;

    /// The domain of a VM, if there is one.
    fn find(&self, vm: VmId) -> impl Future<Output = Result<Option<Found>, HypervisorError>> + Send;

    /// What running domains have used since they were started. A counter that cannot be had at once is zero, and a domain
    /// may be missing.
    fn usage(&self) -> impl Future<Output = Result<HashMap<VmId, Usage>, HypervisorError>> + Send;

    /// Defines a domain and starts it.
    fn start(&self, domain: Domain) -> impl Future<Output = Result<(), HypervisorError>> + Send;

    /// Writes what a domain should be into its metadata.
    fn note(&self, record: Record) -> impl Future<Output = Result<(), HypervisorError>> + Send;

    /// Asks a domain's operating system to shut down.
    fn shut_down(&self, vm: VmId) -> impl Future<Output = Result<(), HypervisorError>> + Send;

    /// Reboots a domain.
    fn reboot(&self, vm: VmId) -> impl Future<Output = Result<(), HypervisorError>> + Send;

    /// The disks and network interfaces of a domain that runs, and what is in its CD drive. Only `sized` disks have their
    /// sizes: a QEMU that is asked for one stands still while the disk's storage is away.
    fn devices(
        &self,
        vm: VmId,
        sized: Vec<VolumeId>,
    ) -> impl Future<Output = Result<Devices, HypervisorError>> + Send;

    /// Changes a disk, a network interface or the CD drive of a domain that runs. What goes is gone when this succeeds.
    fn change(&self, vm: VmId, change: Change) -> impl Future<Output = Result<(), HypervisorError>> + Send;

    /// The UNIX socket of a running domain's display; none if it does not run or has no such display.
    fn display(&self, vm: VmId) -> impl Future<Output = Result<Option<PathBuf>, HypervisorError>> + Send;

    /// Has a running domain stand still.
    fn pause(&self, vm: VmId) -> impl Future<Output = Result<(), HypervisorError>> + Send;

    /// Has a domain that stands still run on.
    fn resume(&self, vm: VmId) -> impl Future<Output = Result<(), HypervisorError>> + Send;

    /// Moves a running domain to another host, with its definition; its files, bridges and disks must be there. Ends when
    /// it has gone, or will not: whatever this says, [`Hypervisor::find`] tells whether it is still here.
    fn migrate(&self, vm: VmId, route: Route) -> impl Future<Output = Result<(), HypervisorError>> + Send;

    /// How much of a domain has gone to another host; nothing if it is not on its way.
    fn moved(&self, vm: VmId) -> impl Future<Output = Result<Option<Moved>, HypervisorError>> + Send;

    /// Has a domain run on that was sent to another host and has not got there: whoever asks has made sure of that.
    fn take_back(&self, vm: VmId) -> impl Future<Output = Result<(), HypervisorError>> + Send;

    /// Has a domain that is on its way stay, if it still can.
    fn call_back(&self, vm: VmId) -> impl Future<Output = Result<(), HypervisorError>> + Send;

    /// Ends a domain by force, if it runs, and forgets it.
    fn remove(&self, vm: VmId) -> impl Future<Output = Result<(), HypervisorError>> + Send;

    /// Waits until something may have changed: a domain began or ended, or the connection was lost or made.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}
