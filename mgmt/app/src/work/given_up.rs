//! Operations on VMs that are given up, and those that are tried again.
//!
//! What was asked for by other operations that are open goes on: only what nobody wants any more gets another goal.

use std::time::Duration;

use podzol_mgmt_api::operation::OperationState;
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{JsonCol, Tx, find, now, operation, vm};
use podzol_vocab::VmId;

use super::devices;
use super::vm::{runs, wanted};
use crate::operation::{NewOperation, start};
use crate::{App, AppError};

impl App {
    /// A start that failed gives the VM the goal "stopped", unless another one goes on. A VM that ran when it was to be started or
    /// rebooted runs on, and is not rebooted long after.
    pub(super) async fn vm_gave_up(
        &self,
        tx: &Tx,
        operation: &operation::Model,
        detail: &str,
    ) -> Result<(), AppError> {
        let id: VmId = operation.subject.parse().map_err(|_| AppError::NotFound("vm"))?;
        let Some(mut row) = find::<vm::Entity>(tx.reader(), id).await? else { return Ok(()) };
        if row.desired.0 != Desired::Running {
            return Ok(());
        }
        let is_current = operation.goal == Some(row.generation);
        if operation.kind == "vm.reboot" && operation.goal == Some(row.reboots) {
            row.reboots = self.other_reboot(tx, operation).await?;
            if !is_current {
                return renewed(tx, row).await;
            }
        }
        if !is_current {
            // A later request has given it another goal already.
            return Ok(());
        }
        let state = row.state.0;
        match state {
            VmState::Migrating => {
                // Where it is by now is found out by the next operation.
                row.state = JsonCol(runs(&row));
                row.error = Some(detail.to_owned());
                row.generation += 1;
                tx.vm_update(row.clone()).await?;
                start(tx, NewOperation { deadline: None, ..self.vm_operation("vm.change", &row) }).await?;
                self.wake.notify_one();
            }
            VmState::Starting if self.starts_without(tx, operation, &mut row, detail).await? => {}
            VmState::Starting => {
                row.desired = JsonCol(Desired::Stopped);
                row.state = JsonCol(VmState::Stopping);
                row.generation += 1;
                row.grace_secs = 0;
                row.error = Some(detail.to_owned());
                tx.vm_update(row.clone()).await?;
                start(tx, self.vm_operation("vm.stop", &row)).await?;
                self.wake.notify_one();
            }
            VmState::Running | VmState::Paused
                if self.changes_back(tx, operation, &mut row, detail).await? =>
            {
                row.generation += 1;
                tx.vm_update(row.clone()).await?;
                start(tx, NewOperation { deadline: None, ..self.vm_operation("vm.change", &row) }).await?;
                self.wake.notify_one();
            }
            VmState::Running if operation.kind == "vm.reboot" => renewed(tx, row).await?,
            _ => {}
        }
        Ok(())
    }

    /// The reboot that a VM is still to have when one is given up: another that was asked for, or none.
    async fn other_reboot(&self, tx: &Tx, operation: &operation::Model) -> Result<i64, AppError> {
        let open = operation::open_of(tx.reader(), &operation.subject).await?;
        let others = open.iter().filter(|other| other.id != operation.id && other.kind == "vm.reboot");
        Ok(others.filter_map(|other| other.goal).max().unwrap_or(0))
    }

    /// Everything that is on its way to a VM, or from it, goes the other way as an operation is given up. Nobody knows which of
    /// them another change was for: those end too. Says whether there was anything.
    async fn changes_back(
        &self,
        tx: &Tx,
        operation: &operation::Model,
        row: &mut vm::Model,
        detail: &str,
    ) -> Result<bool, AppError> {
        let open = operation::open_of(tx.reader(), &operation.subject).await?;
        let others = open.into_iter().filter(|other| other.id != operation.id && other.kind == "vm.change");
        let others: Vec<operation::Model> = others.collect();
        if operation.kind != "vm.change" && !others.is_empty() {
            return Ok(false);
        }
        if !devices::turned_back(tx, row, detail).await? {
            return Ok(false);
        }
        for mut other in others {
            (other.lease_owner, other.lease_until) = (None, None);
            (other.state, other.finished_at) = (JsonCol(OperationState::Cancelled), Some(now().0));
            other.error_code = Some("undone".into());
            other.error_detail = Some("it was undone with another change that was given up".into());
            tx.operation_update(other).await?;
        }
        Ok(true)
    }

    /// A VM is started although an operation is given up that would have done so: another one that starts it goes on, and a
    /// change that nobody wants any more leaves it as it was to be. Says whether it is.
    async fn starts_without(
        &self,
        tx: &Tx,
        operation: &operation::Model,
        row: &mut vm::Model,
        detail: &str,
    ) -> Result<bool, AppError> {
        let is_change = operation.kind == "vm.change";
        if is_change {
            self.changes_back(tx, operation, row, detail).await?;
        }
        let open = operation::open_of(tx.reader(), &operation.subject).await?;
        let open = open.into_iter().find(|other| other.id != operation.id && other.kind == "vm.start");
        let last = operation::last_of_kind(tx.reader(), &operation.subject, "vm.start").await?;
        // The change had come between. One that was given up itself does not come back.
        let overtaken = last.filter(|last| is_change && last.error_code.as_deref() == Some("overtaken"));
        if open.is_none() && overtaken.is_none() {
            return Ok(false);
        }
        if is_change {
            row.generation += 1;
            tx.vm_update(row.clone()).await?;
        }
        if let Some(open) = open {
            // Whether it fails is what counts from now on.
            tx.operation_update(operation::Model { goal: Some(row.generation), ..open }).await?;
        } else if let Some(overtaken) = overtaken {
            let left = |at: i64| Duration::from_millis((at - now().0).max(0) as u64);
            let deadline = overtaken.deadline_at.map(left);
            start(tx, NewOperation { deadline, ..self.vm_operation("vm.start", row) }).await?;
        }
        self.wake.notify_one();
        Ok(true)
    }

    pub(super) async fn vm_retried(
        &self,
        tx: &Tx,
        operation: &operation::Model,
    ) -> Result<NewOperation, AppError> {
        let id: VmId = operation.subject.parse().map_err(|_| AppError::NotFound("vm"))?;
        let Some(mut row) = find::<vm::Entity>(tx.reader(), id).await? else {
            return Err(AppError::Conflict { code: "goal_gone", detail: "the VM is gone".into() });
        };
        if wanted(&operation.kind) != Some(Desired::Running) || row.state.0 != VmState::Failed {
            let detail = "the VM has another goal by now; ask for what it should be".into();
            return Err(AppError::Conflict { code: "goal_gone", detail });
        }
        crate::vm::must_stay(&row)?;
        self.router_for_vm(tx, &row).await?;
        if row.host_id.is_none() {
            row.host_id = Some(self.place_again(tx.reader(), &row).await?.into());
        }
        self.set_to_start(tx, &mut row).await?;
        tx.vm_update(row.clone()).await?;
        Ok(self.vm_operation("vm.start", &row))
    }
}

/// Writes what a VM should be with a new generation, which is then the goal of whoever has had the one before.
async fn renewed(tx: &Tx, mut row: vm::Model) -> Result<(), AppError> {
    let before = row.generation;
    row.generation += 1;
    for other in operation::open_of(tx.reader(), &row.id.to_string()).await? {
        if other.goal == Some(before) {
            tx.operation_update(operation::Model { goal: Some(row.generation), ..other }).await?;
        }
    }
    Ok(tx.vm_update(row).await?)
}
