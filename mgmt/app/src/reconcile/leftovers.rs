//! Removes from pools what the database does not know, and from hosts the VMs that it does not want there.
//!
//! A row is always written before an agent is told of it, so what an agent has without a row is left over: from a
//! crash, or from a database that was put back to an older state. For the latter's sake a volume is kept for a while;
//! every removal is recorded. What is only there for a
//! moment, because the row was deleted just now, is gone by itself; so a round looks at the database after the agent.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use podzol_agent_api::vm::{VmDelete, VmDeleteRequest, VmState as OnHost, VmStatus};
use podzol_mgmt_api::template::TemplateState;
use podzol_mgmt_db::{find, pool, template, vm, volume};
use podzol_rpc::PeerId;
use podzol_storage_api::{Contents, PoolContents, TemplateDelete, VolumeDelete};
use podzol_vocab::{Generation, HostId, PoolId, Sha256, VolumeId};
use tokio::time::Instant;

use crate::work::storage_peer;
use crate::{App, AppError};

/// How long an agent has to answer here.
const CALL: Duration = Duration::from_secs(30);

pub(crate) async fn round(app: App) -> Result<(), AppError> {
    let keep = app.settings.leftover_after;
    look_through_all(&app, keep).await
}

/// As [`round`], but keeps nothing for a while.
pub(crate) async fn round_now(app: App) -> Result<(), AppError> {
    look_through_all(&app, Duration::ZERO).await
}

async fn look_through_all(app: &App, keep: Duration) -> Result<(), AppError> {
    let pools = pool::ready(app.db.reader(), None).await?;
    // Side by side, so that a storage server that hangs delays no other.
    let cleared = join_all(pools.iter().map(|row| app.look_through(row, keep))).await;
    cleared.into_iter().collect()
}

/// A host from which VMs are being removed, until this is dropped: whoever waits for that may go away meanwhile.
struct Clearing<'a> {
    hosts: &'a Mutex<HashSet<HostId>>,
    host: HostId,
}

impl Drop for Clearing<'_> {
    fn drop(&mut self) {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.host);
    }
}

impl App {
    async fn look_through(&self, row: &pool::Model, keep: Duration) -> Result<(), AppError> {
        let peer = storage_peer(row)?;
        match self.peers.call::<PoolContents>(peer, &(row.id.0,), &(), CALL).await {
            Ok(contents) => self.clear_pool(row, peer, contents, keep).await?,
            Err(error) => tracing::debug!(%error, pool = %row.name.0, "cannot list a pool"),
        }
        Ok(())
    }

    async fn clear_pool(
        &self,
        row: &pool::Model,
        peer: PeerId,
        contents: Contents,
        keep: Duration,
    ) -> Result<(), AppError> {
        let known: HashSet<VolumeId> =
            volume::of_pool(self.db.reader(), row.id.0).await?.iter().map(|row| row.id.0).collect();
        // Should its row go once more, it is kept for a while once more.
        let is_left = |volume: &VolumeId| contents.volumes.contains(volume) && !known.contains(volume);
        self.leftovers().retain(|(pool, volume), _| *pool != row.id.0 || is_left(volume));
        for volume in contents.volumes {
            if known.contains(&volume) || !self.is_left_for_good(row.id.0, volume, keep).await {
                continue;
            }
            match self.peers.call::<VolumeDelete>(peer, &(row.id.0, volume), &(), CALL).await {
                Ok(()) => {
                    self.notice("leftover.removed", "management", "volume", volume, "nobody has it").await
                }
                Err(error) => tracing::warn!(%error, %volume, "cannot remove a leftover volume"),
            }
        }
        // Of one whose import was called off, a pool may have finished bringing the file.
        let is_wanted = |templates: &[template::Model], sha256: Sha256| {
            let is_of = |row: &&template::Model| row.sha256.0 == sha256;
            templates.iter().filter(is_of).any(|row| row.state.0 != TemplateState::Failed)
        };
        let templates = template::all(self.db.reader()).await?;
        for sha256 in contents.templates.into_iter().filter(|sha256| !is_wanted(&templates, *sha256)) {
            // What was removed before may have taken long.
            if is_wanted(&template::all(self.db.reader()).await?, sha256) {
                continue;
            }
            match self.peers.call::<TemplateDelete>(peer, &(row.id.0, sha256), &(), CALL).await {
                Ok(()) => {
                    self.notice(
                        "leftover.removed",
                        "management",
                        "template",
                        sha256,
                        "no template is made of it",
                    )
                    .await
                }
                Err(error) => tracing::debug!(%error, %sha256, "cannot remove a leftover template"),
            }
        }
        Ok(())
    }

    fn leftovers(&self) -> MutexGuard<'_, HashMap<(PoolId, VolumeId), Instant>> {
        self.here.leftovers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a volume was without a row for long enough. The first time is recorded: if this database was put back to
    /// an older state, an operator has this long to stop the service before disks are lost that only the newer one knew.
    async fn is_left_for_good(&self, pool: PoolId, volume: VolumeId, after: Duration) -> bool {
        let since = {
            let mut leftovers = self.leftovers();
            leftovers.get(&(pool, volume)).copied().or_else(|| {
                leftovers.insert((pool, volume), Instant::now());
                None
            })
        };
        if since.is_none() && !after.is_zero() {
            let detail = format!("nobody has it; it is removed in {} s", after.as_secs());
            self.notice("leftover.found", "management", "volume", volume, detail).await;
        }
        since.map_or(Duration::ZERO, |since| since.elapsed()) >= after
    }

    /// Removes VMs from a host that they should not be on, after a second look at the database. While the last ones that
    /// it reported are still being removed, this does nothing; it will report again.
    pub(crate) async fn remove_strays(&self, host: HostId, strays: Vec<VmStatus>) {
        let hosts = &self.here.clearing;
        if !hosts.lock().unwrap_or_else(PoisonError::into_inner).insert(host) {
            return;
        }
        let _clearing = Clearing { hosts, host };
        self.remove_each(host, strays).await;
    }

    async fn remove_each(&self, host: HostId, strays: Vec<VmStatus>) {
        // One that is being stopped is left its time.
        for status in strays.into_iter().filter(|status| status.state != OnHost::Stopping) {
            match self.stray_generation(host, &status).await {
                Ok(Some(generation)) => self.remove_stray(host, &status, generation).await,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot look up a VM");
                }
            }
        }
    }

    /// The generation with which a VM is removed from a host that it should not be on; nothing if it may be there, or
    /// if the report is older than the host's word that it is gone. A VM with a row gives the number out of its row, so
    /// that no later description of it has the same.
    async fn stray_generation(
        &self,
        host: HostId,
        status: &VmStatus,
    ) -> Result<Option<Generation>, AppError> {
        let tx = self.db.begin().await?;
        let Some(mut row) = find::<vm::Entity>(tx.reader(), status.vm).await? else {
            return Ok(Some(status.generation.next()));
        };
        let elsewhere = row.host_id.is_some_and(|at| at.0 != host);
        let known = Generation(row.generation as u64);
        if [row.host_id, row.moving_to].into_iter().flatten().any(|at| at.0 == host)
            || !(elsewhere || status.generation > known)
        {
            return Ok(None);
        }
        if known > status.generation {
            return Ok(Some(known));
        }
        // This database was put back to an older state, so its numbers were given before.
        let generation = status.generation.next();
        row.generation = generation.next().0 as i64;
        tx.vm_update(row).await?;
        tx.commit().await?;
        Ok(Some(generation))
    }

    async fn remove_stray(&self, host: HostId, status: &VmStatus, generation: Generation) {
        let request = VmDeleteRequest { generation, grace_secs: 15, wait_ms: 20_000 };
        match self.peers.call::<VmDelete>(PeerId::Host(host), &status.vm, &request, CALL).await {
            Ok(status) if status.state != OnHost::Absent => {}
            Ok(status) => {
                let detail = format!("it should not be on host {host}");
                self.notice("leftover.removed", "management", "vm", status.vm, detail).await;
            }
            Err(error) => tracing::warn!(%error, vm = %status.vm, "cannot remove a VM from a host"),
        }
    }
}
