//! What agents report, and what follows from it.
//!
//! A report is a fact about a moment that has passed. So nothing is done on its word alone: a VM that is missing in it
//! gets an operation that asks the host again, and a VM that should not be there is removed with a newer generation.

use std::collections::HashSet;

use podzol_agent_api::report::{Accelerator, HostReport};
use podzol_agent_api::vm::{Ended, VmState as OnHost, VmStatus};
use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_db::event::NewEvent;
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{JsonCol, Tx, find, now, operation, pool, server, vm};
use podzol_rpc::{Caller, PeerId};
use podzol_storage_api::StorageReport;
use podzol_vocab::{ErrorCode, HostId, StorageServerId, VmId, WireError};

use crate::operation::start;
use crate::{App, AppError};

impl App {
    /// Takes a host's report.
    ///
    /// # Errors
    /// When the caller is not that host.
    pub async fn host_reported(
        &self,
        caller: Caller,
        host: HostId,
        report: HostReport,
    ) -> Result<(), WireError> {
        let believed = self.believe(&caller, PeerId::Host(host)).await?;
        self.metrics.reports.with_label_values(&["host"]).inc();
        self.book.set(PeerId::Host(host), report.api_address.clone());
        let strays = self.take_host_report(&believed, &report).await.map_err(internal)?;
        if !strays.is_empty() {
            let app = self.clone();
            tokio::spawn(async move { app.remove_strays(host, strays).await });
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Takes a storage server's report.
    ///
    /// # Errors
    /// When the caller is not that storage server.
    pub async fn storage_reported(
        &self,
        caller: Caller,
        server: StorageServerId,
        report: StorageReport,
    ) -> Result<(), WireError> {
        let believed = self.believe(&caller, PeerId::StorageServer(server)).await?;
        self.metrics.reports.with_label_values(&["storage"]).inc();
        self.book.set(PeerId::StorageServer(server), report.api_address.clone());
        self.take_storage_report(&believed, report).await.map_err(internal)
    }

    /// Writes down what a host reported, and returns the VMs that should not be on it.
    async fn take_host_report(
        &self,
        believed: &server::Model,
        report: &HostReport,
    ) -> Result<Vec<VmStatus>, AppError> {
        let text = serde_json::to_string(report).map_err(|error| AppError::Internal(error.to_string()))?;
        let host = believed.host();
        let tx = self.db.begin().await?;
        let Some(mut row) = still_believed(&tx, believed).await? else { return Ok(vec![]) };
        let moved = row.address.as_ref() != Some(&report.api_address);
        let before = row.clone();
        row.address = Some(report.api_address.clone());
        row.agent_version = Some(report.agent_version.clone());
        row.hypervisor = Some(report.hypervisor.version.clone());
        row.accelerator = report.hypervisor.accelerator.map(|accelerator| {
            String::from(match accelerator {
                Accelerator::Kvm => "kvm",
                Accelerator::Emulation => "emulation",
            })
        });
        row.problem = report.hypervisor.problem.clone();
        row.cpus = report.cpus.into();
        row.memory_mib = report.memory_mib as i64;
        row.boot_id = Some(report.boot_id.clone());
        self.came_up(&tx, &mut row).await?;
        self.write_server(&tx, before, row.clone(), text).await?;
        if moved {
            self.pools_export_again(&tx, row.zone_id.0).await?;
        }
        let strays = self.compare_vms(&tx, host, report).await?;
        tx.commit().await?;
        Ok(strays)
    }

    async fn take_storage_report(
        &self,
        believed: &server::Model,
        report: StorageReport,
    ) -> Result<(), AppError> {
        let text = serde_json::to_string(&report).map_err(|error| AppError::Internal(error.to_string()))?;
        let tx = self.db.begin().await?;
        let Some(mut row) = still_believed(&tx, believed).await? else { return Ok(()) };
        let before = row.clone();
        row.address = Some(report.api_address);
        row.agent_version = Some(report.agent_version);
        self.came_up(&tx, &mut row).await?;
        self.write_server(&tx, before, row.clone(), text).await?;
        for status in report.pools {
            let known = find::<pool::Entity>(tx.reader(), status.pool).await?;
            let Some(mut pool) = known.filter(|pool| pool.storage_server_id == row.id) else { continue };
            let (capacity, used) = (status.capacity.0 as i64, status.used.0 as i64);
            // Until it was exported once, there is nothing to mount.
            let moved = pool.server.is_some() && pool.server.as_ref() != Some(&status.server);
            // A few MiB more or less are no news.
            if moved || pool.capacity_bytes != capacity || (pool.used_bytes - used).abs() > 16 << 20 {
                (pool.capacity_bytes, pool.used_bytes) = (capacity, used);
                pool.server = pool.server.map(|_| status.server);
                tx.pool_update(pool).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// A server that reports is up, unless an operator said otherwise.
    async fn came_up(&self, tx: &Tx, row: &mut server::Model) -> Result<(), AppError> {
        if matches!(row.state.0, ServerState::Joining | ServerState::Disconnected) {
            row.state = JsonCol(ServerState::Up);
            let kind = if row.is_host { "host" } else { "storage-server" };
            tx.event_create(NewEvent {
                action: "server.up",
                actor: "management".into(),
                account: None,
                subject_kind: kind,
                subject: row.id.clone(),
                detail: row.name.to_string(),
            })
            .await?;
        }
        Ok(())
    }

    /// Writes a server; as a change for everybody to see only if it is one.
    async fn write_server(
        &self,
        tx: &Tx,
        before: server::Model,
        mut row: server::Model,
        report: String,
    ) -> Result<(), AppError> {
        if row == before {
            tx.server_reported(&row.id, report).await?;
        } else {
            row.reported_at = Some(now().0);
            row.report = Some(report);
            tx.server_update(row).await?;
        }
        Ok(())
    }

    async fn compare_vms(
        &self,
        tx: &Tx,
        host: HostId,
        report: &HostReport,
    ) -> Result<Vec<VmStatus>, AppError> {
        let mut strays = Vec::new();
        let here = vm::of_host(tx.reader(), host).await?;
        for status in &report.vms {
            match here.iter().find(|row| row.id.0 == status.vm) {
                Some(row) => self.compare_vm(tx, row.clone(), status).await?,
                None => strays.push(status.clone()),
            }
        }
        let told: HashSet<VmId> = report.vms.iter().map(|status| status.vm).collect();
        for row in here {
            let runs = row.state.0 == VmState::Running && row.desired.0 == Desired::Running;
            if runs && !told.contains(&row.id.0) {
                self.start_again(tx, row).await?;
            }
        }
        Ok(strays)
    }

    async fn compare_vm(&self, tx: &Tx, mut row: vm::Model, status: &VmStatus) -> Result<(), AppError> {
        if status.generation.0 > row.generation as u64 {
            // This database was put back to an older state; the host refuses what it takes for old.
            row.generation = status.generation.next().0 as i64;
            let kind = match row.desired.0 {
                Desired::Running => "vm.start",
                Desired::Stopped => "vm.stop",
                Desired::Deleted => "vm.delete",
            };
            tx.vm_update(row.clone()).await?;
            let detail = format!(
                "its host knows generation {}, which is newer than this database's",
                status.generation
            );
            self.noticed(tx, &row, "generation.raised", &detail).await?;
            return self.ask_again(tx, row, kind).await;
        }
        if row.state.0 != VmState::Running || row.desired.0 != Desired::Running {
            // An operation is on its way to another state.
            return Ok(());
        }
        if status.generation.0 < row.generation as u64 {
            // It has missed the last description: a reboot that failed, say.
            return self.ask_again(tx, row, "vm.start").await;
        }
        match status.state {
            OnHost::Running => {
                let usage = serde_json::to_string(&status.usage).unwrap_or_default();
                tx.vm_used(row.id.0, usage).await?;
                Ok(())
            }
            OnHost::Stopped if status.ended == Some(Ended::ByItself) => {
                row.desired = JsonCol(Desired::Stopped);
                row.state = JsonCol(VmState::Stopping);
                row.generation += 1;
                tx.vm_update(row.clone()).await?;
                self.noticed(tx, &row, "vm.shut_down", "its operating system shut it down").await?;
                start(tx, self.vm_operation("vm.stop", &row)).await?;
                Ok(())
            }
            OnHost::Stopped | OnHost::Failed => {
                self.noticed(tx, &row, "vm.died", "it ended by force; it is started again").await?;
                row.generation += 1;
                self.start_again(tx, row).await
            }
            OnHost::Starting | OnHost::Stopping | OnHost::Absent => Ok(()),
        }
    }

    /// Gives a VM that should run, and does not, an operation that starts it.
    async fn start_again(&self, tx: &Tx, mut row: vm::Model) -> Result<(), AppError> {
        if operation::open_of(tx.reader(), &row.id.to_string()).await?.is_empty() {
            row.state = JsonCol(VmState::Starting);
            tx.vm_update(row.clone()).await?;
            start(tx, self.vm_operation("vm.start", &row)).await?;
        }
        Ok(())
    }

    /// Starts an operation on a VM, unless one is under way.
    async fn ask_again(&self, tx: &Tx, row: vm::Model, kind: &'static str) -> Result<(), AppError> {
        if operation::open_of(tx.reader(), &row.id.to_string()).await?.is_empty() {
            start(tx, self.vm_operation(kind, &row)).await?;
        }
        Ok(())
    }

    async fn noticed(
        &self,
        tx: &Tx,
        row: &vm::Model,
        action: &'static str,
        detail: &str,
    ) -> Result<(), AppError> {
        let event = NewEvent {
            action,
            actor: "management".into(),
            account: Some(row.account_id.0),
            subject_kind: "vm",
            subject: row.id.to_string(),
            detail: detail.into(),
        };
        Ok(tx.event_create(event).await?)
    }
}

/// The row of a server as it is in this transaction, unless it was removed or joined anew since it was believed.
async fn still_believed(tx: &Tx, believed: &server::Model) -> Result<Option<server::Model>, AppError> {
    let row = find::<server::Entity>(tx.reader(), believed.id.clone()).await?;
    Ok(row.filter(|row| row.certificate == believed.certificate && row.state.0 != ServerState::Removed))
}

fn internal(error: AppError) -> WireError {
    tracing::error!(error = &error as &dyn std::error::Error, "cannot take a report");
    WireError::new(ErrorCode::Unavailable, "cannot take the report now")
}
