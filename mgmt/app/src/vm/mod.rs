//! VMs, as customers see them.

mod create;
mod iso;
mod nic;

use podzol_agent_api::vm::VmConsoleLog;
use podzol_mgmt_api::capacity::Placement;
use podzol_mgmt_api::limits::InUse;
use podzol_mgmt_api::vm::{
    ConsoleLog, ConsoleLogQuery, Vm, VmDelete, VmFilter, VmMigrate, VmResize, VmState, VmStop,
};
use podzol_mgmt_api::{Created, Page, PageQuery};
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{JsonCol, Reader, Tx, account, find, now, offering, traffic, vm, volume};
use podzol_rpc::PeerId;
use podzol_vocab::{AccountId, ByteSize, HostId, VmId};

use crate::operation::NewOperation;
use crate::{Actor, App, AppError, capacity, limits, operation, quota, view};

pub(crate) use iso::out_of_drive;

/// The most disks of a VM, as its host takes them.
pub(crate) const MAX_DISKS: usize = 24;

/// How long a VM may take to move to another host. One of a TiB on a busy link of 10 Gbit/s takes an hour or two.
const MOVE: std::time::Duration = std::time::Duration::from_secs(6 * 3600);

impl App {
    /// Where a VM would go if it were started or moved now.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn vm_explain(&self, actor: &Actor, id: VmId) -> Result<Placement, AppError> {
        let db = self.db.reader();
        let row = self.vm_row(db, actor, id).await?;
        let choice = match row.host_id {
            Some(_) => self.choice_elsewhere(db, &row, None).await?,
            None => self.choice_again(db, &row).await?,
        };
        Ok(capacity::explain(&choice, None, actor))
    }

    /// The VMs that the caller may see.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn vm_list(
        &self,
        actor: &Actor,
        filter: &VmFilter,
        query: &PageQuery,
    ) -> Result<Page<Vm>, AppError> {
        let page = view::page_of(query)?;
        if filter.host.is_some() {
            actor.must_be_admin()?;
        }
        let filter = vm::Filter {
            account: actor.scope(filter.account),
            state: filter.state,
            host: filter.host,
            network: filter.network,
        };
        let rows = vm::list(self.db.reader(), &filter, &page).await?;
        let items = view::vms(self.db.reader(), rows, actor).await?;
        Ok(view::page(&page, items, |vm| vm.id.to_string()))
    }

    /// A VM.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn vm_show(&self, actor: &Actor, id: VmId) -> Result<Vm, AppError> {
        let row = self.vm_row(self.db.reader(), actor, id).await?;
        let shown = view::vms(self.db.reader(), vec![row], actor).await?.pop();
        let mut shown = shown.ok_or(AppError::NotFound("vm"))?;
        let subjects: Vec<String> = shown.nics.iter().map(|nic| nic.id.to_string()).collect();
        for row in traffic::of_subjects(self.db.reader(), &subjects).await? {
            let nic = shown.nics.iter_mut().find(|nic| nic.id.to_string() == row.subject);
            nic.into_iter().for_each(|nic| nic.traffic = Some(row.total.0));
        }
        Ok(shown)
    }

    /// Starts a VM; success if it runs already.
    ///
    /// # Errors
    /// When it is being deleted, or no host fits.
    pub async fn vm_start(&self, actor: &Actor, id: VmId) -> Result<Created<Vm>, AppError> {
        self.vm_change(actor, id, "vm.start", async |tx, row| {
            if row.desired.0 == Desired::Running {
                return Ok(());
            }
            self.router_for_vm(tx, row).await?;
            if row.host_id.is_none() {
                row.host_id = Some(self.place_again(tx.reader(), row).await?.into());
            }
            self.set_to_start(tx, row).await
        })
        .await
    }

    /// Has a VM that has a host start on it.
    pub(crate) async fn set_to_start(&self, tx: &Tx, row: &mut vm::Model) -> Result<(), AppError> {
        limits::renew(tx.reader(), row).await?;
        self.renew_identity(tx, row).await?;
        row.desired = JsonCol(Desired::Running);
        row.state = JsonCol(VmState::Starting);
        row.generation += 1;
        row.error = None;
        Ok(())
    }

    /// Gives a stopped VM another offering. Its root volume grows to the offering's disk, if that is larger.
    ///
    /// # Errors
    /// When it is not stopped, its account may not have that much, or its pool has no room.
    pub async fn vm_resize(&self, actor: &Actor, id: VmId, body: VmResize) -> Result<Created<Vm>, AppError> {
        self.vm_change(actor, id, "vm.resize", async |tx, row| {
            if row.host_id.is_some() || row.desired.0 != Desired::Stopped {
                let detail = "the VM must be stopped first".into();
                return Err(AppError::Conflict { code: "vm_not_stopped", detail });
            }
            let offering = find::<offering::Entity>(tx.reader(), body.offering).await?;
            let offering =
                offering.ok_or_else(|| AppError::invalid("offering", "there is no such offering"))?;
            let (before, after) = (row.size.0.clone(), offering.size.0.clone());
            let wanted = InUse {
                vcpus: after.vcpus.saturating_sub(before.vcpus).into(),
                memory_mib: after.memory_mib.saturating_sub(before.memory_mib),
                ..InUse::default()
            };
            quota::check(tx.reader(), &owner_of(tx.reader(), row.account_id.0).await?, wanted).await?;
            let disk = ByteSize::from_gib(after.disk_gib);
            let volumes = volume::of_vms(tx.reader(), &[row.id]).await?;
            if let Some(root) =
                volumes.into_iter().find(|volume| volume.is_root() && volume.size_bytes < disk.0 as i64)
            {
                self.volume_grow(tx, root, disk).await?;
            }
            (row.vcpus, row.memory_mib) = (after.vcpus.into(), after.memory_mib as i64);
            row.offering_id = offering.id;
            row.size = after.into();
            limits::renew(tx.reader(), row).await?;
            row.generation += 1;
            Ok(())
        })
        .await
    }

    /// Stops a VM; success if it is stopped already.
    ///
    /// # Errors
    /// When it is being deleted, or the grace is out of its range.
    pub async fn vm_stop(&self, actor: &Actor, id: VmId, body: VmStop) -> Result<Created<Vm>, AppError> {
        let grace_secs = body.grace_secs.unwrap_or(60);
        if grace_secs > 3600 {
            return Err(AppError::invalid("grace_secs", "must be 0 to 3600"));
        }
        self.vm_change(actor, id, "vm.stop", async |_, row| {
            row.grace_secs = grace_secs as i64;
            if row.host_id.is_some() {
                row.generation += 1;
                row.state = JsonCol(VmState::Stopping);
            }
            row.desired = JsonCol(Desired::Stopped);
            row.paused = false;
            Ok(())
        })
        .await
    }

    /// Has a running VM stand still; success if it does already.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn vm_pause(&self, actor: &Actor, id: VmId) -> Result<Created<Vm>, AppError> {
        self.vm_change(actor, id, "vm.pause", async |_, row| stand_still(row, true)).await
    }

    /// Has a paused VM run on; success if it does already.
    ///
    /// # Errors
    /// When it neither runs nor is paused.
    pub async fn vm_resume(&self, actor: &Actor, id: VmId) -> Result<Created<Vm>, AppError> {
        self.vm_change(actor, id, "vm.resume", async |_, row| stand_still(row, false)).await
    }

    /// Moves a running VM to another host of its zone.
    ///
    /// # Errors
    /// When the caller is no admin, the VM does not run, or no other host fits, or the one that was named does not.
    pub async fn vm_migrate(
        &self,
        actor: &Actor,
        id: VmId,
        body: VmMigrate,
    ) -> Result<Created<Vm>, AppError> {
        actor.must_be_admin()?;
        let seen = self.vm_row(self.db.reader(), actor, id).await?;
        if let Some(host) = body.host {
            let found = podzol_mgmt_db::server::host(self.db.reader(), host).await?;
            found
                .filter(|host| host.zone_id == seen.zone_id)
                .ok_or_else(|| AppError::invalid("host", "there is no such host in the VM's zone"))?;
        }
        self.vm_change(actor, id, "vm.migrate", async |tx, row| self.set_out(tx, row, body.host).await).await
    }

    /// Has a VM set out for another host: that one, or one that fits.
    pub(crate) async fn set_out(
        &self,
        tx: &Tx,
        row: &mut vm::Model,
        to: Option<HostId>,
    ) -> Result<(), AppError> {
        must_run(row)?;
        if row.moving_to.is_some() {
            // What was made there goes only as long as it is known where.
            let detail = "another host still has something of a move that failed; try again".into();
            return Err(AppError::Conflict { code: "vm_migrating", detail });
        }
        let to = self.place_elsewhere(tx.reader(), row, to).await?;
        row.moving_to = Some(to.into());
        row.state = JsonCol(VmState::Migrating);
        row.generation += 1;
        row.error = None;
        Ok(())
    }

    /// Reboots a running VM.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn vm_reboot(&self, actor: &Actor, id: VmId) -> Result<Created<Vm>, AppError> {
        self.vm_change(actor, id, "vm.reboot", async |_, row| {
            must_run(row)?;
            must_hear(row)?;
            row.generation += 1;
            row.reboots = row.generation;
            Ok(())
        })
        .await
    }

    /// Deletes a VM, by force if it runs. It can be recovered for a while; then, or at once if that is asked for, it goes
    /// for good with its root volume. Its data volumes stay.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn vm_delete(&self, actor: &Actor, id: VmId, how: &VmDelete) -> Result<Created<Vm>, AppError> {
        let keep = self.settings.expunge_after;
        let for_good = how.expunge.unwrap_or(false) || keep.is_zero();
        self.vm_change(actor, id, "vm.delete", async |tx, row| {
            self.console_sessions_revoked(tx, row).await?;
            row.grace_secs = 0;
            if for_good {
                expunge(row);
            } else if row.desired.0 != Desired::Deleted && row.expunge_at.is_none() {
                row.expunge_at = Some(now().0 + keep.as_millis() as i64);
                row.state = JsonCol(if row.host_id.is_some() { VmState::Stopping } else { VmState::Deleted });
                row.desired = JsonCol(Desired::Stopped);
                (row.paused, row.error) = (false, None);
                row.generation += 1;
            }
            Ok(())
        })
        .await
    }

    /// Recovers a deleted VM: it is stopped then, with all that it had.
    ///
    /// # Errors
    /// When it was not deleted, or has gone for good.
    pub async fn vm_recover(&self, actor: &Actor, id: VmId) -> Result<Created<Vm>, AppError> {
        self.vm_change(actor, id, "vm.recover", async |_, row| {
            if row.desired.0 == Desired::Deleted || row.expunge_at.take().is_none() {
                let detail = "the VM is not one that was deleted and can be recovered".into();
                return Err(AppError::Conflict { code: "vm_not_deleted", detail });
            }
            if row.state.0 == VmState::Deleted {
                row.state = JsonCol(VmState::Stopped);
            }
            row.generation += 1;
            Ok(())
        })
        .await
    }

    /// The end of what a VM wrote to its serial port since its last start.
    ///
    /// # Errors
    /// When it has no host, or its host does not answer.
    pub async fn vm_console_log(
        &self,
        actor: &Actor,
        id: VmId,
        query: &ConsoleLogQuery,
    ) -> Result<ConsoleLog, AppError> {
        let bytes = query.bytes.unwrap_or(65_536);
        if !(1..=1_048_576).contains(&bytes) {
            return Err(AppError::invalid("bytes", "must be 1 to 1048576"));
        }
        let row = self.vm_row(self.db.reader(), actor, id).await?;
        let Some(host) = row.host_id else {
            return Err(AppError::Conflict { code: "vm_not_running", detail: "the VM does not run".into() });
        };
        let deadline = std::time::Duration::from_secs(20);
        let log = self.peers.call::<VmConsoleLog>(PeerId::Host(host.0), &(id, bytes), &(), deadline).await;
        log.map(|log| ConsoleLog { text: log.text }).map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, vm = %id, "cannot get a console log");
            AppError::Unavailable("the VM's host does not answer now".into())
        })
    }

    /// Changes what a VM should be, and starts the operation that makes it so.
    async fn vm_change(
        &self,
        actor: &Actor,
        id: VmId,
        kind: &'static str,
        change: impl AsyncFnOnce(&Tx, &mut vm::Model) -> Result<(), AppError>,
    ) -> Result<Created<Vm>, AppError> {
        let tx = self.db.begin().await?;
        let mut row = self.vm_row(tx.reader(), actor, id).await?;
        if !matches!(kind, "vm.delete" | "vm.recover") {
            must_stay(&row)?;
        }
        change(&tx, &mut row).await?;
        tx.vm_update(row.clone()).await?;
        let operation = operation::start(&tx, self.vm_operation(kind, &row)).await?;
        self.record(&tx, actor, kind, Some(row.account_id.0), "vm", id, &row.name.0).await?;
        let answer = created(tx.reader(), row, operation, actor).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(answer)
    }

    /// The operation that makes a VM what it should be. Starting may fail; stopping and deleting must get done.
    pub(crate) fn vm_operation(&self, kind: &'static str, row: &vm::Model) -> NewOperation {
        let deadline = match kind {
            "vm.start" | "vm.reboot" | "vm.change" | "vm.pause" | "vm.resume" => {
                Some(self.settings.start_deadline)
            }
            "vm.migrate" => Some(MOVE),
            _ => None,
        };
        NewOperation {
            kind,
            account: Some(row.account_id.0),
            subject_kind: "vm",
            subject: row.id.to_string(),
            goal: Some(row.generation),
            queue: row.host_id.map(|host| host.to_string()).unwrap_or_default(),
            deadline,
        }
    }

    pub(crate) async fn vm_row(
        &self,
        db: &impl Reader,
        actor: &Actor,
        id: VmId,
    ) -> Result<vm::Model, AppError> {
        let row = find::<vm::Entity>(db, id).await?;
        row.filter(|row| row.role.is_none() && actor.sees(row.account_id.0)).ok_or(AppError::NotFound("vm"))
    }
}

/// Refuses what comes too late for a VM that is being deleted.
pub(crate) fn must_stay(row: &vm::Model) -> Result<(), AppError> {
    match row.desired.0 {
        Desired::Deleted => {
            Err(AppError::Conflict { code: "vm_deleting", detail: "the VM is being deleted".into() })
        }
        _ if row.expunge_at.is_some() => {
            let detail = "the VM was deleted; recover it first".into();
            Err(AppError::Conflict { code: "vm_deleted", detail })
        }
        _ => Ok(()),
    }
}

/// Has a VM go for good.
pub(crate) fn expunge(row: &mut vm::Model) {
    row.desired = JsonCol(Desired::Deleted);
    row.state = JsonCol(VmState::Deleting);
    row.generation += 1;
}

/// The account that something belongs to.
pub(crate) async fn owner_of(db: &impl Reader, id: AccountId) -> Result<account::Model, AppError> {
    find::<account::Entity>(db, id).await?.ok_or(AppError::NotFound("account"))
}

/// Refuses what would change a VM's devices while it moves, and what comes too late.
pub(crate) fn must_take_changes(row: &vm::Model) -> Result<(), AppError> {
    must_stay(row)?;
    if row.state.0 == VmState::Migrating {
        let detail = "the VM is moving to another host; try again when it is there".into();
        return Err(AppError::Conflict { code: "vm_migrating", detail });
    }
    Ok(())
}

/// Refuses what a VM's operating system must do itself while it stands still.
pub(crate) fn must_hear(row: &vm::Model) -> Result<(), AppError> {
    if row.paused && row.host_id.is_some() {
        let detail = "the VM is paused; resume it first".into();
        return Err(AppError::Conflict { code: "vm_paused", detail });
    }
    Ok(())
}

/// Refuses what only a VM that runs or is paused can do, and that is not on its way to another host.
fn must_run(row: &vm::Model) -> Result<(), AppError> {
    must_take_changes(row)?;
    match row.state.0 {
        VmState::Running | VmState::Paused => Ok(()),
        _ => Err(AppError::Conflict { code: "vm_not_running", detail: "the VM does not run".into() }),
    }
}

fn stand_still(row: &mut vm::Model, paused: bool) -> Result<(), AppError> {
    must_run(row)?;
    if row.paused != paused {
        row.paused = paused;
        row.generation += 1;
    }
    Ok(())
}

async fn created(
    db: &impl Reader,
    row: vm::Model,
    operation: podzol_mgmt_db::operation::Model,
    actor: &Actor,
) -> Result<Created<Vm>, AppError> {
    let object = view::vms(db, vec![row], actor).await?.pop().ok_or(AppError::NotFound("vm"))?;
    Ok(Created { object, operation: view::operation(operation) })
}
