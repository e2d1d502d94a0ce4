//! Mounts in memory: an exported folder is used where it is.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use podzol_agent::mounts::{Export, MountError, Mounts};
use podzol_rpc::exec::ExecError;

use crate::Exports;
use crate::fault::{Faults, Step};

/// The mounts of a host, of what is exported to its address.
#[derive(Debug)]
pub struct SimulatedMounts {
    address: String,
    exports: Exports,
    mounted: Mutex<BTreeMap<PathBuf, String>>,
    faults: Arc<Faults>,
}

impl SimulatedMounts {
    pub(crate) fn new(address: String, exports: Exports, faults: Arc<Faults>) -> Self {
        Self { address, exports, mounted: Mutex::default(), faults }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<PathBuf, String>> {
        self.mounted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mounts for SimulatedMounts {
    async fn mount(&self, export: &Export) -> Result<PathBuf, MountError> {
        let folder = PathBuf::from(&export.path);
        let source = format!("{}:{}", export.server, export.path);
        let mount = || {
            if !self.exports.allows(&folder, &self.address) {
                return Err(ExecError::Failed {
                    command: format!("mount {source}"),
                    status: ExitStatus::from_raw(32 << 8),
                    stderr: "access denied by server while mounting".into(),
                }
                .into());
            }
            self.all().insert(folder.clone(), source);
            Ok(folder)
        };
        self.faults.run(Step::Mount, mount).await
    }

    async fn keep_only(&self, needed: impl Fn() -> HashSet<Export> + Send + Sync) {
        let mut all = self.all();
        let keep: HashSet<PathBuf> = needed().iter().map(|export| PathBuf::from(&export.path)).collect();
        all.retain(|folder, _| keep.contains(folder));
    }

    fn mounted(&self) -> Vec<(String, PathBuf)> {
        self.all().iter().map(|(folder, source)| (source.clone(), folder.clone())).collect()
    }
}
