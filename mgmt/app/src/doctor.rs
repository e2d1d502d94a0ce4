//! Comparing what should exist with what does: on every host, in every pool, and within the database.
//!
//! The comparison of a host is a pure function of its VMs' rows and of what the host has. What an operation is at work on
//! may be there or not; all else must be as the rows say. The database is looked at before and after the host: only what
//! is wrong against both is a finding, as things go on changing meanwhile.
//!
//! [`App::mend`] has the reconcilers run now that would run anyway, and the leftovers of pools removed that would be kept
//! for a while. What somebody has changed behind an agent's back nobody looks for otherwise: VMs with other devices get a
//! new description, for which the agent compares what they have; pools are exported again, and templates brought again.

mod compare;
mod pools;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures_util::future::join_all;
use podzol_agent_api::host::{HostConverge, HostGet, HostInventoryGet};
use podzol_mgmt_api::doctor::{Diagnosis, Finding};
use podzol_mgmt_api::pool::PoolState;
use podzol_mgmt_api::vm::{Attachment, VmState};
use podzol_mgmt_api::volume::VolumeState;
use podzol_mgmt_db::{find, network, now, operation, pool, server, vm, volume};
use podzol_rpc::PeerId;
use podzol_vocab::{Generation, VmId};

use crate::report::STANDS_STILL;
use crate::{Actor, App, AppError, reconcile};
use compare::{DIFFERENCES, Placed, compare};

/// How long a host or a storage server has to answer.
const CALL: Duration = Duration::from_secs(30);

/// How long an operation may be without its engine, in milliseconds, until another one must have taken it over.
const ABANDONED: i64 = 30_000;

impl App {
    /// Compares what should exist with what does.
    ///
    /// # Errors
    /// When the caller is no admin.
    pub async fn diagnose(&self, actor: &Actor) -> Result<Diagnosis, AppError> {
        actor.must_be_admin()?;
        let hosts = server::joined_hosts(self.db.reader()).await?;
        let pools = pool::ready(self.db.reader(), None).await?;
        let (of_hosts, of_pools, of_routers, of_consoles) = tokio::join!(
            join_all(hosts.iter().map(|row| self.diagnose_host(row))),
            join_all(pools.iter().map(|row| self.diagnose_pool(row))),
            self.diagnose_routers(),
            self.diagnose_consoles(),
        );
        let mut findings = self.diagnose_database().await?;
        findings.extend(of_routers?);
        findings.extend(self.diagnose_held().await?);
        findings.extend(of_consoles?);
        for found in of_hosts.into_iter().chain(of_pools) {
            findings.extend(found?);
        }
        findings.sort();
        findings.dedup();
        Ok(Diagnosis { findings, hosts: hosts.len() as u32, pools: pools.len() as u32 })
    }

    /// Has all reconcilers run now, and says what is left to be done.
    ///
    /// # Errors
    /// When the caller is no admin.
    pub async fn mend(&self, actor: &Actor) -> Result<Diagnosis, AppError> {
        actor.must_be_admin()?;
        self.notice("doctor.repair", "management", "installation", "all", actor.label()).await;
        if !self.db.drift().await?.is_empty() {
            self.db.count_anew().await?;
        }
        reconcile::all_now(self).await?;
        let hosts = server::joined_hosts(self.db.reader()).await?;
        join_all(hosts.iter().map(|row| self.mend_host(row))).await;
        let pools = pool::ready(self.db.reader(), None).await?;
        let mut found = self.diagnose(actor).await?;
        self.describe_anew(&found.findings).await?;
        self.mend_pools(&pools, &found.findings).await?;
        self.mend_routers(&mut found.findings).await?;
        Ok(found)
    }

    /// Gives VMs that have other devices than described a new description, with which their host compares what they have.
    async fn describe_anew(&self, findings: &[Finding]) -> Result<(), AppError> {
        let differ = findings.iter().filter(|finding| {
            let code = finding.code.as_str();
            matches!(code, "vm_disks" | "vm_nics") || DIFFERENCES.iter().any(|(_, known, _)| *known == code)
        });
        let vms: BTreeSet<VmId> = differ.filter_map(|finding| finding.subject.parse().ok()).collect();
        for id in vms {
            let tx = self.db.begin().await?;
            let Some(row) = find::<vm::Entity>(tx.reader(), id).await? else { continue };
            if operation::open_of(tx.reader(), &id.to_string()).await?.is_empty() {
                self.vm_changes(&tx, row).await?;
                tx.commit().await?;
                self.wake.notify_one();
            }
        }
        Ok(())
    }

    async fn mend_host(&self, row: &server::Model) {
        let peer = PeerId::Host(row.host());
        match self.peers.call::<HostConverge>(peer, &(), &(), CALL).await {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, host = %row.name.0, "cannot have a host converge"),
        }
        let told = match self.peers.call::<HostGet>(peer, &(), &(), CALL).await {
            Ok(report) => self.act_on_report(row, &report).await,
            Err(error) => return tracing::warn!(%error, host = %row.name.0, "cannot ask a host"),
        };
        if let Err(error) = told {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot act on a report");
        }
    }

    async fn diagnose_host(&self, row: &server::Model) -> Result<Vec<Finding>, AppError> {
        let place = format!("host {}", row.name.0);
        let before = self.placed_on(row).await?;
        let peer = PeerId::Host(row.host());
        let has = match self.peers.call::<HostInventoryGet>(peer, &(), &(), CALL).await {
            Ok(inventory) => inventory,
            Err(error) => {
                let state = format!("{:?}", row.state.0).to_lowercase();
                return Ok(vec![Finding {
                    place,
                    code: "no_answer".into(),
                    subject: row.id.clone(),
                    detail: error.to_string(),
                    cause: Some(format!("the host is {state}; what is on it is not known")),
                }]);
            }
        };
        let after = self.placed_on(row).await?;
        let still: BTreeSet<Finding> = compare(&place, &after, &has).into_iter().collect();
        let mut findings = compare(&place, &before, &has);
        findings.retain(|finding| still.contains(finding));
        for network in self.with_other_peers(row.host(), &has.vxlans).await? {
            findings.push(Finding {
                place: place.clone(),
                code: "network_peers".into(),
                subject: network.to_string(),
                detail: "its tunnels do not end at the hosts that carry the network".into(),
                cause: Some("the host is told again when it next reports".into()),
            });
        }
        Ok(findings)
    }

    async fn placed_on(&self, row: &server::Model) -> Result<BTreeMap<VmId, Placed>, AppError> {
        let db = self.db.reader();
        let open = operation::all_open_subjects(db).await?;
        let rows = vm::of_host(db, row.host()).await?;
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let (mut nics, mut volumes) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for nic in vm::nics(db, &ids).await? {
            nics.entry(nic.vm_id).or_default().push(nic);
        }
        for volume in volume::of_vms(db, &ids).await? {
            volumes.entry(volume.vm_id).or_default().push(volume);
        }
        let mut tags = HashMap::new();
        for network in network::all(db).await? {
            tags.insert(network.id, network.tag());
        }
        let mut exports = HashMap::new();
        for pool in pool::ready(db, None).await? {
            exports.insert(
                pool.id,
                pool.server.zip(pool.export).map(|(server, export)| source(&server, &export)),
            );
        }
        let mut placed = BTreeMap::new();
        for row in rows {
            let nics = nics.remove(&row.id).unwrap_or_default();
            let volumes = volumes.remove(&Some(row.id)).unwrap_or_default();
            let is_still = |attachment: Attachment| attachment == Attachment::Attached;
            let settled = matches!(row.state.0, VmState::Running | VmState::Paused)
                && row.moving_to.is_none()
                && !row.limits_are_stale
                && !open.contains(&row.id.to_string())
                && is_still(row.iso_attachment.0)
                && nics.iter().all(|nic| is_still(nic.attachment.0))
                && volumes.iter().all(|one| is_still(one.attachment.0) && one.state.0 == VolumeState::Ready);
            let vm = Placed {
                name: row.name.to_string(),
                generation: Generation(row.generation as u64),
                settled,
                stands_still: row.error.as_deref() == Some(STANDS_STILL),
                disks: volumes.iter().map(|volume| serial(&volume.id.to_string())).collect(),
                nics: nics.iter().map(|nic| nic.mac.0).collect(),
                ports: nics
                    .iter()
                    .filter_map(|nic| Some((nic.mac.0, tags.get(&nic.network_id).copied().flatten()?)))
                    .collect(),
                networks: nics
                    .iter()
                    .filter_map(|nic| tags.get(&nic.network_id).copied().flatten())
                    .collect(),
                mounts: volumes
                    .iter()
                    .filter_map(|one| exports.get(&one.pool_id).cloned().flatten())
                    .collect(),
            };
            placed.insert(row.id.0, vm);
        }
        Ok(placed)
    }

    async fn diagnose_database(&self) -> Result<Vec<Finding>, AppError> {
        let db = self.db.reader();
        let finding = |code: &str, subject: String, detail: String, cause: Option<&str>| Finding {
            place: "database".into(),
            code: code.into(),
            subject,
            detail,
            cause: cause.map(str::to_owned),
        };
        let soon = Some("a reconciler begins an operation for it within seconds");
        let mut findings = Vec::new();
        for row in
            vm::passing_without_operation(db).await?.iter().chain(&vm::changing_without_operation(db).await?)
        {
            let detail = format!("VM {} is on its way with no operation", row.name.0);
            findings.push(finding("no_operation", row.id.to_string(), detail, soon));
        }
        let open = operation::all_open_subjects(db).await?;
        for row in volume::passing_without_operation(db).await? {
            if row.vm_id.is_none_or(|vm| !open.contains(&vm.to_string())) {
                let detail = "a volume is on its way with no operation".to_owned();
                findings.push(finding("no_operation", row.id.to_string(), detail, soon));
            }
        }
        for row in pool::passing_without_operation(db).await? {
            let detail = format!("pool {} is on its way with no operation", row.name.0);
            findings.push(finding("no_operation", row.id.to_string(), detail, soon));
        }
        for row in vm::contradictory(db).await? {
            let host = row.host_id.map_or("no host".to_owned(), |host| format!("host {host}"));
            let detail = format!("VM {} is {:?} and has {host}", row.name.0, row.state.0);
            findings.push(finding("contradiction", row.id.to_string(), detail, None));
        }
        for row in operation::abandoned_since(db, now().0 - ABANDONED).await? {
            let detail = format!("nobody works on {} though it is due", row.kind);
            findings.push(finding("abandoned", row.id.to_string(), detail, None));
        }
        let long_ago = now().0 - self.settings.start_deadline.as_millis() as i64;
        for row in operation::open_since(db, "vm.start", long_ago).await? {
            let Ok(id) = row.subject.parse::<VmId>() else { continue };
            let found = find::<vm::Entity>(db, id).await?;
            let Some(vm) = found.filter(|vm| vm.state.0 == VmState::Starting) else { continue };
            let detail = format!("VM {} should run and could not be started yet", vm.name.0);
            findings.push(finding("vm_start", row.subject, detail, row.error_detail.as_deref()));
        }
        for row in pool::failed(db).await? {
            let detail = format!("pool {} is {}", row.name.0, word(row.state.0));
            findings.push(finding("pool_not_ready", row.id.to_string(), detail, row.error.as_deref()));
        }
        for row in server::joined_hosts(db).await? {
            let unguarded = if row.has_ipv6 { 0 } else { vm::count_with_ipv6(db, row.host()).await? };
            if unguarded > 0 {
                let detail = format!("host {}: {unguarded} VMs in networks with IPv6 have none", row.name.0);
                let cause = Some("its agent is of a version that guards no IPv6 addresses");
                findings.push(finding("host_lacks_ipv6", row.id.clone(), detail, cause));
            }
            let Some(problem) = self.heard.latest(row.clone()).problem else { continue };
            findings.push(finding("host_problem", row.id, format!("host {}: {problem}", row.name.0), None));
        }
        for row in volume::of_strangers(db).await? {
            let detail = "a volume belongs to a VM of another account".to_owned();
            findings.push(finding("contradiction", row.id.to_string(), detail, None));
        }
        for drift in self.db.drift().await? {
            let cause = Some("an error in this program; a repair, or a restart, counts anew");
            findings.push(finding("allocation", drift.subject, drift.detail, cause));
        }
        Ok(findings)
    }
}

fn word(state: PoolState) -> String {
    format!("{state:?}").to_lowercase()
}

/// The serial number of a volume's disk.
fn serial(volume: &str) -> String {
    volume.replace('-', "").chars().take(20).collect()
}

/// An export as it is mounted.
fn source(server: &str, export: &str) -> String {
    match server.parse::<std::net::Ipv6Addr>() {
        Ok(server) => format!("[{server}]:{export}"),
        Err(_) => format!("{server}:{export}"),
    }
}
