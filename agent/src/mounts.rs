//! Pools that this host has mounted.

use std::collections::HashSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use podzol_rpc::exec::{self, ExecError};
use sha2::Digest;

/// How long mounting and unmounting may take. A first mount on an emulated host takes two seconds.
const DEADLINE: Duration = Duration::from_secs(45);

/// A folder that a storage server exports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Export {
    /// The storage server's address.
    pub server: String,
    /// The exported folder.
    pub path: String,
}

/// Why a pool could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
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

    /// Unmounts all exports but these. One that is still in use stays.
    fn keep_only(&self, exports: &HashSet<Export>) -> impl Future<Output = ()> + Send;

    /// What is mounted: source and target.
    fn mounted(&self) -> Vec<(String, PathBuf)>;
}

/// NFS 4.2 mounts below one folder.
#[derive(Debug)]
pub struct NfsMounts {
    folder: PathBuf,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl NfsMounts {
    /// Mounts below this folder. All mounts below it are Podzol's.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, one_at_a_time: tokio::sync::Mutex::default() }
    }

    /// Where an export is mounted: a name of fixed length, whatever the path.
    fn target(&self, export: &Export) -> PathBuf {
        let digest = sha2::Sha256::digest(format!("{}:{}", export.server, export.path));
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name)
    }
}

impl Mounts for NfsMounts {
    async fn mount(&self, export: &Export) -> Result<PathBuf, MountError> {
        let _turn = self.one_at_a_time.lock().await;
        let target = self.target(export);
        if self.mounted().iter().any(|(_, at)| *at == target) {
            return Ok(target);
        }
        std::fs::create_dir_all(&target)
            .map_err(|source| MountError::Folder { path: target.clone(), source })?;
        let source = format!("{}:{}", export.server, export.path);
        // `hard`: a storage server that is away makes VMs wait, and not see I/O errors.
        let options = "vers=4.2,proto=tcp,hard,timeo=100,retrans=3,noatime,nosuid,nodev,noexec";
        let at = target.display().to_string();
        exec::run("mount", &["-t", "nfs4", "-o", options, &source, &at], DEADLINE).await?;
        Ok(target)
    }

    async fn keep_only(&self, exports: &HashSet<Export>) {
        let _turn = self.one_at_a_time.lock().await;
        let keep: HashSet<PathBuf> = exports.iter().map(|export| self.target(export)).collect();
        for (source, target) in self.mounted() {
            if keep.contains(&target) {
                continue;
            }
            match exec::run("umount", &[&target.display().to_string()], DEADLINE).await {
                Ok(_) => drop(std::fs::remove_dir(&target)),
                Err(error) => tracing::warn!(%error, source, "cannot unmount a pool; trying again later"),
            }
        }
    }

    fn mounted(&self) -> Vec<(String, PathBuf)> {
        let text = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        mounts_below(&text, &self.folder)
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
        let found = mounts_below(text, Path::new("/var/lib/podzol/agent/pools"));
        assert_eq!(found, [("10.0.0.3:/srv/p".to_owned(), "/var/lib/podzol/agent/pools/ab".into())]);
    }
}
