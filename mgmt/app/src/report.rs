//! What agents report, and what follows from it.
//!
//! A report is a fact about a moment that has passed. So nothing is done on its word alone: a VM that is missing in it
//! gets an operation that asks the host again, and a VM that should not be there is removed with a newer generation. A console
//! proxy that has ended goes, which asks its host too.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use podzol_agent_api::report::{Accelerator, HostReport};
use podzol_agent_api::vm::{Ended, VmState as OnHost, VmStatus};
use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_api::operation::OperationState;
use podzol_mgmt_api::template::TemplateRole;
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_db::event::NewEvent;
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{JsonCol, Tx, find, now, operation, pool, server, vm};
use podzol_rpc::{Caller, PeerId};
use podzol_storage_api::StorageReport;
use podzol_vocab::{ErrorCode, Generation, HostId, StorageServerId, VmId, WireError};

use crate::operation::start;
use crate::{App, AppError};

/// How late a report may be that was made before its host was told something.
const REPORTS_ARE_LATE: Duration = Duration::from_secs(10);

/// How soon a host is told again of a VM after it has refused to be told.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(300);

/// What is wrong with a VM that stands still and should not: its hypervisor has stopped it.
pub(crate) const STANDS_STILL: &str = "it stands still, as a VM does whose disk cannot be written: its pool may be full; its host has it \
                            go on as soon as it can";

impl App {
    /// Takes a host's report.
    ///
    /// # Errors
    /// When the caller is not that host.
    pub async fn host_reported(
        &self,
        caller: Caller,
        host: HostId,
        mut report: HostReport,
    ) -> Result<(), WireError> {
        let believed = self.believe(&caller, PeerId::Host(host)).await?;
        self.metrics.reports.with_label_values(&["host"]).inc();
        self.book.set(PeerId::Host(host), report.api_address.clone());
        let refusals = std::mem::take(&mut report.refusals);
        let strays = self.take_host_report(&believed, &report).await.map_err(internal)?;
        self.notice_refusals_of(host, refusals).await;
        if !strays.is_empty() {
            let app = self.clone();
            tokio::spawn(async move { app.remove_strays(host, strays).await });
        }
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
        mut report: StorageReport,
    ) -> Result<(), WireError> {
        let believed = self.believe(&caller, PeerId::StorageServer(server)).await?;
        self.metrics.reports.with_label_values(&["storage"]).inc();
        self.book.set(PeerId::StorageServer(server), report.api_address.clone());
        let refusals = std::mem::take(&mut report.refusals);
        self.take_storage_report(&believed, report).await.map_err(internal)?;
        self.notice_refusals_of(server, refusals).await;
        Ok(())
    }

    /// Acts on what a host said when it was asked.
    pub(crate) async fn act_on_report(
        &self,
        believed: &server::Model,
        report: &HostReport,
    ) -> Result<(), AppError> {
        let strays = self.take_host_report(believed, report).await?;
        self.remove_strays(believed.host(), strays).await;
        Ok(())
    }

    /// Takes in what a host reported, and returns the VMs that should not be on it. A report that says nothing new, as
    /// nearly all do, costs no transaction.
    async fn take_host_report(
        &self,
        believed: &server::Model,
        report: &HostReport,
    ) -> Result<Vec<VmStatus>, AppError> {
        self.here.vxlans.reported(believed.host(), &report.vxlans);
        let text = serde_json::to_string(report).map_err(|error| AppError::Internal(error.to_string()))?;
        let here = vm::of_host(self.db.reader(), believed.host()).await?;
        let (findings, strays) = compare(believed.host(), &here, &report.vms);
        if findings.is_empty() && as_reported(believed, report) == *believed {
            self.heard.note(&believed.id, now().0, text);
            return Ok(strays);
        }
        let tx = self.db.begin().await?;
        let Some(before) = still_believed(&tx, believed).await? else { return Ok(vec![]) };
        let row = as_reported(&before, report);
        let here = vm::of_host(tx.reader(), believed.host()).await?;
        let (findings, strays) = compare(believed.host(), &here, &report.vms);
        if row != before {
            self.write_server(&tx, &before, row.clone()).await?;
        }
        if row.address != before.address {
            self.pools_export_again(&tx, row.zone_id.0).await?;
        }
        for (row, finding) in findings {
            self.act_on(&tx, row, finding).await?;
        }
        tx.commit().await?;
        self.heard.note(&row.id, now().0, text);
        self.wake.notify_one();
        Ok(strays)
    }

    async fn take_storage_report(
        &self,
        believed: &server::Model,
        report: StorageReport,
    ) -> Result<(), AppError> {
        let text = serde_json::to_string(&report).map_err(|error| AppError::Internal(error.to_string()))?;
        let tx = self.db.begin().await?;
        let Some(before) = still_believed(&tx, believed).await? else { return Ok(()) };
        let mut row = before.clone();
        row.address = Some(report.api_address);
        row.agent_version = Some(report.agent_version);
        row.state = up(row.state.0);
        let mut news = row != before;
        if news {
            self.write_server(&tx, &before, row.clone()).await?;
        }
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
                news = true;
            }
        }
        if news {
            tx.commit().await?;
        }
        self.heard.note(&row.id, now().0, text);
        Ok(())
    }

    /// Writes a server as it reported, and records that it is up again if it was not.
    async fn write_server(
        &self,
        tx: &Tx,
        before: &server::Model,
        mut row: server::Model,
    ) -> Result<(), AppError> {
        row.reported_at = Some(now().0);
        if row.has_ipv6 != before.has_ipv6 {
            tx.vm_limits_changed(vm::LimitsOf::Host(row.host())).await?;
        }
        if row.state != before.state {
            let kind = if row.is_host { "host" } else { "storage-server" };
            tx.event_create(NewEvent::of_management("server.up", None, kind, &row.id, row.name.to_string()))
                .await?;
        }
        Ok(tx.server_update(row).await?)
    }

    /// Does what follows from a report on a VM, unless an operation on it is under way: that will see for itself.
    async fn act_on(&self, tx: &Tx, mut row: vm::Model, finding: Finding) -> Result<(), AppError> {
        if !operation::open_of(tx.reader(), &row.id.to_string()).await?.is_empty() {
            return Ok(());
        }
        let kind = match finding {
            Finding::KnowsNewer(generation) => {
                row.generation = generation.next().0 as i64;
                let detail =
                    format!("its host knows generation {generation}, which is newer than this database's");
                self.noticed(tx, &row, "generation.raised", &detail).await?;
                match row.desired.0 {
                    Desired::Running => "vm.start",
                    Desired::Stopped => "vm.stop",
                    Desired::Deleted => "vm.delete",
                }
            }
            Finding::KnowsOlder => {
                if self.ended_just_now(tx, &row).await? {
                    return Ok(());
                }
                "vm.start"
            }
            Finding::Missing if self.succeeded_just_now(tx, &row).await? => {
                // The report is from before, or the next one says so too.
                return Ok(());
            }
            Finding::ShutDown | Finding::Died | Finding::Missing if is_console_proxy(&row) => {
                self.noticed(tx, &row, "vm.died", "it ended; a console proxy is not started again").await?;
                return self.console_proxy_ended(tx, row).await;
            }
            // A router's own way to be started anew.
            Finding::ShutDown if row.role.is_none() => {
                (row.desired, row.state) = (JsonCol(Desired::Stopped), JsonCol(VmState::Stopping));
                row.generation += 1;
                self.noticed(tx, &row, "vm.shut_down", "its operating system shut it down").await?;
                "vm.stop"
            }
            Finding::ShutDown | Finding::Died => {
                self.renew_identity(tx, &mut row).await?;
                row.state = JsonCol(VmState::Starting);
                row.generation += 1;
                self.noticed(tx, &row, "vm.died", "it ended by force; it is started again").await?;
                "vm.start"
            }
            Finding::StandsStill | Finding::GoesOn => {
                if finding == Finding::GoesOn {
                    row.error = None;
                } else if self.ended_just_now(tx, &row).await? {
                    return Ok(());
                } else {
                    row.error = Some(STANDS_STILL.into());
                    self.noticed(tx, &row, "vm.stands_still", STANDS_STILL).await?;
                }
                return Ok(tx.vm_update(row).await?);
            }
            Finding::Missing => {
                row.state = JsonCol(VmState::Starting);
                "vm.start"
            }
        };
        tx.vm_update(row.clone()).await?;
        let mut operation = self.vm_operation(kind, &row);
        // Nobody is there to see it fail. VMs of Podzol's own are replaced by who needs them.
        if matches!(finding, Finding::Died | Finding::Missing) && row.role.is_none() {
            operation.deadline = None;
        }
        start(tx, operation).await?;
        Ok(())
    }

    /// Whether the last operation on a VM has ended a short while ago. If it failed, what its host refuses is not asked of
    /// it at every report; if it succeeded, the report is from before.
    async fn ended_just_now(&self, tx: &Tx, row: &vm::Model) -> Result<bool, AppError> {
        let Some(last) = operation::last_of(tx.reader(), &row.id.to_string()).await? else {
            return Ok(false);
        };
        let failed = last.state.0 == OperationState::Failed;
        let leave_it = if failed { ASK_AGAIN_AFTER } else { REPORTS_ARE_LATE };
        Ok(last.finished_at.is_some_and(|at| at > now().0 - leave_it.as_millis() as i64))
    }

    /// Whether the last operation on a VM has succeeded a short while ago: the report may be from before.
    async fn succeeded_just_now(&self, tx: &Tx, row: &vm::Model) -> Result<bool, AppError> {
        let last = operation::last_of(tx.reader(), &row.id.to_string()).await?;
        let last = last.filter(|last| last.state.0 == OperationState::Succeeded);
        let since = now().0 - REPORTS_ARE_LATE.as_millis() as i64;
        Ok(last.and_then(|last| last.finished_at).is_some_and(|at| at > since))
    }

    async fn noticed(
        &self,
        tx: &Tx,
        row: &vm::Model,
        action: &'static str,
        detail: &str,
    ) -> Result<(), AppError> {
        let event = NewEvent::of_management(action, Some(row.account_id.0), "vm", row.id, detail);
        Ok(tx.event_create(event).await?)
    }
}

fn is_console_proxy(row: &vm::Model) -> bool {
    row.role.as_ref().is_some_and(|role| role.0 == TemplateRole::ConsoleProxy)
}

/// What a report says of a VM that is not as this database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// The host knows a newer description: this database was put back to an older state, and what it says now is
    /// refused as old.
    KnowsNewer(Generation),
    /// The host has missed the last description of a VM that runs: a reboot that failed, say.
    KnowsOlder,
    /// Its operating system has shut it down.
    ShutDown,
    /// It has ended in another way.
    Died,
    /// It does not run on the host.
    Missing,
    /// Its hypervisor has stopped it for a while, for a reason of its own.
    StandsStill,
    /// It does so no more.
    GoesOn,
}

/// What this database knows of a VM.
#[derive(Debug, Clone, Copy)]
struct Known {
    generation: Generation,
    /// Whether it runs, or stands still because it should.
    runs: bool,
    /// Whether it should stand still.
    paused: bool,
    /// Whether it is known to stand still although it should not.
    stands_still: bool,
}

/// What follows from a report for the VMs that should be on a host, and the VMs that should not.
fn compare(
    host: HostId,
    here: &[vm::Model],
    told: &[VmStatus],
) -> (Vec<(vm::Model, Finding)>, Vec<VmStatus>) {
    let told: HashMap<VmId, &VmStatus> = told.iter().map(|status| (status.vm, status)).collect();
    let wanted: HashSet<VmId> = here.iter().map(|row| row.id.0).collect();
    let of = |row: &vm::Model| {
        // What is on its way to another state has an operation that asks the host itself.
        let runs =
            matches!(row.state.0, VmState::Running | VmState::Paused) && row.desired.0 == Desired::Running;
        let known = Known {
            generation: Generation(row.generation as u64),
            runs,
            paused: row.paused,
            stands_still: row.error.as_deref() == Some(STANDS_STILL),
        };
        Some((row.clone(), finding(known, told.get(&row.id.0).copied())?))
    };
    let strays = told.values().filter(|status| !wanted.contains(&status.vm));
    // What is only on its way here has an operation that asks.
    let placed = here.iter().filter(|row| row.host_id.is_some_and(|at| at.0 == host));
    (placed.filter_map(of).collect(), strays.map(|status| (*status).clone()).collect())
}

fn finding(known: Known, status: Option<&VmStatus>) -> Option<Finding> {
    let runs = known.runs;
    let Some(status) = status else { return runs.then_some(Finding::Missing) };
    match known.generation.cmp(&status.generation) {
        Ordering::Less => return Some(Finding::KnowsNewer(status.generation)),
        Ordering::Greater if runs => {
            // Why it ended is not said of what it is now: the report may come late.
            let ended = matches!(status.state, OnHost::Stopped | OnHost::Failed);
            return Some(if ended { Finding::Missing } else { Finding::KnowsOlder });
        }
        _ => {}
    }
    match status.state {
        OnHost::Stopped if runs && status.ended == Some(Ended::ByItself) => Some(Finding::ShutDown),
        OnHost::Stopped | OnHost::Failed if runs => Some(Finding::Died),
        OnHost::Paused if runs && !known.paused && !known.stands_still => Some(Finding::StandsStill),
        OnHost::Running if known.stands_still => Some(Finding::GoesOn),
        // It was found out that it never left, and the host has not had it go on.
        OnHost::Sent if runs => Some(Finding::KnowsOlder),
        _ => None,
    }
}

/// A host's row with what it reports of itself.
fn as_reported(row: &server::Model, report: &HostReport) -> server::Model {
    let accelerator = |accelerator| match accelerator {
        Accelerator::Kvm => "kvm".to_owned(),
        Accelerator::Emulation => "emulation".to_owned(),
    };
    server::Model {
        state: up(row.state.0),
        address: Some(report.api_address.clone()),
        tunnel_address: report.tunnel_address.map(|address| address.to_string()),
        agent_version: Some(report.agent_version.clone()),
        hypervisor: Some(report.hypervisor.version.clone()),
        accelerator: report.hypervisor.accelerator.map(accelerator),
        problem: report.hypervisor.problem.clone(),
        cpus: report.cpus.into(),
        memory_mib: report.memory_mib as i64,
        traffic: Some(report.traffic.clone().into()),
        has_ipv6: report.has_ipv6,
        ..row.clone()
    }
}

/// A server that reports is up, unless an operator said otherwise.
fn up(state: ServerState) -> JsonCol<ServerState> {
    JsonCol(match state {
        ServerState::Joining | ServerState::Disconnected => ServerState::Up,
        other => other,
    })
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const VM: &str = "00000000-0000-0000-0000-000000000001";

    /// What follows for a VM of generation 5 from what its host tells: its generation there, its state, why it ended.
    fn check(runs: bool, told: Option<(u64, &str, Option<&str>)>, expected: Option<Finding>) {
        let status = told.map(|(generation, state, ended)| {
            let status = json!({ "vm": VM, "generation": generation, "state": state, "ended": ended });
            serde_json::from_value::<VmStatus>(status).unwrap()
        });
        let known = Known { generation: Generation(5), runs, paused: false, stands_still: false };
        assert_eq!(finding(known, status.as_ref()), expected, "{runs} {told:?}");
    }

    #[test]
    fn a_vm_that_stands_still_is_told_of_once_and_once_more_when_it_goes_on() {
        let status = |state: &str| {
            let status = json!({ "vm": VM, "generation": 5, "state": state });
            serde_json::from_value::<VmStatus>(status).unwrap()
        };
        let (paused, running) = (status("paused"), status("running"));
        let known = Known { generation: Generation(5), runs: true, paused: false, stands_still: false };
        assert_eq!(finding(known, Some(&paused)), Some(Finding::StandsStill));
        assert_eq!(finding(Known { paused: true, ..known }, Some(&paused)), None);
        let stands_still = Known { stands_still: true, ..known };
        assert_eq!(finding(stands_still, Some(&paused)), None);
        assert_eq!(finding(stands_still, Some(&running)), Some(Finding::GoesOn));
    }

    #[test]
    fn a_vm_that_is_as_it_should_be_needs_nothing() {
        check(true, Some((5, "running", None)), None);
        check(false, Some((4, "running", None)), None);
        check(false, None, None);
        check(false, Some((5, "stopped", Some("by_itself"))), None);
    }

    #[test]
    fn a_vm_that_should_run_and_does_not_is_told_again_or_taken_as_stopped() {
        check(true, None, Some(Finding::Missing));
        check(true, Some((5, "stopped", Some("by_itself"))), Some(Finding::ShutDown));
        check(true, Some((5, "stopped", Some("by_force"))), Some(Finding::Died));
        check(true, Some((5, "failed", None)), Some(Finding::Died));
    }

    #[test]
    fn generations_that_differ_come_before_states() {
        check(true, Some((4, "running", None)), Some(Finding::KnowsOlder));
        check(true, Some((4, "stopped", Some("by_itself"))), Some(Finding::Missing));
        check(true, Some((6, "stopped", None)), Some(Finding::KnowsNewer(Generation(6))));
        check(false, Some((6, "running", None)), Some(Finding::KnowsNewer(Generation(6))));
    }
}
