//! Routers: telling them what has changed, starting them anew, and putting others in their places.
//!
//! ```text
//!   restart    the VM is ended -> it is started again, with a new identity -> told all
//!   replace    another VM is started -> the old one is ended -> its interfaces go to the other one -> that is told all
//! ```
//! A restart whose host stops to report fails, so that the router is replaced as one that is dead.
//!
//! Nothing here stays half done: each attempt looks at the rows and does the next step. Between two steps the VM that is in
//! the router's row has the interfaces, and no other.

use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_api::vm::{Attachment, VmState};
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{JsonCol, Reader, Tx, find, now, operation, router, server, vm};
use podzol_mgmt_operations::Outcome;
use podzol_vocab::{AccountId, NetworkId, RouterId, ZoneId};

use super::vm::still_at_it;
use crate::operation::{NewOperation, start};
use crate::router::{TellError, patience};
use crate::{App, AppError};

impl App {
    pub(super) async fn router_attempt(&self, operation: &operation::Model) -> Result<Outcome, AppError> {
        if operation.kind == "router.apply" {
            return self.router_apply(operation).await;
        }
        let id: RouterId = operation.subject.parse().map_err(|_| AppError::NotFound("router"))?;
        let Some(row) = find::<router::Entity>(self.db.reader(), id).await? else {
            return Ok(Outcome::Overtaken { detail: "the router is gone".into() });
        };
        match operation.kind.as_str() {
            "router.restart" => self.router_restarted(row).await,
            _ => self.router_replaced(operation, row).await,
        }
    }

    /// Has an account's router in a zone do what it should by now. The operation says then which generation is in force.
    async fn router_apply(&self, operation: &operation::Model) -> Result<Outcome, AppError> {
        let Some((account, zone)) = applied(operation) else { return Err(AppError::NotFound("router")) };
        let (mut worst, mut in_force) = (Outcome::Done, Vec::new());
        let rows = router::of_account(self.db.reader(), account).await?;
        for row in rows.into_iter().filter(|row| zone.is_none_or(|zone| row.zone_id.0 == zone)) {
            let Some(vm) = find::<vm::Entity>(self.db.reader(), row.vm_id).await? else { continue };
            let outcome = match vm.state.0 {
                VmState::Running | VmState::Migrating | VmState::Paused => {
                    let told = match self.told(&row, &vm).await? {
                        None => self.waited_for(&row, &vm).await?,
                        told => told,
                    };
                    in_force.extend(self.here.routers.get(vm.id.0).and_then(|known| known.heard().in_force));
                    told
                }
                _ if row.next_vm_id.is_some() => Some(still_at_it("another VM is taking the router's place")),
                // It is told all at its start.
                VmState::Stopped | VmState::Failed | VmState::Deleted | VmState::Deleting => None,
                VmState::Stopping if !self.is_being_changed(self.db.reader(), &row).await? => None,
                VmState::Starting | VmState::Stopping => Some(still_at_it("the router is being started")),
            };
            if let Some(outcome) = outcome
                && (worst == Outcome::Done || matches!(outcome, Outcome::Failed { .. }))
            {
                worst = outcome;
            }
        }
        match in_force[..] {
            [generation] if worst == Outcome::Done => {
                let tx = self.db.begin().await?;
                tx.operation_in_force(operation, generation)?;
                tx.commit().await?;
                Ok(Outcome::Ended)
            }
            _ => Ok(worst),
        }
    }

    /// What keeps rules from being in force on a router that was told all that it can do now.
    async fn waited_for(&self, row: &router::Model, vm: &vm::Model) -> Result<Option<Outcome>, AppError> {
        if self.awaits_l7(row).await? {
            return Ok(Some(still_at_it("a router that balances HTTP is taking its place")));
        }
        // It is told nothing of a network before it is in there. One that it gets for a VM has no rules in force before either,
        // and that VM waits for it.
        let nics = vm::nics(self.db.reader(), &[vm.id]).await?;
        let comes = nics.iter().any(|nic| nic.attachment.0 == Attachment::Attaching);
        let comes = comes && self.is_being_changed(self.db.reader(), row).await?;
        Ok(comes.then(|| still_at_it("the router is being plugged into its networks")))
    }

    /// Has a router's VM do what it should. Something if it does not yet.
    pub(super) async fn told(
        &self,
        row: &router::Model,
        vm: &vm::Model,
    ) -> Result<Option<Outcome>, AppError> {
        match self.tell_router(row, vm.id.0).await {
            Ok(()) => Ok(None),
            Err(TellError::Later(detail)) => Ok(Some(Outcome::Again {
                code: "router_unreachable".into(),
                detail: format!("the router: {detail}"),
                // Whoever looks after routers tells it once it answers.
                after: None,
            })),
            Err(TellError::Refused(detail)) => {
                Ok(Some(Outcome::failed("router_refused", format!("the router: {detail}"))))
            }
            Err(TellError::App(error)) => Err(error),
        }
    }

    /// What a router's VM still has to do once its host runs it: it answers, and has been told all. Something if that is not
    /// so yet.
    pub(super) async fn router_is_up(&self, vm: &vm::Model) -> Result<Option<Outcome>, AppError> {
        let Some(row) = router::of_vm(self.db.reader(), vm.id.0).await? else { return Ok(None) };
        self.appliance_found(vm).await?;
        let silent = self.here.routers.of(&row, vm.id.0).heard().silent();
        if let Err(error) = self.ask_router(&row, vm.id.0, patience(silent)).await {
            tracing::debug!(%error, vm = %vm.id, "a router does not answer yet");
            return Ok(Some(still_at_it("it boots")));
        }
        // The one that is to take its place has nothing to do until then.
        if row.vm_id != vm.id {
            return Ok(None);
        }
        self.told(&row, vm).await
    }

    /// Whether the router serves a VM in these networks. Something if not yet.
    pub(super) async fn served(
        &self,
        vm: &vm::Model,
        networks: &[NetworkId],
    ) -> Result<Option<Outcome>, AppError> {
        let db = self.db.reader();
        let Some(row) = router::of(db, vm.account_id.0, vm.zone_id.0).await? else { return Ok(None) };
        let Some(itself) = find::<vm::Entity>(db, row.vm_id).await? else { return Ok(None) };
        if itself.state.0 == VmState::Failed && !self.is_being_changed(db, &row).await? {
            let why = itself.error.unwrap_or_default();
            return Ok(Some(Outcome::failed("router_failed", format!("the router of its network: {why}"))));
        }
        if !matches!(itself.state.0, VmState::Running | VmState::Migrating) {
            return Ok(Some(still_at_it("the router of its network is being started")));
        }
        let of_router = vm::nics(db, &[itself.id]).await?;
        let is_in = |network: &NetworkId| {
            let is_there = |nic: &vm::nic::Model| nic.attachment.0 == Attachment::Attached;
            of_router.iter().any(|nic| nic.network_id.0 == *network && is_there(nic))
        };
        if !networks.iter().all(is_in) {
            return Ok(Some(still_at_it("the router is being plugged into its network")));
        }
        self.told(&row, &itself).await
    }

    /// How long the start of a VM, asked for at a time in milliseconds since 1970, had to wait for its router, in
    /// microseconds.
    pub(super) async fn waited_for_router(&self, vm: &vm::Model, asked_at: i64) -> Result<u64, AppError> {
        let db = self.db.reader();
        let Some(row) = router::of(db, vm.account_id.0, vm.zone_id.0).await? else { return Ok(0) };
        let started = find::<vm::Entity>(db, row.vm_id).await?.and_then(|vm| vm.started_at);
        Ok((started.unwrap_or(asked_at) - asked_at).max(0) as u64 * 1000)
    }

    async fn router_restarted(&self, row: router::Model) -> Result<Outcome, AppError> {
        let tx = self.db.begin().await?;
        let found = find::<vm::Entity>(tx.reader(), row.vm_id).await?;
        let mut vm = found.ok_or(AppError::NotFound("vm"))?;
        match vm.state.0 {
            VmState::Stopped | VmState::Failed if vm.desired.0 == Desired::Stopped => {
                self.router_starts(&tx, &mut vm).await?;
                tx.commit().await?;
                self.wake.notify_one();
                Ok(still_at_it("it is being started"))
            }
            VmState::Running => Ok(Outcome::Done),
            _ if vm.desired.0 == Desired::Deleted => {
                Ok(Outcome::Overtaken { detail: "the router is being removed".into() })
            }
            // Nobody can say when it ends. Without this operation another one takes its place.
            _ if self.is_away(tx.reader(), &vm).await? => {
                Ok(Outcome::failed("host_away", "the host of the router's VM does not report"))
            }
            _ => Ok(still_at_it("it is being stopped and started")),
        }
    }

    /// Has a router's VM that is stopped start again.
    pub(crate) async fn router_starts(&self, tx: &Tx, vm: &mut vm::Model) -> Result<(), AppError> {
        vm.host_id = Some(self.place_again(tx.reader(), vm).await?.into());
        self.set_to_start(tx, vm).await?;
        tx.vm_update(vm.clone()).await?;
        start(tx, self.vm_operation("vm.start", vm)).await.map(drop)
    }

    async fn router_replaced(
        &self,
        operation: &operation::Model,
        row: router::Model,
    ) -> Result<Outcome, AppError> {
        let db = self.db.reader();
        let Some(next) = row.next_vm_id else {
            // It has taken the place already.
            let found = find::<vm::Entity>(db, row.vm_id).await?;
            let vm = found.ok_or(AppError::NotFound("vm"))?;
            if vm.state.0 != VmState::Running || self.has_some_on_their_way(db, &vm).await? {
                return Ok(still_at_it("it is being plugged into the networks"));
            }
            return Ok(self.told(&row, &vm).await?.unwrap_or(Outcome::Done));
        };
        let found = find::<vm::Entity>(db, next).await?;
        let next = found.ok_or(AppError::NotFound("vm"))?;
        match next.state.0 {
            VmState::Running => {}
            VmState::Starting => return Ok(still_at_it("the VM that is to take its place is being started")),
            _ => {
                let why = next.error.unwrap_or_else(|| "it does not run".into());
                return Ok(Outcome::failed("replacement_failed", format!("the VM to take its place: {why}")));
            }
        }
        let found = find::<vm::Entity>(db, row.vm_id).await?;
        let old = found.ok_or(AppError::NotFound("vm"))?;
        if old.host_id.is_some() && old.desired.0 == Desired::Running {
            self.progress(operation, "ending the one before").await?;
            return self.old_one_ends(old).await;
        }
        if old.host_id.is_some() && !self.is_away(db, &old).await? {
            return Ok(still_at_it("the one before is being ended"));
        }
        self.takes_place(row, old, next).await?;
        Ok(still_at_it("it is being plugged into the networks"))
    }

    async fn old_one_ends(&self, old: vm::Model) -> Result<Outcome, AppError> {
        let tx = self.db.begin().await?;
        if let Some(mut old) = find::<vm::Entity>(tx.reader(), old.id).await?
            && old.desired.0 == Desired::Running
        {
            self.router_stops(&tx, &mut old).await?;
            tx.commit().await?;
            self.wake.notify_one();
        }
        Ok(still_at_it("the one before is being ended"))
    }

    /// Has a router's VM end, at once.
    pub(crate) async fn router_stops(&self, tx: &Tx, vm: &mut vm::Model) -> Result<(), AppError> {
        vm.desired = JsonCol(Desired::Stopped);
        vm.grace_secs = 0;
        vm.paused = false;
        if vm.host_id.is_some() {
            vm.state = JsonCol(VmState::Stopping);
            vm.generation += 1;
        }
        tx.vm_update(vm.clone()).await?;
        start(tx, self.vm_operation("vm.stop", vm)).await.map(drop)
    }

    /// Gives a router's interfaces to the VM that takes its place. A VM before it whose host is away is ended whenever that
    /// comes back.
    async fn takes_place(&self, row: router::Model, old: vm::Model, next: vm::Model) -> Result<(), AppError> {
        let tx = self.db.begin().await?;
        let Some(mut row) = find::<router::Entity>(tx.reader(), row.id).await? else { return Ok(()) };
        if row.next_vm_id != Some(next.id) {
            return Ok(());
        }
        let old = find::<vm::Entity>(tx.reader(), old.id).await?;
        let next = find::<vm::Entity>(tx.reader(), next.id).await?;
        let (Some(mut old), Some(next)) = (old, next) else { return Ok(()) };
        let may_run = old.host_id.is_some() && !self.is_away(tx.reader(), &old).await?;
        if may_run || next.state.0 != VmState::Running {
            // Not any more what it was a moment ago.
            return Ok(());
        }
        self.router_take_over(&tx, &old, &next).await?;
        (row.vm_id, row.next_vm_id, row.error) = (next.id, None, None);
        tx.router_update(row.clone()).await?;
        crate::vm::expunge(&mut old);
        tx.vm_update(old.clone()).await?;
        start(&tx, self.vm_operation("vm.delete", &old)).await?;
        let operation = self.vm_changes(&tx, next).await?;
        // It must get done.
        tx.operation_update(operation::Model { deadline_at: None, ..operation }).await?;
        self.router_event(&tx, &row, "router.replaced", "another VM has taken its place").await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(())
    }

    async fn has_some_on_their_way(&self, db: &impl Reader, vm: &vm::Model) -> Result<bool, AppError> {
        let nics = vm::nics(db, &[vm.id]).await?;
        Ok(nics.iter().any(|nic| nic.attachment.0 != Attachment::Attached))
    }

    /// Whether the host of a VM does not report.
    pub(crate) async fn is_away(&self, db: &impl Reader, vm: &vm::Model) -> Result<bool, AppError> {
        let Some(host) = vm.host_id else { return Ok(true) };
        let found = server::host(db, host.0).await?;
        let since = now().0 - self.settings.silent_after.as_millis() as i64;
        Ok(found.is_none_or(|row| match row.state.0 {
            ServerState::Disconnected | ServerState::Removed => true,
            // One that is silent in maintenance is in maintenance still.
            ServerState::Maintenance => {
                self.here.could_hear(self.settings.silent_after)
                    && self.heard.latest(row).reported_at.is_none_or(|at| at < since)
            }
            _ => false,
        }))
    }

    /// A VM that was to take a router's place and did not goes; the one before goes on, or starts again.
    pub(super) async fn router_gave_up(
        &self,
        tx: &Tx,
        operation: &operation::Model,
        detail: &str,
    ) -> Result<(), AppError> {
        let Ok(id) = operation.subject.parse::<RouterId>() else { return Ok(()) };
        let Some(mut row) = find::<router::Entity>(tx.reader(), id).await? else { return Ok(()) };
        if operation.kind == "router.replace" && !has_been_replaced(tx.reader(), &row, operation).await? {
            row.error = Some(detail.to_owned());
        }
        if let Some(next) = row.next_vm_id.take()
            && let Some(mut next) = find::<vm::Entity>(tx.reader(), next).await?
        {
            crate::vm::expunge(&mut next);
            tx.vm_update(next.clone()).await?;
            start(tx, self.vm_operation("vm.delete", &next)).await?;
        }
        tx.router_update(row.clone()).await?;
        if let Some(mut vm) = find::<vm::Entity>(tx.reader(), row.vm_id).await?
            && vm.desired.0 == Desired::Stopped
            && vm.host_id.is_none()
        {
            // Where no host fits, the next VM that needs it has it started.
            match self.router_starts(tx, &mut vm).await {
                Ok(()) | Err(AppError::Exhausted { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.wake.notify_one();
        Ok(())
    }

    pub(super) async fn router_retried(
        &self,
        tx: &Tx,
        operation: &operation::Model,
    ) -> Result<NewOperation, AppError> {
        let gone = || AppError::Conflict { code: "goal_gone", detail: "the router is gone".into() };
        if operation.kind == "router.apply" {
            let (account, zone) = applied(operation).ok_or_else(gone)?;
            return Ok(crate::router::apply_operation(account, zone.ok_or_else(gone)?));
        }
        let id: RouterId = operation.subject.parse().map_err(|_| gone())?;
        let row = find::<router::Entity>(tx.reader(), id).await?.ok_or_else(gone)?;
        match operation.kind.as_str() {
            "router.restart" => self.router_to_restart(tx, &row).await,
            _ => self.router_to_replace(tx, row).await,
        }
    }
}

/// Whose routers an operation tells, and in which zone: those of older versions did so in all.
fn applied(operation: &operation::Model) -> Option<(AccountId, Option<ZoneId>)> {
    match operation.subject.split_once('/') {
        Some((account, zone)) => Some((account.parse().ok()?, Some(zone.parse().ok()?))),
        None => Some((operation.subject.parse().ok()?, None)),
    }
}

/// Whether another VM has taken a router's place since an operation began. What is left of that then is no failure of the router's.
async fn has_been_replaced(
    db: &impl Reader,
    row: &router::Model,
    operation: &operation::Model,
) -> Result<bool, AppError> {
    let vm = find::<vm::Entity>(db, row.vm_id).await?;
    Ok(row.next_vm_id.is_none() && vm.is_some_and(|vm| vm.created_at >= operation.created_at))
}
