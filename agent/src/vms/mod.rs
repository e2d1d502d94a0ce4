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
//! - *put*: a newer description; the same again changes nothing.
//! - *failed*: all that was made for it is removed; the error is kept until it is told something newer.
//! - *delete*: asked to shut down, ended by force after its grace, and all of it removed. What stays in memory is the
//!   generation, so that an older description that comes late is refused.
//!
//! Handlers write the goal down and wait; the VM's task alone acts. So two requests never act on one VM at once, and a
//! request that is gone leaves nothing half done.

mod act;
mod goal;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use podzol_agent_api::report::Accelerator;
use podzol_agent_api::vm::{DiskSource, Ended, VmPlan, VmPutRequest, VmState, VmStatus};
use podzol_hostnet::Segment;
use podzol_hypervisor::{DomainState, Found, Hypervisor, Record};
use podzol_vocab::{ErrorCode, Generation, Order, VmId, WireError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::files::Files;
use crate::mounts::{Export, Mounts};
use crate::networks::Networks;
use crate::platform::Platform;
use goal::{Entry, Goal};

/// How often to look at the hypervisor when it tells of no change.
const LOOK: Duration = Duration::from_secs(5);

/// How long a VM that is gone is remembered by its generation.
const REMEMBER: Duration = Duration::from_secs(3600);

/// The VMs of this host. Cloning is cheap.
pub struct Vms<P: Platform>(Arc<Inner<P>>);

impl<P: Platform> Clone for Vms<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

pub(crate) struct Inner<P: Platform> {
    platform: Arc<P>,
    networks: Networks,
    files: Files,
    allow_emulation: bool,
    entries: Mutex<HashMap<VmId, Entry>>,
    /// What is known of the hypervisor; nothing until it has answered once.
    hypervisor: Mutex<Option<HypervisorFacts>>,
    /// Notified when something changed that a report should tell.
    news: Notify,
}

/// What is known of the hypervisor.
#[derive(Debug, Clone, Default)]
pub(crate) struct HypervisorFacts {
    pub(crate) version: String,
    pub(crate) accelerator: Option<Accelerator>,
    pub(crate) kvm_problem: Option<String>,
    pub(crate) trouble: Option<String>,
}

impl<P: Platform> Vms<P> {
    /// The VMs on a platform; none is known until [`Vms::follow`] has looked.
    pub fn new(platform: Arc<P>, config: &Config) -> Self {
        Self(Arc::new(Inner {
            platform,
            networks: Networks::new(config.trunk.clone()),
            files: Files::new(&config.state_dir),
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

    /// Waits for news that a report should tell.
    pub(crate) async fn news(&self) {
        self.0.news.notified().await;
    }

    pub(crate) fn tell(&self) {
        self.0.news.notify_one();
    }

    /// What is known of the hypervisor; nothing until it has answered once.
    pub(crate) fn hypervisor(&self) -> Option<HypervisorFacts> {
        self.0.hypervisor.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

    fn must_be_ready(&self) -> Result<(), WireError> {
        match self.hypervisor() {
            Some(_) => Ok(()),
            None => Err(WireError::new(ErrorCode::Unavailable, "the hypervisor has not answered yet")),
        }
    }

    /// Makes a VM run as described; answers when it does, has failed, or the time is up.
    ///
    /// # Errors
    /// When the description is older than the one in force, differs from one with the same number, or breaks a rule.
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
            Order::Newer => entry.set_goal(generation, goal),
            Order::Same => {
                // Told again: what has failed or ended meanwhile is tried again.
                if !entry.is_settled() {
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
        if entry.wants_work() {
            entry.busy = true;
            tokio::spawn(self.clone().pursue(vm));
        }
        Ok(())
    }

    /// Waits until a VM's task has reached its goal or given up.
    async fn settled(&self, vm: VmId, wait: Duration) -> VmStatus {
        let mut watched = {
            let mut entries = self.entries();
            entries.entry(vm).or_insert_with(|| Entry::absent(vm)).watch()
        };
        let passing = |status: &VmStatus| matches!(status.state, VmState::Starting | VmState::Stopping);
        let _ = tokio::time::timeout(wait, watched.wait_for(|status| !passing(status))).await;
        watched.borrow().clone()
    }

    /// The networks that the VMs here need, but for one that is going.
    fn segments(&self, going: Option<VmId>) -> BTreeSet<Segment> {
        let entries = self.entries();
        let staying = entries.iter().filter(|(vm, entry)| Some(**vm) != going && entry.needs_host());
        staying.flat_map(|(_, entry)| segments_of(entry.plan.as_deref())).collect()
    }

    /// The exports that the VMs here need, but for one that is going.
    fn exports(&self, going: Option<VmId>) -> HashSet<Export> {
        let entries = self.entries();
        let staying = entries.iter().filter(|(vm, entry)| Some(**vm) != going && entry.needs_host());
        staying.flat_map(|(_, entry)| exports_of(entry.plan.as_deref())).collect()
    }

    /// Follows the hypervisor until stopped: what runs, what ended, whether it answers.
    pub async fn follow(self, stop: CancellationToken) {
        let mut cleaned = false;
        loop {
            if self.look().await && !cleaned {
                self.remove_leftovers().await;
                cleaned = true;
            }
            let pause = if cleaned { LOOK } else { Duration::from_millis(500) };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.platform.hypervisor().changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks at the hypervisor once. False if it does not answer.
    async fn look(&self) -> bool {
        let found = match self.0.platform.hypervisor().list().await {
            Ok(found) => found,
            Err(error) => {
                let mut facts = self.0.hypervisor.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(facts) = facts.as_mut().filter(|facts| facts.trouble.is_none()) {
                    tracing::error!(%error, "the hypervisor is in trouble");
                    facts.trouble = Some(error.to_string());
                    self.tell();
                }
                return false;
            }
        };
        self.learn(found);
        if self.hypervisor().is_none_or(|facts| facts.trouble.is_some()) {
            self.probe().await;
        }
        true
    }

    /// Finds out what the hypervisor is and how it runs VMs.
    async fn probe(&self) {
        let version = self.0.platform.hypervisor().version().await.unwrap_or_else(|error| error.to_string());
        let kvm_problem = self.0.platform.kvm_problem().await;
        let accelerator = match &kvm_problem {
            None => Some(Accelerator::Kvm),
            Some(_) if self.0.allow_emulation => Some(Accelerator::Emulation),
            Some(_) => None,
        };
        tracing::info!(version, ?accelerator, kvm_problem, "the hypervisor answers");
        let facts = HypervisorFacts { version, accelerator, kvm_problem, trouble: None };
        *self.0.hypervisor.lock().unwrap_or_else(PoisonError::into_inner) = Some(facts);
        self.tell();
    }

    /// Takes in what the hypervisor has. A VM whose task is at work is left to it.
    fn learn(&self, found: Vec<Found>) {
        let mut entries = self.entries();
        let mut news = false;
        for found in &found {
            let vm = found.record.plan.vm;
            let entry = entries.entry(vm).or_insert_with(|| Entry::found(&found.record));
            if entry.busy {
                continue;
            }
            let (state, ended) = match found.state {
                DomainState::Running => (VmState::Running, None),
                DomainState::Off(ended) => (VmState::Stopped, Some(ended)),
            };
            news |= entry.saw(state, ended, found.usage);
        }
        for (vm, entry) in entries.iter_mut() {
            let there = found.iter().any(|found| found.record.plan.vm == *vm);
            if !there && !entry.busy && matches!(entry.status().state, VmState::Running | VmState::Stopped) {
                news |= entry.saw(VmState::Stopped, Some(Ended::ByForce), Default::default());
            }
        }
        entries.retain(|_, entry| entry.busy || !entry.is_forgotten(REMEMBER));
        drop(entries);
        if news {
            self.tell();
        }
    }

    /// Removes what no VM here needs: files, networks and mounts that a crash has left.
    async fn remove_leftovers(&self) {
        let here: HashSet<VmId> = self.list().iter().map(|status| status.vm).collect();
        self.0.files.keep_only(&here);
        if let Err(error) = self.0.networks.converge(self.0.platform.links(), || self.segments(None)).await {
            tracing::error!(error, "cannot look at the network");
        }
        self.0.platform.mounts().keep_only(&self.exports(None)).await;
    }
}

fn segments_of(plan: Option<&VmPlan>) -> BTreeSet<Segment> {
    let nics = plan.map(|plan| plan.nics.as_slice()).unwrap_or_default();
    nics.iter().map(|nic| Segment { vlan: nic.vlan, network: nic.network }).collect()
}

fn exports_of(plan: Option<&VmPlan>) -> HashSet<Export> {
    let disks = plan.map(|plan| plan.disks.as_slice()).unwrap_or_default();
    disks
        .iter()
        .map(|disk| match &disk.source {
            DiskSource::Nfs { server, export, .. } => Export { server: server.clone(), path: export.clone() },
        })
        .collect()
}

/// The rules that a description must keep beyond its types.
fn check_plan(vm: VmId, plan: &VmPlan) -> Result<(), WireError> {
    let invalid = |rule: &str| Err(WireError::new(ErrorCode::Invalid, rule.to_owned()));
    if plan.vm != vm {
        return invalid("plan.vm: must be the VM in the path");
    }
    if !(1..=256).contains(&plan.vcpus) {
        return invalid("plan.vcpus: must be 1 to 256");
    }
    if !(1..=10_000).contains(&plan.cpu_share) {
        return invalid("plan.cpu_share: must be 1 to 10000");
    }
    if plan.memory_mib == 0 {
        return invalid("plan.memory_mib: must not be 0");
    }
    if plan.disks.is_empty() || plan.disks.len() > 24 {
        return invalid("plan.disks: must be 1 to 24 disks");
    }
    for disk in &plan.disks {
        let DiskSource::Nfs { server, export, file } = &disk.source;
        let plain =
            |text: &str| !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        let inside = file.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !plain(server)
            || server.starts_with('-')
            || !export.starts_with('/')
            || !plain(export)
            || !plain(file)
            || !inside
        {
            return invalid("plan.disks: must name a file below an exported folder");
        }
    }
    Ok(())
}
