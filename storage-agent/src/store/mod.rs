//! The pools of this storage server.
//!
//! A pool is on the list from the time that it was made until it is removed, whether or not its folder can be opened.
//! While it cannot, because its disk is not mounted, say, every call on it tries again, and is answered "unavailable"
//! with the reason. Exports follow the list: what could not be exported is tried again until it is.

mod gate;
mod list;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use futures_util::future::join_all;
use podzol_rpc::Client;
use podzol_storage_api::{
    Contents, PoolPlan, PoolStatus, TemplatePlan, TemplateStatus, VolumePlan, VolumeStatus,
};
use podzol_vocab::{ErrorCode, PoolId, Sha256, VolumeId, WireError};

use crate::config::Config;
use crate::detached;
use crate::export::Exporter;
use crate::imports::Imports;
use crate::pool::{self, Pool, Space, no_pool};
use crate::store::gate::Gate;
use crate::store::list::Listed;
use crate::store::turns::{Making, Turns};
use crate::template_keys::TemplateKeys;

/// The pools, by id. Cloning is cheap.
pub struct Store<E>(Arc<Inner<E>>);

impl<E> Clone for Store<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<E> {
    exporter: E,
    imports: Imports,
    keys: TemplateKeys,
    roots: Vec<PathBuf>,
    owner: u32,
    list: PathBuf,
    pools: Mutex<BTreeMap<PoolId, Known>>,
    /// The pools that are exported as the list says, since this agent started.
    exported: Mutex<BTreeSet<PoolId>>,
    /// One change of each pool at a time. It may wait for the pool's disk.
    turns: Turns,
    /// One change of the list and of exports at a time. It waits for no pool's disk.
    turn: tokio::sync::Mutex<()>,
    /// Where hosts mount pools.
    address: Mutex<Option<IpAddr>>,
}

/// A pool on the list, and the way to it.
#[derive(Clone)]
struct Known {
    listed: Listed,
    gate: Arc<Gate>,
}

impl<E: Exporter> Store<E> {
    /// Reads the list of the pools that were made here before. None is opened before it is asked for: its disk may hang.
    ///
    /// # Errors
    /// When the list of pools or a template key cannot be read.
    pub fn open(config: &Config, client: Client, exporter: E) -> anyhow::Result<Self> {
        let list = config.state_dir.join("pools.json");
        let listed = list::read(&list).with_context(|| format!("cannot read {}", list.display()))?;
        let known = |(id, listed): (PoolId, Listed)| {
            let gate = Gate::new(id, listed.folder.clone(), config.volume_owner);
            (id, Known { listed, gate })
        };
        Ok(Self(Arc::new(Inner {
            exporter,
            imports: Imports::new(client),
            keys: TemplateKeys::read(&config.template_keys)?,
            roots: config.pool_roots.clone(),
            owner: config.volume_owner,
            list,
            pools: Mutex::new(listed.into_iter().map(known).collect()),
            exported: Mutex::default(),
            turns: Turns::default(),
            turn: tokio::sync::Mutex::default(),
            address: Mutex::new(config.address),
        })))
    }

    /// Notes the address at which hosts mount pools.
    pub(crate) fn set_address(&self, address: IpAddr) {
        *locked(&self.0.address) = Some(address);
    }

    fn address(&self) -> Result<IpAddr, WireError> {
        let unknown = "the address of this server is not known yet";
        locked(&self.0.address).ok_or_else(|| WireError::new(ErrorCode::Unavailable, unknown))
    }

    fn known(&self, id: PoolId) -> Option<Known> {
        locked(&self.0.pools).get(&id).cloned()
    }

    /// A pool, opened if it was not yet.
    async fn pool(&self, id: PoolId) -> Result<Arc<Pool>, WireError> {
        let known = self.known(id).filter(|known| !known.listed.removing).ok_or_else(|| no_pool(id))?;
        known.gate.open().await
    }

    /// Changes the list, in the file first. Only for who has the turn.
    async fn change_list(&self, change: impl FnOnce(&mut BTreeMap<PoolId, Known>)) -> Result<(), WireError> {
        let mut pools = locked(&self.0.pools).clone();
        change(&mut pools);
        let listed = pools.iter().map(|(id, known)| (*id, known.listed.clone())).collect();
        let path = self.0.list.clone();
        let written = detached::on_disk(move || {
            list::write(&path, listed).map_err(|error| {
                WireError::new(ErrorCode::Internal, format!("cannot write the list of pools: {error}"))
            })
        });
        written.await?;
        *locked(&self.0.pools) = pools;
        Ok(())
    }

    /// Makes a pool and exports it. Only a pool that is not on the list yet may make its folder a pool's.
    ///
    /// # Errors
    /// When the folder is outside the roots, holds something else, or cannot be used now.
    pub async fn pool_put(&self, id: PoolId, plan: PoolPlan) -> Result<PoolStatus, WireError> {
        self.must_be_valid(&plan)?;
        let store = self.clone();
        detached::task(async move {
            let _own = store.0.turns.of(id).await?;
            let server = store.address()?;
            let (pool, space) = store.pool_make(id, plan).await?;
            let _turn = store.0.turn.lock().await;
            locked(&store.0.exported).remove(&id);
            store.export(id).await.inspect_err(|error| {
                tracing::error!(%error, pool = %id, "cannot export a pool");
            })?;
            Ok(status(&pool, server, space))
        })
        .await
    }

    fn must_be_valid(&self, plan: &PoolPlan) -> Result<(), WireError> {
        let folder = Path::new(&plan.path);
        let inside = self.0.roots.iter().any(|root| folder.starts_with(root) && folder != root);
        if !inside || !is_plain(&plan.path) {
            let roots: Vec<String> = self.0.roots.iter().map(|root| root.display().to_string()).collect();
            let rule = format!(
                "path: must be a folder below {}, where pools may be, of letters, digits, '-', '_' and '.'",
                roots.join(" or ")
            );
            return Err(WireError::new(ErrorCode::Invalid, rule));
        }
        if !plan.hosts.iter().all(|host| host.parse::<IpAddr>().is_ok()) {
            return Err(WireError::new(ErrorCode::Invalid, "hosts: must be addresses"));
        }
        Ok(())
    }

    /// Opens a pool, or makes it if it is not on the list, and notes its hosts. Only for who has the pool's turn.
    async fn pool_make(&self, id: PoolId, plan: PoolPlan) -> Result<(Arc<Pool>, Space), WireError> {
        let folder = PathBuf::from(plan.path);
        let (gate, _making) = match self.known(id) {
            Some(known) if known.listed.removing => {
                return Err(WireError::new(ErrorCode::Unavailable, "the pool is being removed"));
            }
            Some(known) if known.listed.folder != folder => {
                return Err(WireError::new(ErrorCode::Conflict, "path: the pool is in another folder"));
            }
            Some(known) => (known.gate, None),
            None => {
                let making = self.must_be_apart(id, &folder)?;
                let (folder, owner) = (folder.clone(), self.0.owner);
                let made = detached::on_disk(move || Pool::create(id, &folder, owner)).await?;
                (Gate::to(made, owner), Some(making))
            }
        };
        let made = gate.measure().await?;
        let listed = Listed { folder, hosts: Some(plan.hosts), removing: false };
        let _turn = self.0.turn.lock().await;
        self.change_list(|pools| drop(pools.insert(id, Known { listed, gate }))).await?;
        Ok(made)
    }

    /// Refuses a pool within another one's folder, or around it: what is done to the one is done to the other, to the end.
    fn must_be_apart(&self, id: PoolId, folder: &Path) -> Result<Making, WireError> {
        let refuse = |other: PoolId| {
            let rule = format!("path: the folder is that of pool {other}, within it, or around it");
            WireError::new(ErrorCode::Conflict, rule)
        };
        // First that one: what is made meanwhile is on the list before it is taken from there.
        let making = self.0.turns.make(id, folder).map_err(refuse)?;
        for (id, known) in locked(&self.0.pools).iter() {
            let other = &known.listed.folder;
            // What is another pool's own folder says so by its mark.
            if folder != other && (folder.starts_with(other) || other.starts_with(folder)) {
                return Err(refuse(*id));
            }
        }
        Ok(making)
    }

    /// Exports a pool as the list says, unless it is so already. Only for who has the turn.
    async fn export(&self, id: PoolId) -> Result<(), WireError> {
        let Some(Known { listed: Listed { folder, hosts: Some(hosts), removing: false }, .. }) =
            self.known(id).filter(|_| !locked(&self.0.exported).contains(&id))
        else {
            return Ok(());
        };
        self.0.exporter.export(id, &folder, &hosts).await.map_err(|error| {
            let error = anyhow::Error::from(error);
            WireError::new(ErrorCode::Internal, format!("cannot export the pool: {error:#}"))
        })?;
        locked(&self.0.exported).insert(id);
        Ok(())
    }

    /// Exports the pools that can be opened and are not exported yet, as after a start. Gives those that could not be.
    pub(crate) async fn export_rest(&self) -> Vec<(PoolId, WireError)> {
        let mut failures = Vec::new();
        for id in self.listed() {
            if locked(&self.0.exported).contains(&id) {
                continue;
            }
            // Why one cannot be opened is said where its status is asked for.
            if self.pool(id).await.is_err() {
                continue;
            }
            let _turn = self.0.turn.lock().await;
            if let Err(error) = self.export(id).await {
                failures.push((id, error));
            }
        }
        failures
    }

    /// The pools on the list that are not being removed.
    fn listed(&self) -> Vec<PoolId> {
        let pools = locked(&self.0.pools);
        pools.iter().filter(|(_, known)| !known.listed.removing).map(|(id, _)| *id).collect()
    }

    /// Removes a pool without volumes; success when there is none. That it is being removed stands on the list before
    /// its files go, so that a crash in between is no pool that cannot be opened.
    ///
    /// # Errors
    /// When there are volumes in it, or it cannot be opened.
    pub async fn pool_delete(&self, id: PoolId) -> Result<(), WireError> {
        let store = self.clone();
        detached::task(async move {
            let _own = store.0.turns.of(id).await?;
            let Some(known) = store.known(id) else { return Ok(()) };
            if !known.listed.removing {
                let pool = store.pool(id).await?;
                detached::on_disk(move || pool.close()).await?;
                store.0.imports.abort(id);
            }
            let turn = store.0.turn.lock().await;
            locked(&store.0.exported).remove(&id);
            store.0.exporter.withdraw(id, &known.listed.folder).await.map_err(|error| {
                let error = anyhow::Error::from(error);
                tracing::error!(error = format!("{error:#}"), pool = %id, "cannot end an export");
                WireError::new(ErrorCode::Internal, format!("cannot end the export: {error:#}"))
            })?;
            let folder = known.listed.folder.clone();
            let removing = Known { listed: Listed { removing: true, ..known.listed }, ..known };
            store.change_list(|pools| drop(pools.insert(id, removing))).await?;
            drop(turn);
            detached::on_disk(move || pool::remove(id, &folder)).await?;
            let _turn = store.0.turn.lock().await;
            store.change_list(|pools| drop(pools.remove(&id))).await
        })
        .await
    }

    /// How each pool is, or why it cannot be asked. A disk that hangs holds up no other.
    pub(crate) async fn statuses(&self) -> Vec<(PoolId, Result<PoolStatus, WireError>)> {
        let ask = async |id| (id, self.status(id).await);
        join_all(self.listed().into_iter().map(ask)).await
    }

    async fn status(&self, id: PoolId) -> Result<PoolStatus, WireError> {
        let server = self.address()?;
        let known = self.known(id).ok_or_else(|| no_pool(id))?;
        let (pool, space) = known.gate.measure().await?;
        Ok(status(&pool, server, space))
    }

    /// Brings a template in; answers when it is there, has failed, or the time is up. One without the signature that this
    /// server wants fails before anything is fetched; if it is there from before, it stays for the volumes based on it.
    ///
    /// # Errors
    /// When there is no such pool, or it cannot be used now.
    pub async fn template_put(
        &self,
        id: PoolId,
        sha256: Sha256,
        plan: TemplatePlan,
    ) -> Result<TemplateStatus, WireError> {
        let pool = self.pool(id).await?;
        if let Err(error) = self.0.keys.check(sha256, plan.signed.as_ref()) {
            tracing::warn!(%sha256, pool = %id, %error, "a template is refused");
            return Ok(TemplateStatus::Failed { transient: false, message: error.to_string() });
        }
        Ok(self.0.imports.bring(pool, sha256, plan).await)
    }

    /// Removes a template.
    ///
    /// # Errors
    /// See [`Pool::template_delete`].
    pub async fn template_delete(&self, id: PoolId, sha256: Sha256) -> Result<(), WireError> {
        let pool = self.pool(id).await?;
        detached::on_disk(move || pool.template_delete(sha256)).await
    }

    /// Makes a volume.
    ///
    /// # Errors
    /// See [`Pool::volume_put`].
    pub async fn volume_put(
        &self,
        id: PoolId,
        volume: VolumeId,
        plan: VolumePlan,
    ) -> Result<VolumeStatus, WireError> {
        let pool = self.pool(id).await?;
        detached::on_disk(move || pool.volume_put(volume, &plan)).await
    }

    /// Destroys a volume; success when it is not there.
    ///
    /// # Errors
    /// See [`Pool::volume_delete`].
    pub async fn volume_delete(&self, id: PoolId, volume: VolumeId) -> Result<(), WireError> {
        let pool = self.pool(id).await?;
        detached::on_disk(move || pool.volume_delete(volume)).await
    }

    /// What is in a pool, and to whom it is exported.
    ///
    /// # Errors
    /// When there is no such pool, or it cannot be used now.
    pub async fn contents(&self, id: PoolId) -> Result<Contents, WireError> {
        let pool = self.pool(id).await?;
        let exported_to = self.0.exporter.exported_to(id, pool.path()).await;
        let exported_to = exported_to.map_err(|error| {
            let error = anyhow::Error::from(error);
            tracing::warn!(error = format!("{error:#}"), pool = %id, "cannot look up to whom a pool is exported");
        });
        let known = self.known(id).ok_or_else(|| no_pool(id))?;
        Ok(Contents { exported_to: exported_to.ok(), ..known.gate.contents().await? })
    }
}

fn status(pool: &Pool, server: IpAddr, space: Space) -> PoolStatus {
    PoolStatus {
        pool: pool.id,
        server: server.to_string(),
        export: pool.path().display().to_string(),
        capacity: space.capacity,
        used: space.used,
        allocated: space.allocated,
    }
}

/// Whether a path is one that exports(5), mount(8) and people read alike. The management service has the same rule.
fn is_plain(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    let mut parts = path.split('/').skip(1);
    path.len() <= 255
        && path.starts_with('/')
        && path.chars().all(plain)
        && parts.all(|part| !matches!(part, "" | "." | ".."))
}

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
