//! Emptying a host that is in maintenance.
//!
//! The VMs on it set out for other hosts, a few at a time, each as if an operator had said so. One that fits nowhere else
//! is told of, and tried again: another VM may make room. What is on its way when the operation is cancelled gets there.

use std::time::Duration;

use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_api::operation::OperationState;
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{Tx, now, operation, server, vm};
use podzol_mgmt_operations::Outcome;
use podzol_vocab::HostId;

use crate::operation::{NewOperation, start};
use crate::server::drain_operation;
use crate::{App, AppError};

/// How many VMs leave a host at a time: each takes its share of one network.
const AT_ONCE: usize = 2;

/// How often to look.
const LOOK: Duration = Duration::from_secs(1);

/// How soon a VM that did not get away sets out again, in milliseconds.
const SET_OUT_AGAIN: i64 = 60_000;

impl App {
    pub(super) async fn host_attempt(&self, operation: &operation::Model) -> Result<Outcome, AppError> {
        let host: HostId = operation.subject.parse().map_err(|_| AppError::NotFound("host"))?;
        let row = server::host(self.db.reader(), host).await?;
        if !row.is_some_and(|row| row.state.0 == ServerState::Maintenance) {
            return Ok(Outcome::Overtaken { detail: "the host is not in maintenance any more".into() });
        }
        let here = vm::of_host(self.db.reader(), host).await?;
        let left: Vec<vm::Model> =
            here.into_iter().filter(|row| row.host_id.is_some_and(|at| at.0 == host)).collect();
        if left.is_empty() {
            self.progress(operation, "no VM is left").await?;
            return Ok(Outcome::Done);
        }
        let mut moving = left.iter().filter(|row| row.state.0 == VmState::Migrating).count();
        let mut stuck = None;
        for row in &left {
            if moving >= AT_ONCE {
                break;
            }
            match self.set_out_if_it_can(row).await {
                Ok(true) => moving += 1,
                Ok(false) => {}
                Err(AppError::Exhausted { detail, reasons, .. }) => {
                    stuck = Some(format!("{}: {detail}: {}", row.name.0, reasons.join("; ")));
                }
                Err(AppError::Conflict { detail, .. }) => stuck = Some(format!("{}: {detail}", row.name.0)),
                Err(error) => return Err(error),
            }
        }
        let of = operation.goal.unwrap_or_default().max(left.len() as i64);
        let gone = of - left.len() as i64;
        let step = format!("{gone} of {of} VMs have left, {moving} are on their way");
        self.progress(operation, step.clone()).await?;
        let (code, detail) = match stuck {
            Some(stuck) if moving == 0 => ("blocked", stuck),
            _ => ("in_progress", step),
        };
        Ok(Outcome::Again { code: code.into(), detail, after: Some(LOOK) })
    }

    /// Has a VM set out for another host, unless something else is being done with it or it failed to get away just now.
    async fn set_out_if_it_can(&self, row: &vm::Model) -> Result<bool, AppError> {
        let tx = self.db.begin().await?;
        let Some(mut row) = podzol_mgmt_db::find::<vm::Entity>(tx.reader(), row.id).await? else {
            return Ok(false);
        };
        let runs = matches!(row.state.0, VmState::Running | VmState::Paused);
        let subject = row.id.to_string();
        if !runs
            || row.desired.0 != Desired::Running
            || row.moving_to.is_some()
            || !operation::open_of(tx.reader(), &subject).await?.is_empty()
            || failed_to_leave(&tx, &subject).await?
        {
            return Ok(false);
        }
        self.set_out(&tx, &mut row, None).await?;
        tx.vm_update(row.clone()).await?;
        start(&tx, self.vm_operation("vm.migrate", &row)).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(true)
    }

    pub(super) async fn host_retried(
        &self,
        tx: &Tx,
        operation: &operation::Model,
    ) -> Result<NewOperation, AppError> {
        let host: HostId = operation.subject.parse().map_err(|_| AppError::NotFound("host"))?;
        let row = server::host(tx.reader(), host).await?;
        if !row.is_some_and(|row| row.state.0 == ServerState::Maintenance) {
            let detail = "the host is not in maintenance any more".into();
            return Err(AppError::Conflict { code: "goal_gone", detail });
        }
        Ok(drain_operation(host, vm::of_host(tx.reader(), host).await?.len()))
    }
}

async fn failed_to_leave(tx: &Tx, subject: &str) -> Result<bool, AppError> {
    let last = operation::last_of_kind(tx.reader(), subject, "vm.migrate").await?;
    let failed = last.filter(|last| last.state.0 == OperationState::Failed);
    Ok(failed.and_then(|last| last.finished_at).is_some_and(|at| at > now().0 - SET_OUT_AGAIN))
}
