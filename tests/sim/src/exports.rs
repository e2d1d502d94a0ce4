//! What simulated storage servers export: the wire between [`SimStorage`](crate::SimStorage) and the mounts of hosts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use podzol_storage_agent::export::{ExportError, Exporter};
use podzol_vocab::PoolId;

use crate::Locks;
use crate::fault::{Faults, Step};

/// The exports of a pod's storage servers. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Exports {
    all: Arc<Mutex<All>>,
    locks: Locks,
    faults: Arc<Faults>,
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

    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Changes to whom a folder is exported, as somebody on the storage server would.
    pub fn edit(&self, folder: &Path, edit: impl FnOnce(&mut Vec<String>)) {
        if let Some((_, hosts)) = self.all().values_mut().find(|(exported, _)| exported == folder) {
            edit(hosts);
        }
    }

    /// The folders that are exported, each with the addresses to which it is.
    pub fn all_of_them(&self) -> BTreeMap<PathBuf, Vec<String>> {
        self.all().values().cloned().collect()
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
        let export = || {
            self.all().insert(pool, (folder.to_owned(), hosts.to_vec()));
            Ok(())
        };
        self.faults.run(Step::Export, export).await
    }

    async fn withdraw(&self, pool: PoolId, _folder: &Path) -> Result<(), ExportError> {
        let withdraw = || {
            self.all().remove(&pool);
            Ok(())
        };
        self.faults.run(Step::Withdraw, withdraw).await
    }

    async fn exported_to(&self, pool: PoolId, _folder: &Path) -> Result<BTreeSet<String>, ExportError> {
        Ok(self.all().get(&pool).map(|(_, hosts)| hosts.iter().cloned().collect()).unwrap_or_default())
    }
}
