//! What a VM's task does: starting, changing and ending it. Moving it to another host is in [`super::moving`].

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use podzol_agent_api::vm::{DiskSource, StepTiming, VmPlan, VmState};
use podzol_hostnet::Segment;
use podzol_hypervisor::{Devices, Domain, DomainState, Found, Hypervisor, Record};
use podzol_vocab::{InterfaceName, Tag, VmId};
use tokio::time::Instant;

use super::goal::{Entry, running};
use super::plan::{differences, export_of, segments_of};
use super::{Goal, Vms, runs_with_other};
use crate::files::Files;
use crate::mounts::Mounts;
use crate::platform::Platform;

/// How often to look whether a VM that was asked to shut down has done so, if no event tells.
const LOOK: Duration = Duration::from_millis(200);

/// How long a VM stands still at the end of its way before it is said to be sent: the hypervisor had no more to do with it
/// all the time.
const SENT: Duration = Duration::from_secs(5);

/// How often to ask a VM again to shut down that was asked and runs on.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How long to wait before trying again what must get done and failed.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// What a VM's task has come to: what the VM does, what went wrong, and how long each step of a start took.
pub(super) type Reached = (VmState, Option<String>, Vec<StepTiming>);

/// What a VM needs of the host.
pub(super) struct Needs {
    files: Mounted,
    seed: PathBuf,
    /// In its description's order.
    bridges: Vec<InterfaceName>,
}

/// The files of a VM in pools that are mounted: its disks' in its description's order, and its ISO's.
struct Mounted {
    disks: Vec<PathBuf>,
    cdrom: Option<PathBuf>,
}

/// Measures the steps of a start.
#[derive(Default)]
pub(super) struct Steps(Vec<StepTiming>);

impl Steps {
    fn add(&mut self, step: &str, begun: Instant) {
        self.0.push(StepTiming { step: step.into(), micros: begun.elapsed().as_micros() as u64 });
    }
}

impl<P: Platform> Vms<P> {
    /// Pursues a VM's goal until it is reached or given up, and the goals that come meanwhile.
    pub(super) async fn pursue(self, vm: VmId) {
        loop {
            let Some((goal, turn)) = self.begin(vm) else { return };
            let (state, error, timing) = match goal {
                Goal::Run(plan, record) => self.run(plan, record, turn).await,
                Goal::Gone { force_at } => (self.end(vm, force_at, turn).await, None, vec![]),
                Goal::Arrive { plan, .. } => self.make_ready(plan, turn).await,
                Goal::Leave(to) => self.leave(vm, to, turn).await,
                Goal::Stay => (self.stay(vm, turn).await, None, vec![]),
                Goal::AsFound(record) => self.go_on_as_found(vm, record, turn).await,
            };
            self.tell();
            let mut entries = self.entries();
            let Some(entry) = entries.get_mut(&vm) else { return };
            if entry.turn == turn {
                entry.reached(state, error, timing);
                entry.busy = false;
                return;
            }
        }
    }

    /// The goal to pursue now, and its turn.
    fn begin(&self, vm: VmId) -> Option<(Goal, u64)> {
        let mut entries = self.entries();
        let entry = entries.get_mut(&vm)?;
        entry.gone = false;
        Some((entry.goal.clone(), entry.turn))
    }

    async fn run(&self, plan: Arc<VmPlan>, record: Record, turn: u64) -> Reached {
        let vm = plan.vm;
        let mut steps = Steps::default();
        let begun = Instant::now();
        let Some(found) = self.look_where(vm, turn).await else { return (VmState::Starting, None, vec![]) };
        steps.add("look", begun);
        self.with_files(move |files| files.await_no_more(vm)).await;
        let found = match self.taken_back(vm, found).await {
            Ok(found) => found,
            Err(error) => return (VmState::Sent, Some(format!("{error:#}")), vec![]),
        };
        if let Some(found) = found.filter(Found::runs) {
            // It runs, whatever becomes of the change: a failure is told, and ends nothing.
            let changed = match self.change(&found, record, turn).await {
                Ok(()) => self.replace_seed(Arc::clone(&plan)).await,
                failed => failed,
            };
            let error = changed.err();
            let stands_still = if error.is_some() { found.state == DomainState::Paused } else { plan.paused };
            return (running(stands_still), error.map(|error| format!("{error:#}")), vec![]);
        }
        match self.start(Arc::clone(&plan), &mut steps).await {
            Ok(()) => (running(plan.paused), None, steps.0),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(%vm, error, "cannot start a VM");
                self.remove(vm).await;
                (VmState::Failed, Some(error), steps.0)
            }
        }
    }

    /// Has a VM that nobody has told of since the agent began run or stand still, as it is described.
    async fn go_on_as_found(&self, vm: VmId, record: Option<Record>, turn: u64) -> Reached {
        let (state, error) = match (self.look_where(vm, turn).await, record) {
            (None, _) => (VmState::Starting, None),
            (Some(Some(found)), Some(record)) if found.runs() => {
                let failed = self.pause_or_resume(&found, &record.plan).await.err();
                let stands_still =
                    if failed.is_some() { found.state == DomainState::Paused } else { record.plan.paused };
                (running(stands_still), failed.map(|error| format!("{error:#}")))
            }
            // The next look says what it is.
            (Some(Some(found)), _) if !matches!(found.state, DomainState::Off(_)) => {
                (VmState::Arriving, None)
            }
            (Some(_), _) => (VmState::Stopped, None),
        };
        (state, error, vec![])
    }

    /// Has a VM run on that stands still here since it was sent to another host, as it did not get there: nobody else would
    /// tell it to run here.
    async fn taken_back(&self, vm: VmId, found: Option<Found>) -> anyhow::Result<Option<Found>> {
        match found {
            Some(found) if found.state == DomainState::Passing => {
                tracing::warn!(%vm, "a VM that was sent to another host has not got there; it goes on here");
                self.0.platform.hypervisor().take_back(vm).await?;
                Ok(Some(Found { state: DomainState::Running, ..found }))
            }
            found => Ok(found),
        }
    }

    /// Looks whether a VM is here, until the hypervisor answers, and until that is decided if it is on its way between two
    /// hosts; one that is [`DomainState::Passing`] all the same was sent, and the hypervisor has done with it. Nothing when
    /// the VM gets another goal meanwhile.
    pub(super) async fn look_where(&self, vm: VmId, turn: u64) -> Option<Option<Found>> {
        let hypervisor = self.0.platform.hypervisor();
        let comes = self.entries().get(&vm).is_some_and(Entry::came);
        let mut done_since = None;
        loop {
            match self.look_for(vm, turn).await? {
                // Only of one that leaves can be told how far it is.
                Some(found) if found.state == DomainState::Passing && !comes => {
                    match hypervisor.moved(vm).await {
                        Ok(None) if done_since.get_or_insert_with(Instant::now).elapsed() >= SENT => {
                            return Some(Some(found));
                        }
                        Ok(None) => {}
                        Ok(Some(_)) | Err(_) => done_since = None,
                    }
                }
                Some(found) if matches!(found.state, DomainState::Passing | DomainState::Undecided) => {}
                found => return Some(found),
            }
            if self.has_other_goal(vm, turn) {
                return None;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) fn has_other_goal(&self, vm: VmId, turn: u64) -> bool {
        self.entries().get(&vm).is_none_or(|entry| entry.turn != turn)
    }

    /// Looks whether a VM is here, until the hypervisor answers. Nothing when the VM gets another goal meanwhile.
    pub(super) async fn look_for(&self, vm: VmId, turn: u64) -> Option<Option<Found>> {
        loop {
            match self.0.platform.hypervisor().find(vm).await {
                Ok(found) => return Some(found),
                Err(error) => tracing::warn!(%vm, %error, "cannot see whether a VM is here; trying again"),
            }
            if self.has_other_goal(vm, turn) {
                return None;
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn start(&self, plan: Arc<VmPlan>, steps: &mut Steps) -> anyhow::Result<()> {
        let facts = self.hypervisor().unwrap_or_default();
        let Some(accelerator) = facts.accelerator else {
            bail!("this host cannot run VMs: {}", facts.kvm_problem.unwrap_or_default());
        };
        let Needs { files: Mounted { disks, cdrom }, seed, bridges } = self.needs(&plan, steps).await?;
        let vm = plan.vm;
        self.with_files(move |files| files.begin_log(vm)).await;
        let serial_log = self.0.files.serial_log(plan.vm);
        let serial_socket = self.0.files.serial_socket(plan.vm);
        let domain = Domain {
            plan: (*plan).clone(),
            accelerator,
            disks,
            cdrom,
            bridges,
            seed,
            serial_log,
            serial_socket,
        };
        let begun = Instant::now();
        self.0.platform.hypervisor().start(domain).await?;
        if plan.paused {
            self.0.platform.hypervisor().pause(plan.vm).await?;
        }
        steps.add("libvirt", begun);
        Ok(())
    }

    /// Makes what a VM needs of the host: its pools' mounts, its seed, and its bridges.
    pub(super) async fn needs(&self, plan: &Arc<VmPlan>, steps: &mut Steps) -> anyhow::Result<Needs> {
        let begun = Instant::now();
        let files = self.mount(plan).await?;
        steps.add("storage", begun);
        let begun = Instant::now();
        let described = Arc::clone(plan);
        let seed = self.with_files(move |files| files.write_seed(described.vm, &described.seed)).await?;
        steps.add("seed", begun);
        let begun = Instant::now();
        let bridges = self.bridges(plan).await?;
        steps.add("network", begun);
        Ok(Needs { files, seed, bridges })
    }

    /// Makes the networks of a VM's interfaces and says which bridges they are. Those of the host's own networks are not made:
    /// they must be there.
    async fn bridges(&self, plan: &VmPlan) -> anyhow::Result<Vec<InterfaceName>> {
        let (links, networks) = (self.0.platform.links(), &self.0.networks);
        let tags: Vec<Tag> = plan.nics.iter().map(|nic| nic.tag).collect();
        let bridges = networks.bridges(links, &tags).await?;
        networks.need(links, &segments_of(Some(plan)), || self.wanted_networks()).await?;
        self.guard().await?;
        Ok(bridges)
    }

    /// Mounts the pools of a VM's disks and of its ISO, and says where their files are.
    async fn mount(&self, plan: &VmPlan) -> anyhow::Result<Mounted> {
        let mut disks = Vec::with_capacity(plan.disks.len());
        for disk in &plan.disks {
            disks.push(self.file(&disk.source).await?);
        }
        let cdrom = match &plan.cdrom {
            Some(cdrom) => Some(self.file(&cdrom.source).await?),
            None => None,
        };
        Ok(Mounted { disks, cdrom })
    }

    async fn file(&self, source: &DiskSource) -> anyhow::Result<PathBuf> {
        let (export, file) = export_of(source);
        Ok(self.0.platform.mounts().mount(&export).await?.join(file))
    }

    /// Brings a running VM to a newer description. One that cannot be read is written anew: the VM runs as described, as
    /// far as anybody knows.
    async fn change(&self, found: &Found, record: Record, turn: u64) -> anyhow::Result<()> {
        let hypervisor = self.0.platform.hypervisor();
        if let Ok(in_force) = &found.record {
            if *in_force == record {
                return self.pause_or_resume(found, &record.plan).await;
            }
            let differing = differences(&in_force.plan, &record.plan);
            if !differing.is_empty() {
                self.needs_what_it_has(in_force, turn);
                bail!(runs_with_other(&differing));
            }
            self.change_devices(&record.plan).await?;
            self.pause_or_resume(found, &record.plan).await?;
            if record.plan.reboots > in_force.plan.reboots {
                hypervisor.reboot(record.plan.vm).await?;
            }
            // Noted after it was done: killed in between, the agent reboots it twice rather than never.
            hypervisor.note(record).await?;
            return self.leave_unneeded(&in_force.plan).await;
        }
        self.pause_or_resume(found, &record.plan).await?;
        Ok(hypervisor.note(record).await?)
    }

    /// Has a VM that is here stand still or run, as described.
    async fn pause_or_resume(&self, found: &Found, plan: &VmPlan) -> anyhow::Result<()> {
        let hypervisor = self.0.platform.hypervisor();
        match (found.state, plan.paused) {
            (DomainState::Running, true) => hypervisor.pause(plan.vm).await?,
            (DomainState::Paused, false) => hypervisor.resume(plan.vm).await?,
            _ => {}
        }
        Ok(())
    }

    /// Gives a running VM the disks, network interfaces and ISO that it should have.
    async fn change_devices(&self, plan: &VmPlan) -> anyhow::Result<()> {
        let hypervisor = self.0.platform.hypervisor();
        let devices = hypervisor.devices(plan.vm, Devices::sized(plan)).await?;
        if devices.are_of(plan) {
            return self.guard().await;
        }
        let files = self.mount(plan).await?;
        let bridges = self.bridges(plan).await?;
        for change in devices.changes(plan, &files.disks, &bridges, files.cdrom.as_deref()) {
            hypervisor.change(plan.vm, change).await?;
        }
        Ok(())
    }

    /// Writes a running VM's seed if somebody has removed it.
    async fn replace_seed(&self, plan: Arc<VmPlan>) -> anyhow::Result<()> {
        let replace = move |files: &Files| match files.has_seed(plan.vm) {
            true => Ok(()),
            false => files.write_seed(plan.vm, &plan.seed).map(drop),
        };
        self.with_files(replace).await
    }

    /// Removes the networks and mounts that a VM needed as it was described before, and that nobody needs now.
    async fn leave_unneeded(&self, before: &VmPlan) -> anyhow::Result<()> {
        let left = segments_of(Some(before));
        self.0.networks.leave(self.0.platform.links(), &left, || self.wanted_networks()).await?;
        self.guard().await?;
        self.0.platform.mounts().keep_only(|| self.exports()).await;
        Ok(())
    }

    /// Notes that a VM runs with its old description, and so needs what is in that.
    fn needs_what_it_has(&self, in_force: &Record, turn: u64) {
        if let Some(entry) = self.entries().get_mut(&in_force.plan.vm).filter(|entry| entry.turn == turn) {
            entry.plan = Some(Arc::new(in_force.plan.clone()));
        }
    }

    /// Ends a VM: asks it to shut down, ends it by force after its grace, and removes all of it. Stops half-way when
    /// the VM gets another goal.
    async fn end(&self, vm: VmId, force_at: Instant, turn: u64) -> VmState {
        if force_at > Instant::now() {
            self.shut_down(vm, force_at, turn).await;
        }
        if self.has_other_goal(vm, turn) {
            return VmState::Stopping;
        }
        self.remove(vm).await;
        VmState::Absent
    }

    /// Asks a VM to shut down, until it has or its time is up: a guest that is still booting does not hear it.
    async fn shut_down(&self, vm: VmId, force_at: Instant, turn: u64) {
        let hypervisor = self.0.platform.hypervisor();
        let mut ask_at = Instant::now();
        while Instant::now() < force_at {
            if ask_at <= Instant::now() {
                let asked = hypervisor.shut_down(vm).await;
                if let Err(error) = &asked {
                    tracing::warn!(%vm, %error, "cannot ask a VM to shut down; trying again");
                }
                ask_at = Instant::now() + if asked.is_ok() { ASK_AGAIN } else { TRY_AGAIN };
            }
            match hypervisor.find(vm).await {
                // One that stands still hears nothing.
                Ok(Some(found)) if found.state == DomainState::Paused => {
                    if let Err(error) = hypervisor.resume(vm).await {
                        tracing::warn!(%vm, %error, "cannot resume a VM that should shut down");
                    }
                }
                // Nor does one that has been sent to another host, or comes from one.
                Ok(Some(found)) if found.state == DomainState::Passing => {
                    if matches!(hypervisor.moved(vm).await, Ok(None)) {
                        return;
                    }
                }
                Ok(Some(found)) if !matches!(found.state, DomainState::Off(_)) => {}
                Ok(_) => return,
                Err(error) => tracing::warn!(%vm, %error, "cannot see whether a VM has shut down"),
            }
            if self.has_other_goal(vm, turn) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Removes all of a VM from the host: the domain, its files, and the networks and mounts that no other VM needs.
    pub(super) async fn remove(&self, vm: VmId) {
        while let Err(error) = self.0.platform.hypervisor().remove(vm).await {
            tracing::error!(%vm, %error, "cannot remove a VM; trying again");
            tokio::time::sleep(TRY_AGAIN).await;
        }
        let left = self.take_leave(vm);
        self.with_files(move |files| files.remove(vm)).await;
        if let Err(error) =
            self.0.networks.leave(self.0.platform.links(), &left, || self.wanted_networks()).await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot look at the network");
        }
        if let Err(error) = self.guard().await {
            tracing::error!(error = %format!("{error:#}"), "cannot change the rules of VMs' ports");
        }
        self.0.platform.mounts().keep_only(|| self.exports()).await;
    }

    /// Notes that a VM needs nothing of the host any more, and says which networks it needed.
    fn take_leave(&self, vm: VmId) -> BTreeSet<Segment> {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(&vm) else { return BTreeSet::new() };
        entry.gone = true;
        segments_of(entry.plan.as_deref())
    }
}
