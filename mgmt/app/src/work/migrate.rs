//! Moving a VM to another host while it runs.
//!
//! ```text
//!   state: migrating   there: made ready -> here: leaves, is gone -> there: told to run   state: running, host: there
//!   given up           here: called back -> still here -> there: removed                  state: running, host: here
//! ```
//! The VM's row holds room on both hosts until it is certain which one has it. That is asked of both and never concluded
//! from an error: it is on the other host if that one says that it runs there, as only the last step of a move lets it run
//! there; it is here if it runs here, as by then it could not any more, or if it stands still here and the other one says
//! that it is not there. If neither is said, nothing is decided, and both are asked again. One whose last step was not
//! answered stands still here as sent; it is told to run on here only after the other one has said, when nothing more of
//! it could come, that it is not there, and never while that one does not answer. Whatever is left on the other
//! host is removed with a newer generation, however long that host is away; this one's VM is not kept waiting for it.

use podzol_agent_api::vm::{
    VmArrive, VmArriveRequest, VmDelete, VmDeleteRequest, VmGet, VmLeave, VmLeaveRequest, VmPlan, VmPut,
    VmPutRequest, VmState as OnHost, VmStatus, VmStay, VmStayRequest,
};
use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_db::{JsonCol, find, operation, server, vm};
use podzol_mgmt_operations::Outcome;
use podzol_rpc::PeerId;
use podzol_vocab::{Generation, HostId};

use super::vm::{CALL, WAIT, still_at_it};
use crate::work::after_call;
use crate::{App, AppError, plan};

/// Where a VM is that was to move to another host.
pub(super) enum Whereabouts {
    /// On the host in its row, and on no other.
    Known(vm::Model),
    /// On the host in its row; the other one may have something left of it, and is to be asked again.
    Here(vm::Model, Outcome),
    /// That cannot be told yet.
    Unknown(Outcome),
}

impl App {
    /// Brings a VM to the host that it is to move to.
    pub(super) async fn migrate(
        &self,
        operation: &operation::Model,
        vm: vm::Model,
    ) -> Result<Outcome, AppError> {
        if vm.state.0 != VmState::Migrating || operation.goal != Some(vm.generation) {
            let detail = "overtaken by a later request";
            return Ok(if vm.moving_to.is_none() {
                Outcome::Done
            } else {
                Outcome::Overtaken { detail: detail.into() }
            });
        }
        let (Some(here), Some(there)) = (vm.host_id, vm.moving_to) else {
            return Ok(Outcome::failed("no_host", "it has no host"));
        };
        let (here, there) = (here.0, there.0);
        // Later it may be on its way, and what becomes of it is not to wait for a storage server.
        if operation.step.is_none()
            && let Some(outcome) = self.bring_iso(&vm).await?
        {
            return Ok(outcome);
        }
        let parts = self.parts(vm).await?;
        let plan = match plan::plan(&parts) {
            Ok(plan) => plan,
            Err(missing) => return Ok(Outcome::again("incomplete", missing)),
        };
        let vm = parts.vm;
        self.progress(operation, "making ready on the other host").await?;
        let wait_ms = WAIT.as_millis() as u64;
        let request = VmArriveRequest { plan: plan.clone(), from: here, wait_ms };
        let status = match self.peers.call::<VmArrive>(PeerId::Host(there), &vm.id.0, &request, CALL).await {
            Ok(status) => status,
            Err(error) => return self.unless_away(there, after_call(&error, "the other host")).await,
        };
        let has_arrived = lives(status.state, &vm);
        match status.state {
            // Whether one that stands still has come so far that it is to be resumed, its host here tells.
            OnHost::Arriving | OnHost::Running | OnHost::Paused | OnHost::Stopped => {}
            OnHost::Failed => {
                let why = status.error.unwrap_or_default();
                return Ok(Outcome::failed("migration_failed", format!("the other host: {why}")));
            }
            OnHost::Absent | OnHost::Starting | OnHost::Stopping | OnHost::Leaving | OnHost::Sent => {
                return Ok(still_at_it("the other host makes ready"));
            }
        }
        // One that has ended there has come there, unless its host says that it runs on where it was.
        if status.state == OnHost::Stopped {
            match self.peers.call::<VmGet>(PeerId::Host(here), &vm.id.0, &(), CALL).await {
                Ok(status) if matches!(status.state, OnHost::Absent | OnHost::Sent | OnHost::Stopped) => {
                    return self.take_in(&vm, there, plan).await;
                }
                Ok(_) => {}
                Err(error) => {
                    let outcome = self.host_refused(operation, &vm, &error).await?;
                    return self.unless_away(here, outcome).await;
                }
            }
        }
        let Some(address) = server::host(self.db.reader(), there).await?.and_then(|row| row.address) else {
            return Ok(Outcome::again("incomplete", "the address of the other host is not known"));
        };
        let generation = Generation(vm.generation as u64);
        let request = VmLeaveRequest { generation, to: there, address, wait_ms: LOOK_MS };
        match self.peers.call::<VmLeave>(PeerId::Host(here), &vm.id.0, &request, CALL).await {
            // Whatever becomes of what is left here. It is waited for while it goes.
            Ok(status) if has_arrived && status.state != OnHost::Leaving => {
                self.take_in(&vm, there, plan).await
            }
            Err(_) if has_arrived => self.take_in(&vm, there, plan).await,
            Ok(status) => self.on_its_way(operation, &vm, there, status, plan).await,
            Err(error) => {
                let outcome = self.host_refused(operation, &vm, &error).await?;
                self.unless_away(here, outcome).await
            }
        }
    }

    /// A host that is away is not waited for.
    async fn unless_away(&self, host: HostId, outcome: Outcome) -> Result<Outcome, AppError> {
        let away =
            |row: server::Model| matches!(row.state.0, ServerState::Disconnected | ServerState::Removed);
        if !server::host(self.db.reader(), host).await?.is_none_or(away) {
            return Ok(outcome);
        }
        Ok(match outcome {
            Outcome::Again { code, detail, .. } => Outcome::Failed { code, detail },
            Outcome::Unanswered { detail, .. } => Outcome::failed("unreachable", detail),
            outcome => outcome,
        })
    }

    /// What follows from what the host says that a VM leaves.
    async fn on_its_way(
        &self,
        operation: &operation::Model,
        vm: &vm::Model,
        there: HostId,
        status: VmStatus,
        plan: VmPlan,
    ) -> Result<Outcome, AppError> {
        match status.state {
            OnHost::Absent => self.take_in(vm, there, plan).await,
            OnHost::Leaving => {
                let moved = status.moved.unwrap_or_default();
                let mib = |bytes: u64| bytes >> 20;
                let (sent, left) = (mib(moved.sent_bytes), mib(moved.left_bytes));
                self.progress(operation, format!("moving: {sent} MiB sent, {left} MiB left")).await?;
                Ok(still_at_it("it is moving"))
            }
            OnHost::Sent => {
                let why = status.error.unwrap_or_default();
                let detail = format!("its host: it was sent, and nothing was heard of it since: {why}");
                Ok(Outcome::failed("migration_failed", detail))
            }
            _ => {
                let why = status.error.unwrap_or_else(|| "it does not run any more".into());
                Ok(Outcome::failed("migration_failed", format!("its host: {why}")))
            }
        }
    }

    /// Has the other host run a VM as described from now on, which has arrived there.
    async fn take_in(&self, vm: &vm::Model, there: HostId, plan: VmPlan) -> Result<Outcome, AppError> {
        let request = VmPutRequest { plan, wait_ms: WAIT.as_millis() as u64 };
        match self.peers.call::<VmPut>(PeerId::Host(there), &vm.id.0, &request, CALL).await {
            Ok(status) if lives(status.state, vm) && status.error.is_none() => self.landed(vm, there).await,
            Ok(status) if status.state == OnHost::Failed => {
                Ok(Outcome::failed("start_failed", status.error.unwrap_or_default()))
            }
            Ok(_) => Ok(still_at_it("the other host takes it in")),
            Err(error) => Ok(after_call(&error, "the other host")),
        }
    }

    /// Finds out where a VM is that is not to move any more, and has it be there alone.
    pub(super) async fn stay_or_land(&self, vm: vm::Model) -> Result<Whereabouts, AppError> {
        let (Some(here), Some(there)) = (vm.host_id, vm.moving_to) else { return Ok(Whereabouts::Known(vm)) };
        let (here, there) = (here.0, there.0);
        let generation = Generation(vm.generation as u64);
        let request = VmStayRequest { generation, wait_ms: WAIT.as_millis() as u64 };
        let stayed = self.peers.call::<VmStay>(PeerId::Host(here), &vm.id.0, &request, CALL).await;
        if stayed.as_ref().is_ok_and(|status| status.state == OnHost::Leaving) {
            return Ok(Whereabouts::Unknown(still_at_it("its host calls it back")));
        }
        if stayed.as_ref().is_ok_and(|status| status.state == OnHost::Sent) {
            return self.ask_where_it_was_sent(&vm, here, there).await;
        }
        // The other host's word comes first: it runs there, or it never will.
        match self.peers.call::<VmGet>(PeerId::Host(there), &vm.id.0, &(), CALL).await {
            Ok(status) if lives(status.state, &vm) => {
                return self.known_on(&vm, there).await;
            }
            // It has come there and stands still, as with a full disk, when nothing is left of it here.
            Ok(status)
                if status.state == OnHost::Paused
                    && stayed.as_ref().is_ok_and(|here| here.state == OnHost::Absent) =>
            {
                return self.known_on(&vm, there).await;
            }
            // It has ended there, so it had come.
            Ok(status)
                if status.state == OnHost::Stopped
                    && stayed
                        .as_ref()
                        .is_ok_and(|here| matches!(here.state, OnHost::Absent | OnHost::Stopped)) =>
            {
                return self.known_on(&vm, there).await;
            }
            Ok(_) => {}
            Err(error) => {
                let again = after_call(&error, "the other host");
                // Where it runs now, it does not run there.
                let runs_here = stayed.is_ok_and(|status| status.state == OnHost::Running);
                return Ok(if runs_here {
                    Whereabouts::Here(vm, again)
                } else {
                    Whereabouts::Unknown(again)
                });
            }
        }
        if let Err(error) = stayed {
            return Ok(Whereabouts::Unknown(after_call(&error, "its host")));
        }
        let request = VmDeleteRequest { generation, grace_secs: 0, wait_ms: WAIT.as_millis() as u64 };
        match self.peers.call::<VmDelete>(PeerId::Host(there), &vm.id.0, &request, CALL).await {
            Ok(status) if status.state == OnHost::Absent => self.known_on(&vm, here).await,
            Ok(_) => Ok(Whereabouts::Here(vm, still_at_it("the other host removes what it had of it"))),
            Err(error) => Ok(Whereabouts::Here(vm, after_call(&error, "the other host"))),
        }
    }

    /// Finds out where a VM is that its host has sent and heard nothing of since: whether it got there only the other host
    /// can tell, once nothing more of it can come. It stands still here until then.
    ///
    /// It is not removed there before that: it may have been let go there just then, and what it wrote to its disks since
    /// would be unknown to its memory here. For the same reason it goes on here only if that host is certain that it never
    /// ran there. If it is not there and may have been, as when it was ended or an older agent cannot tell, it boots anew
    /// there.
    async fn ask_where_it_was_sent(
        &self,
        vm: &vm::Model,
        here: HostId,
        there: HostId,
    ) -> Result<Whereabouts, AppError> {
        let generation = Generation(vm.generation as u64);
        let request = VmStayRequest { generation, wait_ms: WAIT.as_millis() as u64 };
        match self.peers.call::<VmStay>(PeerId::Host(there), &vm.id.0, &request, CALL).await {
            Ok(status) => match status.state {
                OnHost::Running | OnHost::Paused | OnHost::Stopped => self.known_on(vm, there).await,
                OnHost::Absent if status.never_came => self.known_on(vm, here).await,
                OnHost::Absent => self.known_on(vm, there).await,
                _ => Ok(Whereabouts::Unknown(still_at_it("the other host finds out whether it has come"))),
            },
            Err(error) => Ok(Whereabouts::Unknown(after_call(&error, "the other host"))),
        }
    }

    /// Notes that a VM has moved.
    async fn landed(&self, vm: &vm::Model, there: HostId) -> Result<Outcome, AppError> {
        let row = self.settled_on(vm, there).await?;
        if row.and_then(|row| row.host_id).map(|host| host.0) != Some(there) {
            return Ok(Outcome::Overtaken { detail: "overtaken by a later request".into() });
        }
        Ok(Outcome::Done)
    }

    /// What is known once one of two hosts is found to have a VM. If it has got another goal meanwhile, that host was asked
    /// under an older number, and may be told otherwise by now: then nothing is.
    async fn known_on(&self, vm: &vm::Model, host: HostId) -> Result<Whereabouts, AppError> {
        Ok(match self.settled_on(vm, host).await? {
            Some(row) => Whereabouts::Known(row),
            None => Whereabouts::Unknown(still_at_it("it has another goal by now")),
        })
    }

    /// Notes which of two hosts has a VM, and gives its row; nothing if it has got another goal meanwhile.
    async fn settled_on(&self, vm: &vm::Model, host: HostId) -> Result<Option<vm::Model>, AppError> {
        let tx = self.db.begin().await?;
        let found = find::<vm::Entity>(tx.reader(), vm.id).await?;
        let mut row = found.ok_or(AppError::NotFound("vm"))?;
        if row.generation != vm.generation {
            return Ok(None);
        }
        if row.moving_to.is_none() {
            return Ok(Some(row));
        }
        for host in [row.host_id, row.moving_to].into_iter().flatten() {
            // It was told nothing of IPv6 as long as one of the two cannot guard it.
            let found = find::<server::Entity>(tx.reader(), host.0.to_string()).await?;
            row.limits_are_stale |= found.is_some_and(|host| !host.has_ipv6);
        }
        row.host_id = Some(host.into());
        row.moving_to = None;
        if row.state.0 == VmState::Migrating {
            row.state = JsonCol(super::vm::runs(&row));
        }
        tx.vm_update(row.clone()).await?;
        tx.commit().await?;
        Ok(Some(row))
    }
}

/// How long a host may keep a call open while a VM leaves: the operation shows how far it is after each.
const LOOK_MS: u64 = 2_000;

/// Whether a VM in this state on a host has arrived there: it runs, or stands still because it should.
fn lives(state: OnHost, vm: &vm::Model) -> bool {
    state == OnHost::Running || (state == OnHost::Paused && vm.paused)
}
