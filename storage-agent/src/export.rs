//! Exporting a pool's folder to hosts.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use podzol_rpc::exec::{self, ExecError};
use podzol_rpc::identity::write_file;
use podzol_vocab::PoolId;

/// How long the export programs may take; the first call starts the kernel's NFS server.
const DEADLINE: Duration = Duration::from_secs(60);

/// Why a folder could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The list of what is exported could not be read.
    #[error("cannot read {path}")]
    Unread {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The list of exports could not be written.
    #[error("cannot write {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A program failed.
    #[error(transparent)]
    Program(#[from] ExecError),
}

/// Makes folders reachable for hosts, and for nobody else. Each call may be made again, and then does all that is left.
pub trait Exporter: Send + Sync + 'static {
    /// Exports a folder to these addresses, in place of those from before.
    fn export(
        &self,
        pool: PoolId,
        folder: &Path,
        hosts: &[String],
    ) -> impl Future<Output = Result<(), ExportError>> + Send;

    /// Ends the export of a folder.
    fn withdraw(&self, pool: PoolId, folder: &Path) -> impl Future<Output = Result<(), ExportError>> + Send;

    /// The addresses to which a folder is exported now.
    fn exported_to(
        &self,
        pool: PoolId,
        folder: &Path,
    ) -> impl Future<Output = Result<BTreeSet<String>, ExportError>> + Send;
}

/// How the NFS server serves (nfs.conf(5)): version 4 only, so that neither rpcbind nor lock daemons are needed; and
/// after a restart clients go on after 10 s instead of 90, as hosts renew their leases that often.
const SETTINGS: &str =
    "[nfsd]\nvers3=n\nvers4=y\nvers4.0=n\nthreads=8\nudp=n\ngrace-time=10\nlease-time=10\n";

const SERVICE: &str = "nfs-server.service";

/// The kernel's NFS server, through exports(5): one file per pool in `/etc/exports.d`.
#[derive(Debug)]
pub struct NfsServer {
    folder: PathBuf,
    settings: PathBuf,
}

impl Default for NfsServer {
    fn default() -> Self {
        Self { folder: "/etc/exports.d".into(), settings: "/etc/nfs.conf.d/podzol.conf".into() }
    }
}

impl NfsServer {
    fn file(&self, pool: PoolId) -> PathBuf {
        self.folder.join(format!("podzol-{pool}.exports"))
    }

    /// Has what the files say be exported. exportfs(8) does what it can, and fails if it cannot do all: a pool whose disk is
    /// away is no failure of the others, so what became of this one is looked up.
    async fn bring_into_force(
        &self,
        pool: PoolId,
        folder: &Path,
        hosts: &BTreeSet<String>,
    ) -> Result<(), ExportError> {
        let Err(error) = exec::run("exportfs", &["-ra"], DEADLINE).await else { return Ok(()) };
        match self.exported_to(pool, folder).await {
            Ok(now) if now == *hosts => {
                tracing::warn!(error = &error as &dyn std::error::Error, "not all pools could be exported");
                Ok(())
            }
            _ => Err(error.into()),
        }
    }

    /// Has the running server take the new settings. If it does not, the next call finds no settings and tries again.
    async fn restart(&self) -> Result<(), ExportError> {
        if let Err(error) = exec::run("systemctl", &["restart", SERVICE], DEADLINE).await {
            let _ = std::fs::remove_file(&self.settings);
            return Err(error.into());
        }
        Ok(())
    }
}

impl Exporter for NfsServer {
    async fn export(&self, pool: PoolId, folder: &Path, hosts: &[String]) -> Result<(), ExportError> {
        write_if_different(&self.file(pool), &exports_line(pool, folder, hosts))?;
        let is_new = write_if_different(&self.settings, SETTINGS)?;
        if !is_served() {
            exec::run("systemctl", &["start", SERVICE], DEADLINE).await?;
        } else if is_new {
            self.restart().await?;
        }
        // Always: that the file was there says not that an earlier call came this far.
        self.bring_into_force(pool, folder, &hosts.iter().cloned().collect()).await
    }

    async fn withdraw(&self, pool: PoolId, folder: &Path) -> Result<(), ExportError> {
        let path = self.file(pool);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(ExportError::File { path, source });
            }
            _ => {}
        }
        self.bring_into_force(pool, folder, &BTreeSet::new()).await
    }

    async fn exported_to(&self, _pool: PoolId, folder: &Path) -> Result<BTreeSet<String>, ExportError> {
        match std::fs::read_to_string(IN_FORCE) {
            Ok(table) => Ok(clients(&table, folder)),
            // Nothing has been exported since the machine was installed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(source) => Err(ExportError::Unread { path: IN_FORCE.into(), source }),
        }
    }
}

/// What is exported now, as exportfs(8) keeps it: a folder, a tab and `client(options)` on each line.
const IN_FORCE: &str = "/var/lib/nfs/etab";

/// The clients to which a folder is exported.
fn clients(table: &str, folder: &Path) -> BTreeSet<String> {
    let client = |line: &str| {
        let (path, client) = line.split_once('\t')?;
        let (client, _options) = client.split_once('(')?;
        (Path::new(path) == folder).then(|| client.to_owned())
    };
    table.lines().filter_map(client).collect()
}

/// Writes a file, if it is not so already. True if it was written.
fn write_if_different(path: &Path, text: &str) -> Result<bool, ExportError> {
    if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(false);
    }
    let failed = |source| ExportError::File { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    write_file(path, text.as_bytes(), 0o644).map_err(failed)?;
    Ok(true)
}

/// Whether the kernel's NFS server runs: it has threads (nfsd(7)).
fn is_served() -> bool {
    std::fs::read_to_string("/proc/fs/nfsd/threads").is_ok_and(|threads| threads.trim() != "0")
}

/// The line of exports(5). `root_squash`: root on a host is nobody here, and only QEMU's user gets at volumes. The file
/// system id is the pool's own, so that mounts survive a restart of the server.
fn exports_line(pool: PoolId, folder: &Path, hosts: &[String]) -> String {
    let options = format!("rw,sync,no_subtree_check,root_squash,fsid={pool}");
    let clients: Vec<String> = hosts.iter().map(|host| format!("{host}({options})")).collect();
    if clients.is_empty() {
        return format!("# {} is exported to no host yet\n", folder.display());
    }
    format!("{} {}\n", folder.display(), clients.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_of_a_folder_are_read_from_what_is_in_force() {
        let options = "rw,sync,wdelay,hide,nocrossmnt,secure,root_squash,no_all_squash,no_subtree_check";
        let line = |folder: &str, client: &str| format!("{folder}\t{client}({options})\n");
        let table =
            line("/srv/p", "10.0.0.11") + &line("/srv/p", "10.0.0.12") + &line("/srv/pp", "10.0.0.13");
        let found = |folder: &str| clients(&table, Path::new(folder)).into_iter().collect::<Vec<_>>();
        assert_eq!(found("/srv/p"), ["10.0.0.11", "10.0.0.12"]);
        assert_eq!(found("/srv/pp"), ["10.0.0.13"]);
        assert_eq!(found("/srv"), Vec::<String>::new());
    }

    #[test]
    fn a_pool_is_exported_to_its_hosts_alone() {
        let pool = PoolId::from_bytes([0; 16]);
        let hosts = ["10.0.0.11".to_owned(), "10.0.0.12".to_owned()];
        let options = "rw,sync,no_subtree_check,root_squash,fsid=00000000-0000-0000-0000-000000000000";
        assert_eq!(
            exports_line(pool, Path::new("/srv/p"), &hosts),
            format!("/srv/p 10.0.0.11({options}) 10.0.0.12({options})\n")
        );
        assert!(exports_line(pool, Path::new("/srv/p"), &[]).starts_with('#'));
    }
}
