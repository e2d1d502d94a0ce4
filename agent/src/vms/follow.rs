//! Following the host as long as the agent runs: what the hypervisor has, what VMs use, and that networks, mounts and
//! files are what the VMs here need. All of it takes no input but the wish to look again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use podzol_agent_api::report::Accelerator;
use podzol_agent_api::vm::{Ended, Usage, VmState, VmStatus};
use podzol_hypervisor::{DomainState, Found, Hypervisor, HypervisorError};
use podzol_vocab::{ErrorCode, VmId, WireError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::goal::Entry;
use super::{HypervisorFacts, Known, Vms};
use crate::mounts::Mounts;
use crate::platform::Platform;
use crate::watch::LinkChanges;

/// How often to look at the hypervisor when it tells of no change, and to count what VMs use.
const LOOK: Duration = Duration::from_secs(5);

/// How often to look at the hypervisor until it has answered once.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// How often to try KVM again while it does not work.
const PROBE: Duration = Duration::from_secs(60);

/// How often to converge networks, mounts and files when nothing tells of a change: what failed is tried again then.
const CONVERGE: Duration = Duration::from_secs(30);

/// Changes of links that come together are met together: each start of a VM makes several.
const GATHER: Duration = Duration::from_secs(1);

/// How many times as long as it took to converge the changes of links are left to gather after it, so that a host with
/// many VMs, or a slow one, has most of its time for other things.
const REST: u32 = 10;

/// How long a VM that is gone is remembered by its generation.
const REMEMBER: Duration = Duration::from_secs(3600);

impl<P: Platform> Vms<P> {
    /// Follows the host until stopped.
    pub async fn follow(self, stop: CancellationToken) {
        let work = async {
            self.look_first().await;
            tokio::join!(self.look_for_ever(), self.count_for_ever(), self.converge_for_ever());
        };
        stop.run_until_cancelled(work).await;
    }

    /// Looks until the hypervisor has answered: before, no VM is known, and all would be leftovers.
    async fn look_first(&self) {
        let mut told = false;
        while let Err(error) = self.look().await {
            if !told {
                tracing::error!(%error, "the hypervisor has not answered yet; trying again");
            }
            told = true;
            self.changed_or(FIRST_LOOK).await;
        }
    }

    async fn look_for_ever(&self) {
        loop {
            self.changed_or(LOOK).await;
            if let Err(error) = self.look().await {
                self.is_in_trouble(&error);
            }
        }
    }

    async fn changed_or(&self, pause: Duration) {
        tokio::select! {
            () = self.0.platform.hypervisor().changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// Looks at the hypervisor once.
    pub(super) async fn look(&self) -> Result<(), HypervisorError> {
        let began = Instant::now();
        let found = self.0.platform.hypervisor().list().await?;
        self.learn(&found, began);
        if self.known().as_ref().is_none_or(Known::wants_probe) { self.probe().await } else { Ok(()) }
    }

    fn is_in_trouble(&self, error: &HypervisorError) {
        if let Some(known) = self.known().as_mut().filter(|known| known.facts.trouble.is_none()) {
            tracing::error!(%error, "the hypervisor is in trouble");
            known.facts.trouble = Some(error.to_string());
            self.tell();
        }
    }

    /// Finds out what the hypervisor is and how it runs VMs.
    pub(super) async fn probe(&self) -> Result<(), HypervisorError> {
        let version = self.0.platform.hypervisor().version().await?;
        let kvm_problem = self.0.platform.kvm_problem().await;
        let accelerator = match &kvm_problem {
            None => Some(Accelerator::Kvm),
            Some(_) if self.0.allow_emulation => Some(Accelerator::Emulation),
            Some(_) => None,
        };
        let facts = HypervisorFacts { version, accelerator, kvm_problem, trouble: None };
        let before = self.known().replace(Known { facts: facts.clone(), probed: Instant::now() });
        if before.is_none_or(|before| before.facts != facts) {
            let HypervisorFacts { version, accelerator, kvm_problem, .. } = facts;
            tracing::info!(version, ?accelerator, kvm_problem, "the hypervisor answers");
            self.tell();
        }
        Ok(())
    }

    /// What a VM does, as the hypervisor says now.
    ///
    /// # Errors
    /// When the hypervisor does not answer.
    pub(crate) async fn look_at(&self, vm: VmId) -> Result<VmStatus, WireError> {
        self.must_be_ready()?;
        let looked = self.look().await;
        looked.map_err(|error| WireError::new(ErrorCode::Unavailable, error.to_string()))?;
        let known = self.entries().get(&vm).map(Entry::status);
        Ok(known.unwrap_or_else(|| Entry::absent(vm).status()))
    }

    /// Takes in what the hypervisor had when a look began. A VM whose task is at work, or was since, is left as it is.
    pub(super) fn learn(&self, found: &[Found], began: Instant) {
        let mut entries = self.entries();
        let mut news = false;
        for found in found {
            let entry = entries.entry(found.vm).or_insert_with(|| take_in(found, began));
            if entry.is_newer_than(began) {
                continue;
            }
            if entry.is_gone() {
                tracing::warn!(vm = %found.vm, "a VM that was removed is there again; removing it");
                entry.renew_goal(entry.goal.clone());
                self.set_to_work(found.vm, entry);
                news = true;
                continue;
            }
            news |= entry.saw(found.state);
            if entry.stands_wrongly(found.state, LOOK) {
                let now = found.state;
                tracing::warn!(vm = %found.vm, ?now, "a VM stands still that should run, as with a full disk, or runs that should not");
                entry.renew_goal(entry.goal.clone());
                self.set_to_work(found.vm, entry);
            }
        }
        let there: HashSet<_> = found.iter().map(|found| found.vm).collect();
        for (_, entry) in entries.iter_mut().filter(|(vm, _)| !there.contains(vm)) {
            use VmState::{Arriving, Paused, Running, Stopped};
            let state = entry.status().state;
            let expected =
                matches!(state, Running | Paused | Stopped) || (state == Arriving && !entry.is_awaited());
            if expected && !entry.is_newer_than(began) {
                news |= entry.saw(DomainState::Off(Ended::ByForce));
            }
        }
        entries.retain(|_, entry| entry.busy || !entry.is_forgotten(REMEMBER));
        drop(entries);
        if news {
            self.tell();
        }
    }

    /// Counts what VMs use. Nothing waits for it: a report tells what was counted last.
    async fn count_for_ever(&self) {
        let mut well = true;
        loop {
            let counted = self.0.platform.hypervisor().usage().await;
            if let (Err(error), true) = (&counted, well) {
                tracing::warn!(%error, "cannot count what VMs use");
            }
            well = counted.is_ok();
            self.take_in_usage(counted.unwrap_or_default());
            tokio::time::sleep(LOOK).await;
        }
    }

    fn take_in_usage(&self, usage: HashMap<VmId, Usage>) {
        let mut entries = self.entries();
        for (vm, usage) in usage {
            if let Some(entry) = entries.get_mut(&vm) {
                entry.used(usage);
            }
        }
    }

    async fn converge_for_ever(&self) {
        let mut links = LinkChanges::default();
        loop {
            let began = Instant::now();
            self.converge().await;
            let rest = (began.elapsed() * REST).clamp(GATHER, CONVERGE);
            tokio::select! {
                () = links.next(self.0.platform.links()) => tokio::time::sleep(rest).await,
                () = tokio::time::sleep(CONVERGE) => {}
            }
        }
    }

    /// Has files, networks and mounts be what the VMs here need, whoever or whatever crash has left them otherwise.
    pub(super) async fn converge(&self) {
        let vms = self.clone();
        self.with_files(move |files| files.keep_only(|vm| vms.is_here(vm))).await;
        // Before the networks, which can plug ports in.
        let filter = self.0.platform.filter();
        if let Err(error) = self.0.guards.put_right(filter, || self.ports()).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot change the rules of VMs' ports"
            );
        }
        if let Err(error) = self.0.networks.converge(self.0.platform.links(), || self.wanted_networks()).await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot look at the network");
        }
        self.0.platform.mounts().keep_only(|| self.exports()).await;
    }
}

impl Known {
    /// Whether it is time to find out again what the hypervisor is.
    fn wants_probe(&self) -> bool {
        self.facts.trouble.is_some() || (self.facts.kvm_problem.is_some() && self.probed.elapsed() >= PROBE)
    }
}

/// The entry of a VM that nobody has told of since the agent began.
fn take_in(found: &Found, began: Instant) -> Entry {
    if let Err(error) = &found.record {
        let error = error as &dyn std::error::Error;
        tracing::error!(vm = %found.vm, error, "a VM stays as it is until it is described again");
    }
    Entry::found(found, began)
}
