//! What is known of one VM: its goal, and how it stands to it.

use std::sync::Arc;
use std::time::Duration;

use podzol_agent_api::vm::{Moved, StepTiming, Usage, VmPlan, VmState, VmStatus};
use podzol_hypervisor::{DomainState, Found, Record};
use podzol_vocab::{Generation, HostId, Sha256, VmId};
use tokio::sync::watch;
use tokio::time::Instant;

/// What a VM should be.
#[derive(Debug, Clone)]
pub(super) enum Goal {
    /// It should run as described.
    Run(Arc<VmPlan>, Record),
    /// It was found here with this description, or one that cannot be read; nobody has told anything since the agent
    /// began.
    AsFound(Option<Record>),
    /// It should not be here; it is ended by force from then on.
    Gone { force_at: Instant },
    /// It should come from another host, and run here as described.
    Arrive { plan: Arc<VmPlan>, record: Record, from: HostId },
    /// It should go to another host.
    Leave(Destination),
    /// It should stay, if it has not gone to another host by now.
    Stay,
}

/// The host that a VM goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) host: HostId,
    /// Where its agent listens: `host:port`.
    pub(super) address: String,
}

impl Goal {
    /// Whether another goal of the same number wants the same. A VM that should arrive as described should run as
    /// described in the end; to stay says nothing of what a VM is described as, and what runs as described stays.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Gone { .. }, Self::Gone { .. }) => true,
            (Self::Stay, Self::Stay | Self::Run(..)) => true,
            (Self::Run(..) | Self::AsFound(_), Self::Stay) => true,
            (Self::Leave(to), Self::Leave(other)) => to == other,
            _ => self.digest().is_some_and(|digest| other.digest() == Some(digest)),
        }
    }

    fn digest(&self) -> Option<Sha256> {
        match self {
            Self::Run(_, record) | Self::AsFound(Some(record)) | Self::Arrive { record, .. } => {
                Some(record.digest)
            }
            Self::AsFound(None) | Self::Gone { .. } | Self::Leave(_) | Self::Stay => None,
        }
    }

    /// The description of a VM that should run as it is, now or as it was found.
    fn described(&self) -> Option<&VmPlan> {
        match self {
            Self::Run(plan, _) => Some(plan),
            Self::AsFound(Some(record)) => Some(&record.plan),
            _ => None,
        }
    }

    /// The description in it, with secrets.
    pub(super) fn plan(&self) -> Option<&Arc<VmPlan>> {
        match self {
            Self::Run(plan, _) | Self::Arrive { plan, .. } => Some(plan),
            _ => None,
        }
    }
}

/// One VM.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) generation: Generation,
    pub(super) goal: Goal,
    /// Its description without secrets, for what it needs of the host.
    pub(super) plan: Option<Arc<VmPlan>>,
    /// Whether its task is at work.
    pub(super) busy: bool,
    /// Changes with every goal, so that the task sees a new one.
    pub(super) turn: u64,
    /// Whether its domain is gone and the rest of it is being removed: it needs nothing of the host any more.
    pub(super) gone: bool,
    /// The host that it came from, in this run of it.
    came_from: Option<HostId>,
    /// When its goal was set or its task ended, whichever was last.
    since: Instant,
    status: watch::Sender<VmStatus>,
}

impl Entry {
    fn new(vm: VmId, generation: Generation, goal: Goal, state: VmState) -> Self {
        let status = VmStatus {
            vm,
            generation,
            state,
            ended: None,
            error: None,
            moved: None,
            never_came: false,
            timing: vec![],
            usage: Usage::default(),
        };
        Self {
            generation,
            goal,
            plan: None,
            busy: false,
            turn: 0,
            gone: false,
            came_from: None,
            since: Instant::now(),
            status: watch::Sender::new(status),
        }
    }

    /// A VM of which nothing is known.
    pub(super) fn absent(vm: VmId) -> Self {
        Self::new(vm, Generation(0), Goal::Gone { force_at: Instant::now() }, VmState::Absent)
    }

    /// A VM that was found in the hypervisor, by a look that began then.
    pub(super) fn found(found: &Found, began: Instant) -> Self {
        let record = found.record.as_ref().ok();
        let generation = record.map_or(Generation(0), |record| record.plan.generation);
        let mut entry = Self::new(found.vm, generation, Goal::AsFound(record.cloned()), VmState::Stopped);
        entry.plan = record.map(|record| Arc::new(record.plan.clone()));
        entry.since = began;
        if let Err(error) = &found.record {
            entry.status.send_modify(|status| status.error = Some(error.to_string()));
        }
        entry
    }

    pub(super) fn status(&self) -> VmStatus {
        self.status.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<VmStatus> {
        self.status.subscribe()
    }

    /// Takes a newer goal.
    pub(super) fn set_goal(&mut self, generation: Generation, goal: Goal) {
        self.generation = generation;
        self.renew_goal(goal);
    }

    /// Takes a goal of the same generation once more. A running VM passes through `starting` too: it is settled only
    /// when its description is in force.
    pub(super) fn renew_goal(&mut self, goal: Goal) {
        self.turn += 1;
        self.since = Instant::now();
        if let Some(plan) = goal.plan() {
            self.plan = Some(Arc::clone(plan));
        }
        match &goal {
            Goal::Arrive { from, .. } => self.came_from = Some(*from),
            Goal::Run(..) | Goal::AsFound(_) => {}
            // Whether it comes is what is to be found out.
            Goal::Stay => {}
            Goal::Gone { .. } | Goal::Leave(_) => self.came_from = None,
        }
        let state = match &goal {
            Goal::Run(..) | Goal::AsFound(_) | Goal::Arrive { .. } => VmState::Starting,
            Goal::Gone { .. } => VmState::Stopping,
            Goal::Leave(_) | Goal::Stay => VmState::Leaving,
        };
        self.goal = goal;
        let generation = self.generation;
        self.status.send_modify(|status| {
            status.generation = generation;
            status.state = state;
            (status.error, status.moved, status.never_came) = (None, None, false);
        });
    }

    /// Notes that it has never come here.
    pub(super) fn never_came(&self) {
        self.status.send_modify(|status| status.never_came = true);
    }

    /// Whether it is as a goal says that is the same as its own.
    pub(super) fn is_settled(&self, told: &Goal) -> bool {
        let status = self.status();
        let good = status.error.is_none();
        let is_as_told = match told {
            Goal::Run(..) | Goal::AsFound(_) => {
                let described = !matches!(self.goal, Goal::Arrive { .. } | Goal::Stay);
                described && good && told.described().is_none_or(|plan| status.state == running(plan.paused))
            }
            // Told again, it is looked for; what is told to run has arrived.
            Goal::Arrive { .. } => !matches!(self.goal, Goal::Arrive { .. }),
            Goal::Gone { .. } => good && status.state == VmState::Absent,
            // Where one is that was sent, the other host is to be asked.
            Goal::Leave(_) => good && status.state == VmState::Absent || status.state == VmState::Sent,
            Goal::Stay => !matches!(status.state, VmState::Leaving | VmState::Sent),
        };
        let at_it = self.busy && std::mem::discriminant(&self.goal) == std::mem::discriminant(told);
        at_it || is_as_told
    }

    /// Whether nothing of it is here, as it should be.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.goal, Goal::Gone { .. }) && self.status().state == VmState::Absent
    }

    /// Whether a task must be begun for it.
    pub(super) fn wants_work(&self) -> bool {
        !self.busy && is_passing(self.status().state)
    }

    /// Whether it stands still and should run, or the other way, and was left alone for a while.
    pub(super) fn stands_wrongly(&self, domain: DomainState, pause: Duration) -> bool {
        let Some(plan) = self.goal.described() else { return false };
        let differs = match domain {
            DomainState::Running => plan.paused,
            DomainState::Paused => !plan.paused,
            _ => false,
        };
        differs && self.since.elapsed() >= pause
    }

    /// Whether anything of it is, or may be, on this host.
    pub(super) fn is_here(&self) -> bool {
        self.busy || self.status().state != VmState::Absent
    }

    /// Whether it is at work, or something became of it since then: what was seen before is out of date.
    pub(super) fn is_newer_than(&self, then: Instant) -> bool {
        self.busy || self.since > then
    }

    /// Whether it needs its networks and mounts.
    pub(super) fn needs_host(&self) -> bool {
        use VmState::{Arriving, Leaving, Paused, Running, Sent, Starting, Stopping};
        let state = self.status().state;
        !self.gone && matches!(state, Starting | Running | Paused | Stopping | Arriving | Leaving | Sent)
    }

    /// Whether its ports are plugged in: it runs, and nothing is being done with it, as libvirt refuses to plug in a port
    /// that is plugged in already.
    pub(super) fn is_plugged_in(&self) -> bool {
        !self.gone && !self.busy && matches!(self.status().state, VmState::Running | VmState::Paused)
    }

    /// Whether it should come from another host, whatever is here of it.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.goal, Goal::Arrive { .. })
    }

    /// Whether it comes from that host now.
    pub(super) fn comes_from(&self, host: HostId) -> bool {
        let expected = self.status().state != VmState::Failed;
        expected && matches!(self.goal, Goal::Arrive { from, .. } if from == host)
    }

    /// Whether it comes from another host, or has come from one.
    pub(super) fn came(&self) -> bool {
        self.came_from.is_some()
    }

    /// Whether it comes from that host, or has come from there.
    pub(super) fn came_from(&self, host: HostId) -> bool {
        self.came_from == Some(host)
    }

    /// Notes how much of it has gone to another host.
    pub(super) fn has_moved(&self, moved: Option<Moved>) {
        self.status.send_if_modified(|status| std::mem::replace(&mut status.moved, moved) != moved);
    }

    /// Notes what its task came to.
    pub(super) fn reached(&mut self, state: VmState, error: Option<String>, timing: Vec<StepTiming>) {
        self.since = Instant::now();
        self.status.send_modify(|status| {
            status.state = state;
            status.error = error;
            (status.ended, status.moved) = (None, None);
            if !timing.is_empty() {
                status.timing = timing;
            }
            if !lives(state) {
                status.usage = Usage::default();
            }
        });
    }

    /// Notes what the hypervisor shows of it. True if that is news. A VM that failed and is there all the same is told as
    /// what it is, with the error.
    pub(super) fn saw(&mut self, domain: DomainState) -> bool {
        use VmState::{Arriving, Paused, Running, Stopped};
        let before = self.status().state;
        let (state, ended) = match domain {
            DomainState::Running => (Running, None),
            DomainState::Paused => (Paused, None),
            // One that was not seen to run here may never come to it.
            DomainState::Passing | DomainState::Undecided => {
                (if lives(before) { before } else { Arriving }, None)
            }
            // What did not get here is still waited for.
            DomainState::Off(_) if before == Arriving && self.is_awaited() => (Arriving, None),
            DomainState::Off(ended) => (Stopped, Some(ended)),
        };
        if is_passing(before) {
            return false;
        }
        self.status.send_modify(|status| {
            (status.state, status.ended) = (state, ended);
            if !lives(state) {
                status.usage = Usage::default();
            }
        });
        before != state
    }

    /// Notes what it has used. A counter only grows while a VM runs, so one that could not be had stays as it was.
    pub(super) fn used(&mut self, usage: Usage) {
        if !lives(self.status().state) {
            return;
        }
        self.status.send_modify(|status| {
            let before = status.usage;
            status.usage = Usage {
                cpu_nanos: usage.cpu_nanos.max(before.cpu_nanos),
                memory_kib: if usage.memory_kib > 0 { usage.memory_kib } else { before.memory_kib },
                disk_read_bytes: usage.disk_read_bytes.max(before.disk_read_bytes),
                disk_written_bytes: usage.disk_written_bytes.max(before.disk_written_bytes),
                network_received_bytes: usage.network_received_bytes.max(before.network_received_bytes),
                network_sent_bytes: usage.network_sent_bytes.max(before.network_sent_bytes),
            };
        });
    }

    /// Whether it is gone for so long that nobody asks any more.
    pub(super) fn is_forgotten(&self, after: Duration) -> bool {
        self.status().state == VmState::Absent && self.since.elapsed() > after
    }
}

/// What a VM that is here does.
pub(super) fn running(stands_still: bool) -> VmState {
    if stands_still { VmState::Paused } else { VmState::Running }
}

/// Whether a VM's task is at work in this state, or should be.
pub(super) fn is_passing(state: VmState) -> bool {
    matches!(state, VmState::Starting | VmState::Stopping | VmState::Leaving)
}

/// Whether a VM in this state has a process that counts.
fn lives(state: VmState) -> bool {
    matches!(state, VmState::Running | VmState::Paused | VmState::Leaving | VmState::Sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_put_back_only_while_a_vm_runs_and_nothing_is_done_with_it() {
        let mut entry = Entry::absent(VmId::new());
        let mut is_plugged_in = |state, busy, gone| {
            entry.status.send_modify(|status| status.state = state);
            (entry.busy, entry.gone) = (busy, gone);
            entry.is_plugged_in()
        };
        assert!(is_plugged_in(VmState::Running, false, false));
        assert!(is_plugged_in(VmState::Paused, false, false));
        assert!(!is_plugged_in(VmState::Running, true, false));
        assert!(!is_plugged_in(VmState::Running, false, true));
        // A change of devices passes through `starting` too.
        for state in
            [VmState::Starting, VmState::Stopping, VmState::Arriving, VmState::Leaving, VmState::Absent]
        {
            assert!(!is_plugged_in(state, false, false), "{state:?}");
        }
    }
}
