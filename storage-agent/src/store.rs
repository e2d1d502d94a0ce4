//! The pools of this storage server.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use podzol_rpc::Client;
use podzol_rpc::identity::write_file;
use podzol_storage_api::{
    Contents, PoolPlan, PoolStatus, TemplatePlan, TemplateStatus, VolumePlan, VolumeStatus,
};
use podzol_vocab::{ByteSize, ErrorCode, PoolId, Sha256, VolumeId, WireError};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config::Config;
use crate::export::Exporter;
use crate::import;
use crate::pool::Pool;

type Imports = HashMap<(PoolId, Sha256), watch::Receiver<TemplateStatus>>;

/// The pools, by id. Cloning is cheap.
pub struct Store<E>(Arc<Inner<E>>);

impl<E> Clone for Store<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<E> {
    exporter: E,
    client: Client,
    roots: Vec<PathBuf>,
    owner: u32,
    list: PathBuf,
    pools: Mutex<HashMap<PoolId, Pool>>,
    imports: Mutex<Imports>,
    /// One change of pools and exports at a time.
    turn: tokio::sync::Mutex<()>,
    address: Mutex<Option<IpAddr>>,
}

/// Where the pools are: the one thing that no pool's folder can tell.
#[derive(Debug, Default, Serialize, Deserialize)]
struct List {
    pools: HashMap<PoolId, PathBuf>,
}

impl<E: Exporter> Store<E> {
    /// Opens the pools that were made here before.
    ///
    /// # Errors
    /// When the list of pools cannot be read.
    pub fn open(config: &Config, client: Client, exporter: E) -> anyhow::Result<Self> {
        let list = config.state_dir.join("pools.json");
        let known: List = match std::fs::read(&list) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => List::default(),
            Err(error) => return Err(error.into()),
        };
        let mut pools = HashMap::new();
        for (id, folder) in known.pools {
            match Pool::open(id, &folder, config.volume_owner) {
                Ok(pool) => drop(pools.insert(id, pool)),
                // A disk that is not mounted, say. The pool is there again when it is told again.
                Err(error) => {
                    tracing::error!(%error, pool = %id, folder = %folder.display(), "cannot open a pool")
                }
            }
        }
        Ok(Self(Arc::new(Inner {
            exporter,
            client,
            roots: config.pool_roots.clone(),
            owner: config.volume_owner,
            list,
            pools: Mutex::new(pools),
            imports: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            address: Mutex::new(config.address),
        })))
    }

    /// Notes the address at which hosts mount pools.
    pub(crate) fn set_address(&self, address: IpAddr) {
        *self.0.address.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    fn pool(&self, id: PoolId) -> Result<Pool, WireError> {
        let pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools
            .get(&id)
            .cloned()
            .ok_or_else(|| WireError::new(ErrorCode::NotFound, format!("there is no pool {id}")))
    }

    /// Makes a pool and exports it.
    ///
    /// # Errors
    /// When the folder is outside the roots, or holds something else.
    pub async fn pool_put(&self, id: PoolId, plan: PoolPlan) -> Result<PoolStatus, WireError> {
        let _turn = self.0.turn.lock().await;
        let folder = Path::new(&plan.path);
        let inside = self.0.roots.iter().any(|root| folder.starts_with(root) && folder != root);
        let plain = folder.components().all(|part| !matches!(part, std::path::Component::ParentDir));
        if !inside || !plain || plan.path.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let roots: Vec<String> = self.0.roots.iter().map(|root| root.display().to_string()).collect();
            let rule = format!("path: must be a folder below {}, where pools may be", roots.join(" or "));
            return Err(WireError::new(ErrorCode::Invalid, rule));
        }
        if !plan.hosts.iter().all(|host| host.parse::<IpAddr>().is_ok()) {
            return Err(WireError::new(ErrorCode::Invalid, "hosts: must be addresses"));
        }
        let pool = match self.pool(id) {
            Ok(pool) if pool.folder == folder => pool,
            Ok(_) => return Err(WireError::new(ErrorCode::Conflict, "path: the pool is in another folder")),
            Err(_) => Pool::open(id, folder, self.0.owner)?,
        };
        self.0.pools.lock().unwrap_or_else(PoisonError::into_inner).insert(id, pool.clone());
        self.write_list()?;
        self.0.exporter.export(id, folder, &plan.hosts).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, pool = %id, "cannot export a pool");
            WireError::new(ErrorCode::Internal, format!("cannot export the pool: {error}"))
        })?;
        Ok(self.status(&pool))
    }

    /// Removes a pool without volumes; success when there is none.
    ///
    /// # Errors
    /// When there are volumes in it.
    pub async fn pool_delete(&self, id: PoolId) -> Result<(), WireError> {
        let _turn = self.0.turn.lock().await;
        let Ok(pool) = self.pool(id) else { return Ok(()) };
        if !pool.contents().volumes.is_empty() {
            return Err(WireError::new(ErrorCode::Conflict, "there are volumes in the pool"));
        }
        self.0.exporter.withdraw(id).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, pool = %id, "cannot end an export");
            WireError::new(ErrorCode::Internal, format!("cannot end the export: {error}"))
        })?;
        pool.remove()?;
        self.0.pools.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.write_list()
    }

    fn write_list(&self) -> Result<(), WireError> {
        let pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let list = List { pools: pools.iter().map(|(id, pool)| (*id, pool.folder.clone())).collect() };
        let failed = |error: std::io::Error| {
            WireError::new(ErrorCode::Internal, format!("cannot write the list of pools: {error}"))
        };
        let text = serde_json::to_vec(&list).map_err(|error| failed(error.into()))?;
        if let Some(folder) = self.0.list.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        write_file(&self.0.list, &text, 0o600).map_err(failed)
    }

    fn status(&self, pool: &Pool) -> PoolStatus {
        let (capacity, used, allocated) = pool.space();
        let address = *self.0.address.lock().unwrap_or_else(PoisonError::into_inner);
        PoolStatus {
            pool: pool.id,
            server: address.map(|address| address.to_string()).unwrap_or_default(),
            export: pool.folder.display().to_string(),
            capacity,
            used,
            allocated,
        }
    }

    /// How all pools are.
    pub fn statuses(&self) -> Vec<PoolStatus> {
        let pools: Vec<Pool> =
            self.0.pools.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let mut statuses: Vec<PoolStatus> = pools.iter().map(|pool| self.status(pool)).collect();
        statuses.sort_by_key(|status| status.pool);
        statuses
    }

    /// Brings a template in; answers when it is there, has failed, or the time is up.
    ///
    /// # Errors
    /// When there is no such pool.
    pub async fn template_put(
        &self,
        id: PoolId,
        sha256: Sha256,
        plan: TemplatePlan,
    ) -> Result<TemplateStatus, WireError> {
        let pool = self.pool(id)?;
        if let Some((size, virtual_size)) = pool.template(sha256) {
            return Ok(TemplateStatus::Ready { size, virtual_size });
        }
        let mut status = self.import(pool, sha256, plan.source);
        let ended = |status: &TemplateStatus| !matches!(status, TemplateStatus::Importing { .. });
        let wait = Duration::from_millis(plan.wait_ms.min(60_000));
        let _ = tokio::time::timeout(wait, status.wait_for(ended)).await;
        let status = status.borrow().clone();
        if ended(&status) {
            self.0.imports.lock().unwrap_or_else(PoisonError::into_inner).remove(&(id, sha256));
        }
        Ok(status)
    }

    /// The import of a template: the one under way, or a new one.
    fn import(
        &self,
        pool: Pool,
        sha256: Sha256,
        source: podzol_storage_api::TemplateSource,
    ) -> watch::Receiver<TemplateStatus> {
        let mut imports = self.0.imports.lock().unwrap_or_else(PoisonError::into_inner);
        let id = pool.id;
        imports
            .entry((id, sha256))
            .or_insert_with(|| {
                let (sender, receiver) =
                    watch::channel(TemplateStatus::Importing { done: ByteSize(0), total: None });
                tokio::spawn(import::run(pool, sha256, source, self.0.client.clone(), sender));
                receiver
            })
            .clone()
    }

    /// Removes a template.
    ///
    /// # Errors
    /// When a volume is based on it.
    pub fn template_delete(&self, id: PoolId, sha256: Sha256) -> Result<(), WireError> {
        self.pool(id)?.template_delete(sha256)
    }

    /// Makes a volume.
    ///
    /// # Errors
    /// See [`Pool::volume_put`].
    pub fn volume_put(
        &self,
        id: PoolId,
        volume: VolumeId,
        plan: &VolumePlan,
    ) -> Result<VolumeStatus, WireError> {
        self.pool(id)?.volume_put(volume, plan)
    }

    /// Destroys a volume; success when there is none, or no such pool.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn volume_delete(&self, id: PoolId, volume: VolumeId) -> Result<(), WireError> {
        self.pool(id)?.volume_delete(volume)
    }

    /// What is in a pool.
    ///
    /// # Errors
    /// When there is no such pool.
    pub fn contents(&self, id: PoolId) -> Result<Contents, WireError> {
        Ok(self.pool(id)?.contents())
    }
}
