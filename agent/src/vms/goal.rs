//! What is known of one VM: its goal, and how it stands to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use podzol_agent_api::vm::{Ended, StepTiming, Usage, VmPlan, VmState, VmStatus};
use podzol_hypervisor::Record;
use podzol_vocab::{Generation, VmId};
use tokio::sync::watch;

/// What a VM should be.
#[derive(Debug, Clone)]
pub(super) enum Goal {
    /// It should run as described.
    Run(Arc<VmPlan>, Record),
    /// It was found here with this description; nobody has told anything since the agent began.
    AsFound(Record),
    /// It should not be here; it is ended by force from then on.
    Gone { force_at: Instant },
}

impl Goal {
    /// Whether two goals want the same.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Run(_, one) | Self::AsFound(one), Self::Run(_, other) | Self::AsFound(other)) => {
                one.digest == other.digest
            }
            (Self::Gone { .. }, Self::Gone { .. }) => true,
            _ => false,
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
            timing: vec![],
            usage: Usage::default(),
        };
        Self {
            generation,
            goal,
            plan: None,
            busy: false,
            turn: 0,
            since: Instant::now(),
            status: watch::Sender::new(status),
        }
    }

    /// A VM of which nothing is known.
    pub(super) fn absent(vm: VmId) -> Self {
        Self::new(vm, Generation(0), Goal::Gone { force_at: Instant::now() }, VmState::Absent)
    }

    /// A VM that was found in the hypervisor.
    pub(super) fn found(record: &Record) -> Self {
        let goal = Goal::AsFound(record.clone());
        let mut entry = Self::new(record.plan.vm, record.plan.generation, goal, VmState::Stopped);
        entry.plan = Some(Arc::new(record.plan.clone()));
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

    /// Takes a goal of the same generation once more.
    pub(super) fn renew_goal(&mut self, goal: Goal) {
        self.turn += 1;
        let state = match &goal {
            Goal::Run(plan, _) => {
                self.plan = Some(Arc::clone(plan));
                if self.status().state == VmState::Running { VmState::Running } else { VmState::Starting }
            }
            Goal::Gone { .. } => VmState::Stopping,
            Goal::AsFound(_) => self.status().state,
        };
        self.goal = goal;
        let generation = self.generation;
        // A running VM with a newer description passes through `starting` too: it is settled only when that is in force.
        let state = if state == VmState::Running { VmState::Starting } else { state };
        self.status.send_modify(|status| {
            status.generation = generation;
            status.state = state;
            status.error = None;
        });
    }

    /// Whether it is as its goal says.
    pub(super) fn is_settled(&self) -> bool {
        let wanted = match self.goal {
            Goal::Run(..) | Goal::AsFound(_) => VmState::Running,
            Goal::Gone { .. } => VmState::Absent,
        };
        let status = self.status();
        self.busy || (status.state == wanted && status.error.is_none())
    }

    /// Whether nothing of it is here, as it should be.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.goal, Goal::Gone { .. }) && self.status().state == VmState::Absent
    }

    /// Whether a task must be begun for it.
    pub(super) fn wants_work(&self) -> bool {
        !self.busy && matches!(self.status().state, VmState::Starting | VmState::Stopping)
    }

    /// Whether it needs its networks and mounts.
    pub(super) fn needs_host(&self) -> bool {
        matches!(self.status().state, VmState::Starting | VmState::Running | VmState::Stopping)
    }

    /// Notes what its task came to.
    pub(super) fn reached(&mut self, state: VmState, error: Option<String>, timing: Vec<StepTiming>) {
        self.since = Instant::now();
        self.status.send_modify(|status| {
            status.state = state;
            status.error = error;
            status.ended = None;
            if !timing.is_empty() {
                status.timing = timing;
            }
            if state != VmState::Running {
                status.usage = Usage::default();
            }
        });
    }

    /// Notes what the hypervisor shows of it. True if that is news.
    pub(super) fn saw(&mut self, state: VmState, ended: Option<Ended>, usage: Usage) -> bool {
        let before = self.status();
        let expected = matches!(before.state, VmState::Running | VmState::Stopped);
        if !expected {
            return false;
        }
        self.status.send_modify(|status| {
            (status.state, status.ended, status.usage) = (state, ended, usage);
        });
        before.state != state
    }

    /// Whether it is gone for so long that nobody asks any more.
    pub(super) fn is_forgotten(&self, after: Duration) -> bool {
        self.status().state == VmState::Absent && self.since.elapsed() > after
    }
}
