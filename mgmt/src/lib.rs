//! The management service, wired together: database, authority, use cases, engine, reconcilers, and two listeners.
//!
//! It holds no state of its own: killed at any moment, the next start goes on from the database.

pub mod config;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use podzol_mgmt_app::{App, Authority, ConsoleSettings, Settings};
use podzol_mgmt_db::Db;
use podzol_mgmt_dns::ConsoleNames;
use podzol_mgmt_operations::Engine;
use podzol_rpc::tls::{self, Clients};
use podzol_rpc::{AddressBook, Client, Identity, server};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Console};

/// A service that is ready to run: its listeners are bound, so clients may connect already.
pub struct Service {
    app: App,
    db: Db,
    identity: Identity,
    api: TcpListener,
    agents: TcpListener,
    names: Option<ConsoleNames>,
    dns: Option<podzol_mgmt_dns::Server>,
}

/// Serves until `stop` is cancelled.
///
/// # Errors
/// When the service cannot be started.
pub async fn serve(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let service = Service::new(config).await?;
    tracing::info!(api = %service.api_address()?, agents = %service.agent_address()?, "serving");
    service.run(stop).await
}

impl Service {
    /// Opens the data folder, making what is missing, and binds the listeners.
    ///
    /// # Errors
    /// When a file, the database or a listener cannot be opened.
    pub async fn new(config: Config) -> anyhow::Result<Self> {
        let data = &config.data_dir;
        private_folder(data)?;
        // First, as it keeps a second service off the whole folder.
        let db = Db::open(&data.join("podzol.sqlite")).await.context("cannot open the database")?;
        let authority =
            Authority::open(&data.join("authority")).context("cannot open the certificate authority")?;
        let identity = authority.own_identity(&config.names, &config.addresses)?;
        let book = AddressBook::default();
        let peers = Client::new(&identity, book.clone())?;
        let names = config.console.as_ref().map(|console| console_names(console, &authority));
        let settings = Settings {
            template_folder: data.join("templates"),
            cpu_overcommit: config.cpu_overcommit,
            memory_overcommit_percent: config.memory_overcommit_percent,
            storage_overcommit: config.storage_overcommit,
            silent_after: Duration::from_secs(config.silent_secs),
            token_lifetime: Duration::from_secs(config.join_token_secs),
            leftover_after: Duration::from_secs(config.leftover_secs),
            start_deadline: Duration::from_secs(config.vm_start_secs),
            expunge_after: Duration::from_secs(config.vm_expunge_secs),
            events_kept: Duration::from_secs(config.event_days * 86_400),
            router_idle: Duration::from_secs(config.router_idle_secs),
            router_connections_per_vm: config.router_connections_per_vm,
            console: match (&config.console, &names) {
                (Some(console), Some(names)) => Some(console_settings(&config, console, names.clone())?),
                _ => None,
            },
            api_requests_per_second: config.api_requests_per_second,
            api_requests_at_once: config.api_requests_at_once,
        };
        let ca_file = data.join("ca.pem");
        podzol_rpc::identity::write_file(&ca_file, authority.ca_pem().as_bytes(), 0o644)?;
        let app = App::new(db.clone(), Arc::new(authority), peers, book, settings);
        app.bootstrap(|key| {
            let text = format!("{}\n", key.expose());
            podzol_rpc::identity::write_file(&data.join("admin.key"), text.as_bytes(), 0o600)
        })
        .await?;
        app.load_addresses().await?;
        let api = listen(config.api_listen).await?;
        let agents = listen(config.agent_listen).await?;
        let dns = match (config.console.as_ref().and_then(|console| console.dns.as_ref()), &names) {
            (Some(dns), Some(names)) => {
                Some(podzol_mgmt_dns::Server::bind(names.clone(), &dns.settings()).await?)
            }
            _ => None,
        };
        for counter in dns.iter().flat_map(|dns| dns.counters().collectors()) {
            app.metrics().add(counter);
        }
        Ok(Self { app, db, identity, api, agents, names, dns })
    }

    /// The names of console proxies, if there are to be consoles.
    pub fn console_names(&self) -> Option<&ConsoleNames> {
        self.names.as_ref()
    }

    /// Where the name server of the console domain listens, if there is one.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn dns_addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        self.dns.as_ref().map_or(Ok(Vec::new()), |dns| dns.addresses())
    }

    /// Where the API listens.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn api_address(&self) -> std::io::Result<SocketAddr> {
        self.api.local_addr()
    }

    /// Where agents are listened to.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn agent_address(&self) -> std::io::Result<SocketAddr> {
        self.agents.local_addr()
    }

    /// Runs all parts until `stop` is cancelled, then lets what is under way end.
    ///
    /// # Errors
    /// When the TLS settings or the database cannot be used.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let public_tls = Arc::new(tls::public_server_config(&self.identity)?);
        let peer_tls = Arc::new(tls::server_config(&self.identity, Clients::MayJoin)?);
        let owner = format!("{}-{}", std::process::id(), uuid::Uuid::now_v7());
        let worker = self.app.behind_calls();
        let engine = Engine::new(self.db.behind(), Arc::new(worker.clone()), owner, self.app.wake());
        let public = podzol_mgmt_http::public_router(self.app.clone());
        let peers = podzol_mgmt_http::peer_router(self.app.clone());
        // Before anybody is told that a name is none.
        self.app.name_console_proxies().await?;
        let (refused, stopped) = (self.app.clone(), self.app.clone());
        let asked = stop.clone();
        tokio::join!(
            async {
                asked.cancelled().await;
                stopped.stop();
            },
            server::serve_anyone(self.api, public_tls, public, Arc::new(|_, _| ()), stop.clone()),
            server::serve(
                self.agents,
                peer_tls,
                peers,
                Arc::new(move |address, reason| {
                    let app = refused.clone();
                    tokio::spawn(async move { app.connection_refused(address, &reason).await });
                }),
                stop.clone(),
            ),
            engine.run(stop.clone()),
            worker.reconcile(stop.clone()),
            async {
                if let Some(dns) = self.dns {
                    dns.run(stop).await;
                }
            },
        );
        Ok(self.db.close().await?)
    }
}

fn console_names(console: &Console, authority: &Authority) -> ConsoleNames {
    ConsoleNames::new(console.domain.clone(), console.names, &authority.key_of_console_names())
}

fn console_settings(
    config: &Config,
    console: &Console,
    names: ConsoleNames,
) -> anyhow::Result<ConsoleSettings> {
    let api_origin = match &console.api_origin {
        Some(origin) => origin.clone(),
        None => config.api_origin().context("console.api_origin: must be given")?,
    };
    Ok(ConsoleSettings {
        names,
        api_origin,
        port: console.port,
        sessions_per_server: console.sessions_per_server,
        servers_per_proxy: console.servers_per_proxy,
        most_proxies: console.most_proxies,
        reserve: console.reserve_sessions,
        margin: console.margin_sessions,
        surplus_for: Duration::from_secs(console.surplus_secs),
        start_within: Duration::from_secs(console.start_secs),
        drain_within: Duration::from_secs(console.drain_secs),
        session_idle: Duration::from_secs(console.session_idle_secs),
        session_lifetime: Duration::from_secs(console.session_secs),
        nudge: console.nudge,
    })
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// Makes a folder that only its owner can look into.
fn private_folder(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(path, private).with_context(|| format!("cannot protect {}", path.display()))
}
