//! The management service in this process, on a data folder of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use podzol_mgmt::Service;
use podzol_mgmt::config::Config;
use podzol_mgmt_app::Authority;
use podzol_rpc::Identity;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::{Api, Process, SOON, wait_for};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A management service with a database of its own. It keeps its data folder and its addresses when it is restarted.
pub struct ControlPlane {
    folder: TempDir,
    config: Config,
    process: Option<Process>,
    /// The authority's certificate (PEM).
    pub ca_pem: String,
    /// The API with the first admin's key.
    pub admin: Api,
}

impl ControlPlane {
    /// A new installation.
    pub async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// A new installation with a changed configuration.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let any = SocketAddr::new(LOCALHOST, 0);
        let mut config = Config {
            data_dir: folder.path().join("data"),
            api_listen: any,
            agent_listen: any,
            names: vec![],
            addresses: vec![LOCALHOST],
            log: "info".into(),
            // Simulated VMs need no processor.
            cpu_overcommit: 64,
            memory_overcommit_percent: 100,
            storage_overcommit: 4,
            silent_secs: 15,
            join_token_secs: 3600,
            leftover_secs: 0,
            vm_start_secs: 300,
            vm_expunge_secs: 0,
            event_days: 400,
            router_idle_secs: 900,
            router_connections_per_vm: 32_768,
            api_requests_per_second: const { std::num::NonZeroU32::new(1_000_000).unwrap() },
            api_requests_at_once: const { std::num::NonZeroUsize::new(256).unwrap() },
            console: None,
        };
        change(&mut config);
        let process = run(&mut config).await;
        let read = |name: &str| {
            std::fs::read_to_string(config.data_dir.join(name)).expect("the first start writes its files")
        };
        let ca_pem = read("ca.pem");
        let key = read("admin.key").trim().to_owned();
        let admin = Api::new(config.api_listen, &ca_pem, Some(key));
        Self { folder, config, process: Some(process), ca_pem, admin }
    }

    /// Where agents find it: `address:port`.
    pub fn agent_address(&self) -> String {
        self.config.agent_listen.to_string()
    }

    /// Its data folder.
    pub fn data_dir(&self) -> &Path {
        &self.config.data_dir
    }

    /// A folder of this test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A further identity of the management service, with which a test may ask agents itself.
    ///
    /// # Panics
    /// When the authority cannot be opened.
    pub fn identity(&self) -> Identity {
        let authority = Authority::open(&self.config.data_dir.join("authority"));
        let identity = authority.and_then(|authority| authority.own_identity(&[], &[]));
        identity.expect("the authority makes a certificate")
    }

    /// Stops the service, and waits until all that was under way has ended.
    pub async fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop().await;
        }
    }

    /// Kills the service: nothing that is under way ends properly.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts the service again, on the same data folder and the same addresses.
    pub async fn start_again(&mut self) {
        self.process = Some(run(&mut self.config).await);
    }

    /// Stops the service, and starts it again.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }
}

/// Starts the service, and writes the addresses that it got into its configuration. Tried again while a service that
/// was killed has not let go of them yet.
async fn run(config: &mut Config) -> Process {
    let (process, addresses) = wait_for("the management service", SOON, async || {
        let (tell, mut told) = mpsc::channel(1);
        let config = config.clone();
        let mut process = Process::start("mgmt", |stop| async move {
            let service = Service::new(config).await?;
            let _ = tell.send((service.api_address()?, service.agent_address()?)).await;
            drop(tell);
            service.run(stop).await
        });
        match told.recv().await {
            Some(addresses) => Ok((process, addresses)),
            None => Err(process.failure().await.unwrap_or_default()),
        }
    })
    .await;
    (config.api_listen, config.agent_listen) = addresses;
    process
}
