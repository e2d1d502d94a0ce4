//! Pools that this host has mounted.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use podzol_rpc::exec::{self, ExecError};
use sha2::Digest;
use tokio::sync::OwnedMutexGuard;

/// How long mounting may take. A first mount on an emulated host takes two seconds.
const MOUNT: Duration = Duration::from_secs(45);

/// How long unmounting may take. It waits for a storage server that is away, and is tried again later.
const UNMOUNT: Duration = Duration::from_secs(15);

/// A folder that a storage server exports. The server is an IPv4 or IPv6 address, or a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Export {
    /// The storage server's address.
    pub server: String,
    /// The exported folder.
    pub path: String,
}

impl Export {
    /// The export as mount.nfs(8) takes it: an IPv6 address stands in brackets.
    fn source(&self) -> String {
        match self.server.parse::<Ipv6Addr>() {
            Ok(server) => format!("[{server}]:{}", self.path),
            Err(_) => format!("{}:{}", self.server, self.path),
        }
    }
}

/// Why a pool could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// What is mounted cannot be read.
    #[error("cannot read what is mounted")]
    Table(#[source] std::io::Error),
    /// The folder to mount on could not be made or read.
    #[error("cannot use {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Mounting or unmounting failed.
    #[error(transparent)]
    Program(#[from] ExecError),
}

/// Mounts and unmounts pools. Every call can be repeated.
pub trait Mounts: Send + Sync + 'static {
    /// Mounts an export, if it is not, and says where.
    fn mount(&self, export: &Export) -> impl Future<Output = Result<PathBuf, MountError>> + Send;

    /// Unmounts all exports but those that are needed, which is asked again for each: another may be needed meanwhile.
    /// One that is still in use stays.
    fn keep_only(
        &self,
        needed: impl Fn() -> HashSet<Export> + Send + Sync,
    ) -> impl Future<Output = ()> + Send;

    /// What is mounted: source and target.
    fn mounted(&self) -> Vec<(String, PathBuf)>;
}

/// NFS 4.2 mounts below one folder.
#[derive(Debug)]
pub struct NfsMounts {
    folder: PathBuf,
    /// One thing at a time is done to a target; a storage server that hangs holds up nobody but itself.
    turns: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
}

impl NfsMounts {
    /// Mounts below this folder, which is named as the kernel names it: without symbolic links. All mounts below it are
    /// Podzol's.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, turns: Mutex::default() }
    }

    /// Where an export is mounted: a name of fixed length, whatever the path.
    fn target(&self, export: &Export) -> PathBuf {
        let digest = sha2::Sha256::digest(format!("{}:{}", export.server, export.path));
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name)
    }

    /// Held while something is done to a target. There are as many as exports were ever mounted: a few.
    fn turn_of(&self, target: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(target.to_owned()).or_default())
    }

    async fn turn(&self, target: &Path) -> OwnedMutexGuard<()> {
        self.turn_of(target).lock_owned().await
    }

    fn is_mounted(&self, target: &Path) -> std::io::Result<bool> {
        Ok(self.table()?.iter().any(|(_, at)| at == target))
    }

    /// Others on this machine may have mounts with names that are no text.
    fn table(&self) -> std::io::Result<Vec<(String, PathBuf)>> {
        let bytes = std::fs::read("/proc/self/mounts")?;
        Ok(mounts_below(&String::from_utf8_lossy(&bytes), &self.folder))
    }
}

impl Mounts for NfsMounts {
    async fn mount(&self, export: &Export) -> Result<PathBuf, MountError> {
        let target = self.target(export);
        let _turn = self.turn(&target).await;
        if self.is_mounted(&target).map_err(MountError::Table)? {
            return Ok(target);
        }
        tokio::fs::create_dir_all(&target)
            .await
            .map_err(|source| MountError::Folder { path: target.clone(), source })?;
        // `hard`: a storage server that is away makes VMs wait, and not see I/O errors.
        let options = "vers=4.2,proto=tcp,hard,timeo=100,retrans=3,noatime,nosuid,nodev,noexec";
        let at = target.display().to_string();
        exec::run("mount", &["-t", "nfs4", "-o", options, &export.source(), &at], MOUNT).await?;
        Ok(target)
    }

    async fn keep_only(&self, needed: impl Fn() -> HashSet<Export> + Send + Sync) {
        for (source, target) in self.mounted() {
            let is_needed = || needed().iter().any(|export| self.target(export) == target);
            if is_needed() {
                continue;
            }
            // Whoever is at it mounts it for a VM, or waits for a storage server that is away; nobody else waits too.
            let Ok(_turn) = self.turn_of(&target).try_lock_owned() else { continue };
            if is_needed() || !self.is_mounted(&target).unwrap_or(false) {
                continue;
            }
            match exec::run("umount", &[&target.display().to_string()], UNMOUNT).await {
                Ok(_) => drop(tokio::fs::remove_dir(&target).await),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    source,
                    "cannot unmount a pool; trying again later"
                ),
            }
        }
    }

    fn mounted(&self) -> Vec<(String, PathBuf)> {
        self.table().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read what is mounted");
            Vec::new()
        })
    }
}

/// The mounts below a folder, from the text of `/proc/self/mounts` (fstab(5): source, target, …).
fn mounts_below(text: &str, folder: &Path) -> Vec<(String, PathBuf)> {
    let parse = |line: &str| {
        let mut fields = line.split(' ');
        let (source, target) = (fields.next()?.to_owned(), PathBuf::from(fields.next()?));
        (target != folder && target.starts_with(folder)).then_some((source, target))
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_below_the_folder_are_ours() {
        let text = "proc /proc proc rw 0 0\n10.0.0.3:/srv/p /var/lib/podzol/agent/pools/ab nfs4 rw 0 0\n\
                    tmpfs /var/lib/podzol/agent/poolside tmpfs rw 0 0\n";
        let text = [text.as_bytes(), b"tmpfs /media/\xe4 tmpfs rw 0 0\n"].concat();
        let found = mounts_below(&String::from_utf8_lossy(&text), Path::new("/var/lib/podzol/agent/pools"));
        assert_eq!(found, [("10.0.0.3:/srv/p".to_owned(), "/var/lib/podzol/agent/pools/ab".into())]);
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        let source = |server: &str| Export { server: server.into(), path: "/srv/p".into() }.source();
        assert_eq!(source("10.0.0.3"), "10.0.0.3:/srv/p");
        assert_eq!(source("fd00::3"), "[fd00::3]:/srv/p");
        assert_eq!(source("storage-1"), "storage-1:/srv/p");
    }

    #[tokio::test]
    async fn what_is_done_to_one_export_holds_up_no_other() {
        let mounts = NfsMounts::new("/nowhere".into());
        let _hangs = mounts.turn(Path::new("/nowhere/a")).await;
        let _goes_on = mounts.turn(Path::new("/nowhere/b")).await;
        assert!(mounts.turns.lock().unwrap()[Path::new("/nowhere/a")].try_lock().is_err());
    }
}
