//! What simulated storage servers export: the wire between [`SimStorage`](crate::SimStorage) and the mounts of hosts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use podzol_storage_agent::export::{ExportError, Exporter};
use podzol_vocab::PoolId;

use crate::Locks;

/// The exports of a pod's storage servers. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Exports {
    all: Arc<Mutex<All>>,
    locks: Locks,
}

/// Of each pool: its folder, and the addresses to which it is exported.
type All = HashMap<PoolId, (PathBuf, Vec<String>)>;

impl Exports {
    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The locks on the images in what is exported.
    pub fn locks(&self) -> &Locks {
        &self.locks
    }

    /// Whether a folder is exported to a host with this address.
    pub fn allows(&self, folder: &Path, address: &str) -> bool {
        self.all()
            .values()
            .any(|(exported, hosts)| exported == folder && hosts.iter().any(|host| host == address))
    }

    /// The addresses to which a folder is exported.
    pub fn of(&self, folder: &Path) -> Vec<String> {
        let all = self.all();
        all.values()
            .find(|(exported, _)| exported == folder)
            .map(|(_, hosts)| hosts.clone())
            .unwrap_or_default()
    }
}

impl Exporter for Exports {
    async fn export(&self, pool: PoolId, folder: &Path, hosts: &[String]) -> Result<(), ExportError> {
        self.all().insert(pool, (folder.to_owned(), hosts.to_vec()));
        Ok(())
    }

    async fn withdraw(&self, pool: PoolId) -> Result<(), ExportError> {
        self.all().remove(&pool);
        Ok(())
    }
}
