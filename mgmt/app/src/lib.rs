//! Use cases and reconcilers of the management service: what may happen, in what order, and who is told.
//!
//! A use case is one transaction: it checks the rules, allocates all that the change needs (host, address, VLAN,
//! volume), writes the new desired state and an operation, and commits. Only then is an agent told, by [`work`]. So
//! nothing ever has to be undone that an agent has not been told of.
//!
//! This crate knows no HTTP and no SQL. It fails by [`AppError`], whose variants say what the caller can do about it.

mod account;
mod account_traffic;
mod actor;
mod affinity;
pub mod authority;
mod busy;
mod capacity;
pub mod certificate;
mod changes;
mod console;
mod doctor;
mod error;
mod event;
mod heard;
mod identity;
mod join;
mod limits;
mod metrics;
mod network;
mod offering;
mod once;
mod operation;
mod place;
mod plan;
mod pool;
mod public_ip;
mod quota;
mod rate;
pub mod reconcile;
mod report;
mod router;
mod rule;
mod server;
mod system;
mod template;
mod view;
mod vm;
mod volume;
mod vxlans;
pub mod work;
mod zone;
mod zone6;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use podzol_mgmt_db::Db;
use podzol_rpc::{AddressBook, Client};
use podzol_vocab::{HostId, PoolId, VolumeId};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use actor::Actor;
pub use authority::Authority;
pub use busy::Admitted;
pub use changes::ChangeStream;
pub use console::{ConsoleSettings, Resumed};
pub use error::AppError;
pub use metrics::Metrics;
pub use once::{Once, Secretive};
pub use rule::Rule;

/// The management service without its rim: all use cases are methods of it. Cloning is cheap.
#[derive(Clone)]
pub struct App {
    pub(crate) db: Db,
    pub(crate) authority: Arc<Authority>,
    pub(crate) peers: Client,
    pub(crate) book: AddressBook,
    pub(crate) wake: Arc<Notify>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: Arc<Settings>,
    /// What is under way in this process alone.
    pub(crate) here: Arc<Here>,
    pub(crate) heard: Arc<heard::Heard>,
    pub(crate) rates: Arc<rate::Rates>,
    /// Pages that ask to go on elsewhere, by where they ask from.
    pub(crate) resumes: Arc<rate::Rates<std::net::IpAddr>>,
    pub(crate) busy: Arc<busy::Busy>,
    pub(crate) stopping: CancellationToken,
}

/// What a process remembers for as long as it runs; nothing is lost with it.
#[derive(Debug)]
pub(crate) struct Here {
    /// When it began.
    pub(crate) since: Instant,
    pub(crate) awake: reconcile::silent::Awake,
    /// Hosts from which VMs are being removed.
    pub(crate) clearing: Mutex<HashSet<HostId>>,
    /// When volumes that no VM has were first seen in their pools.
    pub(crate) leftovers: Mutex<HashMap<(PoolId, VolumeId), Instant>>,
    /// What was refused here of late.
    pub(crate) refusals: event::Recorded,
    /// What servers told of late that they had refused.
    pub(crate) told_refusals: event::Recorded,
    /// Where the tunnels of networks on VXLANs end.
    pub(crate) vxlans: vxlans::Vxlans,
    /// What is known of routers.
    pub(crate) routers: router::known::Routers,
    /// What was done about routers that hang.
    pub(crate) hung: router::hung::Hung,
    /// When a router was last replaced as its identity ends.
    pub(crate) renewed: Mutex<Option<Instant>>,
    /// What is known of console proxies.
    pub(crate) consoles: console::known::Consoles,
    /// Which management server this is among others, from its start to its end.
    pub(crate) owner: String,
    /// The hosts as placement sees them.
    pub(crate) places: Mutex<place::Places>,
}

/// What [`Settings::router_connections_per_vm`] may be: what a router's document may say.
pub const ROUTER_CONNECTIONS_PER_VM: std::ops::RangeInclusive<u32> =
    podzol_appliance_api::limits::MIN_FOLLOWED_OF_VM..=podzol_appliance_api::limits::MAX_FOLLOWED;

/// What an operator may decide about the service's behaviour.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where uploaded templates are kept.
    pub template_folder: PathBuf,
    /// How many virtual CPUs may be placed on each processor of a host.
    pub cpu_overcommit: u32,
    /// How much memory of VMs may be placed on each 100 MiB of a host's.
    pub memory_overcommit_percent: u32,
    /// How many bytes of volumes may be promised for each byte of a pool: volumes take room only as they fill.
    pub storage_overcommit: u32,
    /// How long a host may be silent before it counts as disconnected.
    pub silent_after: std::time::Duration,
    /// How long a join token may be used.
    pub token_lifetime: std::time::Duration,
    /// How long a volume that no VM has is kept.
    pub leftover_after: std::time::Duration,
    /// How long a VM may take to start.
    pub start_deadline: std::time::Duration,
    /// How long a deleted VM can be recovered.
    pub expunge_after: std::time::Duration,
    /// How long it is kept who did what.
    pub events_kept: std::time::Duration,
    /// How long a router is kept that no VM needs.
    pub router_idle: std::time::Duration,
    /// How many connections an address of a VM may have begun through its router at a time.
    pub router_connections_per_vm: u32,
    /// Consoles in a browser; none where there is no domain for them.
    pub console: Option<ConsoleSettings>,
    /// How many API requests a second an account may send on average, where its quotas do not say.
    pub api_requests_per_second: std::num::NonZeroU32,
    /// How many API requests are answered at once; what comes beyond that is told to come again.
    pub api_requests_at_once: std::num::NonZeroUsize,
}

impl App {
    /// Puts the service together.
    pub fn new(
        db: Db,
        authority: Arc<Authority>,
        peers: Client,
        book: AddressBook,
        settings: Settings,
    ) -> Self {
        Self {
            db,
            authority,
            peers,
            book,
            wake: Arc::default(),
            metrics: Arc::default(),
            settings: Arc::new(settings),
            heard: Arc::default(),
            rates: Arc::default(),
            resumes: Arc::default(),
            busy: Arc::default(),
            stopping: CancellationToken::new(),
            here: Arc::new(Here {
                since: Instant::now(),
                awake: reconcile::silent::Awake::new(),
                clearing: Mutex::default(),
                leftovers: Mutex::default(),
                refusals: Mutex::default(),
                told_refusals: Mutex::default(),
                vxlans: vxlans::Vxlans::default(),
                routers: router::known::Routers::default(),
                hung: router::hung::Hung::default(),
                renewed: Mutex::default(),
                consoles: console::known::Consoles::default(),
                owner: format!("{:032x}", rand::random::<u128>()),
                places: Mutex::default(),
            }),
        }
    }

    /// The same service, as operations and reconcilers use it: clients who wait for an answer come before them.
    #[must_use]
    pub fn behind_calls(&self) -> Self {
        Self { db: self.db.behind(), ..self.clone() }
    }

    /// The service's counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Ends what would go on for as long as somebody listens.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Notified whenever an operation may have become due.
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Fills the address book from the database, once at start.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn load_addresses(&self) -> Result<(), AppError> {
        for server in podzol_mgmt_db::server::with_address(self.db.reader()).await? {
            if let Some(address) = &server.address {
                self.book.set(server::peer_of(&server), address.clone());
            }
        }
        Ok(())
    }

    /// Whether the database answers.
    pub async fn is_ready(&self) -> bool {
        podzol_mgmt_db::account::any_user(self.db.reader()).await.is_ok()
    }
}
