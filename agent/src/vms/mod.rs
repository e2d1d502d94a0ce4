//! The VMs of this host: what each should be, and one task per VM that makes it so.
//!
//! ```text
//!            put                     runs                   ends by itself
//!   absent ------> starting ------------------> running ---------------------> stopped
//!     ^               |  failed                    |                              |
//!     |               +---------> failed           | delete                       | delete
//!     |                             | delete       v                              |
//!     +-----------------------------+--------- stopping <-------------------------+
//! ```
//! - *put*: a newer description. The same again changes nothing, but what has failed or ended meanwhile is tried again.
//!   A running VM takes a pause, a reboot, a seed for its next boot, disks, network interfaces, an ISO and limits: what
//!   it has is compared with what it should have each time, so a change that was cut off is finished by the next. What
//!   else differs is refused, as nothing would apply it. From what it boots is noted, and in force from its next start on.
//! - *failed*: all that was made for it is removed; the error is kept until it is told again.
//! - *delete*: asked to shut down, ended by force after its grace, and all of it removed. What stays in memory is the
//!   generation, so that an older description that comes late is refused. A domain that turns up all the same, from a
//!   call that libvirt has answered late, is removed again.
//!
//! A VM that moves to another host passes through *leaving* here and *arriving* there: see [`moving`].
//!
//! Handlers write the goal down and wait; the VM's task alone acts. So two requests never act on one VM at once, and a
//! request that is gone leaves nothing half done.

mod act;
pub(crate) mod console;
mod follow;
mod goal;
mod inventory;
mod moving;
mod plan;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use podzol_agent_api::host::NetworkPeers;
use podzol_agent_api::report::Accelerator;
use podzol_agent_api::vm::{VmPutRequest, VmState, VmStatus};
use podzol_hostnet::Segment;
use podzol_hypervisor::{Record, port_name};
use podzol_vocab::{ErrorCode, Generation, NetworkId, Order, VmId, WireError};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::Config;
use crate::files::Files;
use crate::guards::{Guards, Port};
use crate::mounts::Export;
use crate::networks::{Networks, Wanted};
use crate::peers::Peers;
use crate::platform::Platform;
use console::Consoles;
use goal::{Entry, Goal};
use plan::{check_plan, differences, exports_of, ports_of, segments_of};

/// The VMs of this host. Cloning is cheap.
pub struct Vms<P: Platform>(Arc<Inner<P>>);

impl<P: Platform> Clone for Vms<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

pub(crate) struct Inner<P: Platform> {
    platform: Arc<P>,
    peers: Peers,
    networks: Networks,
    guards: Guards,
    files: Files,
    consoles: Consoles,
    libvirt_socket: PathBuf,
    allow_emulation: bool,
    entries: Mutex<HashMap<VmId, Entry>>,
    /// What is known of the hypervisor; nothing until it has answered once.
    hypervisor: Mutex<Option<Known>>,
    /// Notified when something changed that a report should tell.
    news: Notify,
}

/// What is known of the hypervisor, and since when.
#[derive(Debug)]
struct Known {
    facts: HypervisorFacts,
    probed: Instant,
}

/// What is known of the hypervisor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HypervisorFacts {
    pub(crate) version: String,
    pub(crate) accelerator: Option<Accelerator>,
    pub(crate) kvm_problem: Option<String>,
    pub(crate) trouble: Option<String>,
}

impl<P: Platform> Vms<P> {
    /// The VMs on a platform; none is known until [`Vms::follow`] has looked.
    pub fn new(platform: Arc<P>, config: &Config, peers: Peers) -> Self {
        Self(Arc::new(Inner {
            platform,
            peers,
            libvirt_socket: config.libvirt_socket.clone(),
            networks: Networks::new(config.trunk.clone(), config.traffic.clone()),
            guards: Guards::default(),
            files: Files::new(&config.state_dir),
            consoles: Consoles::default(),
            allow_emulation: config.allow_emulation,
            entries: Mutex::default(),
            hypervisor: Mutex::default(),
            news: Notify::new(),
        }))
    }

    pub(crate) fn platform(&self) -> &P {
        &self.0.platform
    }

    pub(crate) fn files(&self) -> &Files {
        &self.0.files
    }

    pub(crate) fn consoles(&self) -> &Consoles {
        &self.0.consoles
    }

    /// Waits for news that a report should tell.
    pub(crate) async fn news(&self) {
        self.0.news.notified().await;
    }

    pub(crate) fn tell(&self) {
        self.0.news.notify_one();
    }

    /// What is known of the hypervisor; nothing until it has answered once.
    pub(crate) fn hypervisor(&self) -> Option<HypervisorFacts> {
        self.known().as_ref().map(|known| known.facts.clone())
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.0.hypervisor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The VMs that are here in any form.
    pub(crate) fn list(&self) -> Vec<VmStatus> {
        let entries = self.entries();
        let here = entries.values().map(Entry::status).filter(|status| status.state != VmState::Absent);
        let mut list: Vec<VmStatus> = here.collect();
        list.sort_by_key(|status| status.vm);
        list
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<VmId, Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything of a VM is, or may be, on this host.
    fn is_here(&self, vm: VmId) -> bool {
        self.entries().get(&vm).is_some_and(Entry::is_here)
    }

    /// Does something with files, where that may block.
    async fn with_files<T: Send + 'static>(&self, work: impl FnOnce(&Files) -> T + Send + 'static) -> T {
        let files = self.0.files.clone();
        match tokio::task::spawn_blocking(move || work(&files)).await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The agent is ending, and whoever waits here too.
            Err(_) => std::future::pending().await,
        }
    }

    fn must_be_ready(&self) -> Result<(), WireError> {
        match self.hypervisor() {
            Some(_) => Ok(()),
            None => Err(WireError::new(ErrorCode::Unavailable, "the hypervisor has not answered yet")),
        }
    }

    /// Makes a VM run as described; answers when it does, has failed, or the time is up.
    ///
    /// # Errors
    /// When the description is older than the one in force, differs from one with the same number, breaks a rule, or
    /// cannot be brought into force while the VM runs.
    pub async fn put(&self, vm: VmId, request: VmPutRequest) -> Result<VmStatus, WireError> {
        self.must_be_ready()?;
        check_plan(vm, &request.plan)?;
        let record = Record::of(&request.plan);
        let wait = Duration::from_millis(request.wait_ms);
        self.aim(vm, request.plan.generation, Goal::Run(Arc::new(request.plan), record))?;
        Ok(self.settled(vm, wait).await)
    }

    /// Ends a VM and removes all of it; answers when it is gone or the time is up.
    ///
    /// # Errors
    /// When a newer description is in force.
    pub async fn delete(
        &self,
        vm: VmId,
        generation: Generation,
        grace: Duration,
        wait: Duration,
    ) -> Result<VmStatus, WireError> {
        self.must_be_ready()?;
        self.aim(vm, generation, Goal::Gone { force_at: Instant::now() + grace })?;
        Ok(self.settled(vm, wait).await)
    }

    /// Writes a goal down, if it is newer than the one in force, and has the VM's task pursue it.
    fn aim(&self, vm: VmId, generation: Generation, goal: Goal) -> Result<(), WireError> {
        let mut entries = self.entries();
        let entry = entries.entry(vm).or_insert_with(|| Entry::absent(vm));
        let in_force = entry.generation;
        match generation.order(in_force, entry.goal.is_same_as(&goal)) {
            Order::Newer => {
                can_take(entry, &goal)?;
                entry.set_goal(generation, goal);
            }
            Order::Same => {
                // Told again: what has failed or ended meanwhile is tried again.
                if !entry.is_settled(&goal) {
                    entry.renew_goal(goal);
                }
            }
            // What should be gone is gone.
            Order::Older if entry.is_gone() && matches!(goal, Goal::Gone { .. }) => {}
            Order::Older => {
                let message = format!("generation {generation} is older than {in_force}, which is in force");
                let error = WireError::new(ErrorCode::StaleGeneration, message);
                return Err(WireError { in_force: Some(in_force), ..error });
            }
            Order::Different => {
                let message = format!("generation {generation} is in force with other contents");
                return Err(WireError::new(ErrorCode::GenerationConflict, message));
            }
        }
        self.set_to_work(vm, entry);
        Ok(())
    }

    /// Begins a VM's task, if there is something to do and it is not at it.
    fn set_to_work(&self, vm: VmId, entry: &mut Entry) {
        if entry.wants_work() {
            entry.busy = true;
            tokio::spawn(self.clone().pursue(vm));
        }
    }

    /// Waits until a VM's task has reached its goal or given up.
    async fn settled(&self, vm: VmId, wait: Duration) -> VmStatus {
        let mut watched = {
            let mut entries = self.entries();
            entries.entry(vm).or_insert_with(|| Entry::absent(vm)).watch()
        };
        let _ = tokio::time::timeout(wait, watched.wait_for(|status| !goal::is_passing(status.state))).await;
        watched.borrow().clone()
    }

    /// The networks that the VMs here need, and the ports that must be in them.
    fn wanted_networks(&self) -> Wanted {
        let entries = self.entries();
        let of = |entry: &&Entry| entry.needs_host();
        let segments = entries.values().filter(of).flat_map(|entry| segments_of(entry.plan.as_deref()));
        let plugged = entries.values().filter(|entry| entry.is_plugged_in());
        let nics = plugged.filter_map(|entry| entry.plan.as_deref()).flat_map(|plan| &plan.nics);
        Wanted {
            segments: segments.collect(),
            ports: nics.map(|nic| (port_name(nic.mac), nic.tag)).collect(),
        }
    }

    /// Notes the address where tunnels begin.
    pub(crate) fn set_tunnel(&self, address: Option<IpAddr>) {
        self.0.networks.set_tunnel(address);
    }

    /// Brings the peers of a network on a VXLAN into force, at once if it is here.
    ///
    /// # Errors
    /// When newer ones are in force, or the kernel refuses.
    pub(crate) async fn tell_peers(&self, network: NetworkId, told: NetworkPeers) -> Result<(), WireError> {
        let (links, networks) = (self.0.platform.links(), &self.0.networks);
        let cannot = |error: anyhow::Error| WireError::new(ErrorCode::Unavailable, format!("{error:#}"));
        let peers = podzol_hostnet::Peers { generation: told.generation, addresses: told.addresses };
        let noted = networks.tell_peers(links, network, peers).await;
        if let Err(in_force) = noted.map_err(|error| cannot(error.into()))? {
            let message =
                format!("generation {} is older than {in_force}, which is in force", told.generation);
            let error = WireError::new(ErrorCode::StaleGeneration, message);
            return Err(WireError { in_force: Some(in_force), ..error });
        }
        let of_it = |segment: &Segment| segment.network == network;
        let needed: BTreeSet<Segment> = self.wanted_networks().segments.into_iter().filter(of_it).collect();
        if needed.is_empty() {
            return Ok(());
        }
        networks.need(links, &needed, || self.wanted_networks()).await.map_err(cannot)
    }

    /// The ports of the VMs here.
    fn ports(&self) -> BTreeSet<Port> {
        let entries = self.entries();
        let in_need = entries.values().filter(|entry| entry.needs_host());
        in_need.flat_map(|entry| ports_of(entry.plan.as_deref())).collect()
    }

    /// Guards the ports of the VMs here, and no others.
    async fn guard(&self) -> anyhow::Result<()> {
        let guarded = self.0.guards.converge(self.0.platform.filter(), || self.ports()).await;
        Ok(guarded?)
    }

    /// The exports that the VMs here need.
    fn exports(&self) -> HashSet<Export> {
        let entries = self.entries();
        let in_need = entries.values().filter(|entry| entry.needs_host());
        in_need.flat_map(|entry| exports_of(entry.plan.as_deref())).collect()
    }
}

/// Refuses what a running VM cannot take.
fn can_take(entry: &Entry, goal: &Goal) -> Result<(), WireError> {
    let (Goal::Run(plan, _), Some(in_force)) = (goal, &entry.plan) else { return Ok(()) };
    if !matches!(entry.status().state, VmState::Running | VmState::Paused) {
        return Ok(());
    }
    let differing = differences(in_force, plan);
    if differing.is_empty() {
        return Ok(());
    }
    Err(WireError::new(ErrorCode::Conflict, runs_with_other(&differing)))
}

/// Why a description cannot be brought into force.
fn runs_with_other(differing: &[&str]) -> String {
    format!("the VM runs with another {}, which can only change while it is stopped", differing.join(", "))
}
