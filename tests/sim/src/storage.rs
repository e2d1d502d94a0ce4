//! A simulated storage server with the real agent on it: its pools are folders on this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use podzol_rpc::join::{JoinToken, join};
use podzol_rpc::{Identity, PeerId};
use podzol_storage_agent::config::Config;
use podzol_test_support::{ControlPlane, Process};
use tempfile::TempDir;

use crate::Exports;
use crate::fault::Faults;

/// A simulated storage server. Its agent can be stopped, killed and started again; its pools stay.
pub struct SimStorage {
    /// Its id.
    pub id: String,
    /// Its identity.
    pub identity: Identity,
    /// What it exports.
    pub exports: Exports,
    config: Config,
    folder: TempDir,
    agent: Option<Process>,
}

impl SimStorage {
    /// A new storage server of a pod, joined and with its agent running.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn join(control_plane: &ControlPlane, pod: &str, name: &str, report_secs: u64) -> Self {
        let (id, token) = control_plane.admin.storage_server(name, pod).await;
        let token: JoinToken = token.parse().expect("the API gives valid tokens");
        let identity = join(&control_plane.agent_address(), &token).await.expect("the token is good");
        Self::joined(control_plane, (id, identity), Exports::default(), report_secs)
    }

    /// A storage server that has joined, with its agent running.
    ///
    /// # Panics
    /// When there is no room for its folder.
    pub fn joined(
        control_plane: &ControlPlane,
        (id, identity): (String, Identity),
        exports: Exports,
        report_secs: u64,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 2, 1));
        let config = Config {
            management: control_plane.agent_address(),
            listen: SocketAddr::new(address, 0),
            address: Some(address),
            state_dir: folder.path().join("state"),
            pool_roots: vec![folder.path().join("pools")],
            template_keys: Vec::new(),
            volume_owner: 64055,
            report_secs,
            log: String::new(),
        };
        let mut storage = Self { id, identity, exports, config, folder, agent: None };
        storage.start_agent();
        storage
    }

    /// Its identity among Podzol's parts.
    ///
    /// # Panics
    /// Never: its id is one.
    pub fn peer(&self) -> PeerId {
        PeerId::StorageServer(self.id.parse().expect("a storage server's id is one"))
    }

    /// Starts its agent.
    pub fn start_agent(&mut self) {
        let (config, identity) = (self.config.clone(), self.identity.clone());
        let exports = self.exports.clone();
        self.agent = Some(Process::start("storage", |stop| {
            podzol_storage_agent::serve(config, identity, exports, stop)
        }));
    }

    /// Takes no templates from now on but those that are signed with this key (PEM).
    ///
    /// # Panics
    /// When there is no room for its file.
    pub fn trust(&mut self, public_key: &str) {
        let file = self.folder.path().join("template.pub");
        std::fs::write(&file, public_key).expect("there is room");
        self.config.template_keys = vec![file];
        self.restart_agent();
    }

    /// Kills its agent.
    pub fn kill_agent(&mut self) {
        self.agent = None;
    }

    /// Kills its agent, and starts it again.
    pub fn restart_agent(&mut self) {
        self.kill_agent();
        self.start_agent();
    }

    /// The faults of [`Step::OF_STORAGE`](crate::Step::OF_STORAGE).
    pub fn faults(&self) -> &Faults {
        self.exports.faults()
    }

    /// The folder of a pool of that name.
    pub fn pool_folder(&self, pool: &str) -> PathBuf {
        self.folder.path().join("pools").join(pool)
    }

    /// The files of the volumes in a pool.
    pub fn volumes(&self, pool: &str) -> Vec<String> {
        files(&self.pool_folder(pool).join("volumes"))
    }

    /// The files of templates in a pool, whole or under way.
    pub fn templates(&self, pool: &str) -> Vec<String> {
        let folder = self.pool_folder(pool);
        [files(&folder.join("templates")), files(&folder.join("incoming"))].concat()
    }
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
