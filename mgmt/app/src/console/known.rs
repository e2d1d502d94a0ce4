//! What is known of the console proxies that there are: what each was told, and what it said of itself. Nothing here has to
//! last: whoever starts anew asks, and tells all once more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use podzol_console_proxy_api::{Document, ProxyStatus, Session, TicketKey};
use podzol_mgmt_api::Timestamp;
use podzol_vocab::{ConsoleProxyId, ConsoleServerId, ConsoleSessionId};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a console proxy was told since its program's last start.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Which start of the appliance around it is told this.
    pub(super) appliance_boot: Option<String>,
    pub(super) appliance: Option<podzol_appliance_api::Document>,
    /// Which start of the proxy is told this.
    pub(super) boot: Option<String>,
    pub(super) document: Option<Document>,
    pub(super) sessions: BTreeMap<ConsoleSessionId, Session>,
}

/// What a console proxy has said of itself.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) status: Option<ProxyStatus>,
    /// What is wrong with the appliance around it.
    pub(crate) appliance_trouble: Option<String>,
    /// When it said so.
    pub(crate) at: Option<Timestamp>,
    /// When it was first asked something that it has not answered.
    pub(super) unanswered: Option<Instant>,
    /// Since when calls of it have been failing, if they have.
    pub(super) failing: Option<Instant>,
    /// Why it does not take what it is told.
    pub(crate) refuses: Option<String>,
    /// Since when its VM has been on its way, if it is.
    pub(crate) starting: Option<Instant>,
    /// Since when servers of it have been saying that they do not work.
    pub(crate) problems: HashMap<ConsoleServerId, Instant>,
    /// The keys whose tickets it takes.
    pub(super) ticket_keys: Vec<TicketKey>,
    /// When it was last written when its pages were seen.
    pub(super) noted_seen: Option<Instant>,
}

impl Heard {
    fn new() -> Self {
        Self {
            status: None,
            appliance_trouble: None,
            at: None,
            unanswered: None,
            failing: None,
            refuses: None,
            starting: None,
            problems: HashMap::new(),
            ticket_keys: vec![],
            noted_seen: None,
        }
    }

    /// Whether it has answered of late.
    pub(super) fn answers(&self, within: Duration) -> bool {
        self.status.is_some() && !self.is_failing() && self.silent() < within
    }

    /// For how long it has not answered who asks. Nobody asks while this service stands still.
    pub(super) fn silent(&self) -> Duration {
        self.unanswered.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// Whether a server has not said that it does not work.
    pub(super) fn works(&self, server: ConsoleServerId) -> bool {
        !self.problems.contains_key(&server)
    }

    /// For how long it has not answered, or a server of it has not worked.
    pub(super) fn ails(&self, server: Option<ConsoleServerId>) -> Option<Duration> {
        let since = match server {
            Some(server) => self.problems.get(&server).copied(),
            None => self.failing,
        };
        since.map(|since| since.elapsed())
    }

    /// Whether the last call of it has come to nothing.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.is_some()
    }
}

/// What is known of one console proxy.
#[derive(Debug)]
pub(crate) struct Known {
    /// Held while it is told something: one at a time.
    pub(super) told: tokio::sync::Mutex<Told>,
    heard: Mutex<Heard>,
    /// Whether rows have changed that it may have to be told of.
    touched: AtomicBool,
    is_attended: AtomicBool,
}

impl Known {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            told: tokio::sync::Mutex::default(),
            heard: Mutex::new(Heard::new()),
            touched: AtomicBool::new(true),
            is_attended: AtomicBool::new(false),
        })
    }

    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn touch(&self) {
        self.touched.store(true, Ordering::Release);
    }

    /// Whether something was touched since this was last asked.
    pub(super) fn take_touched(&self) -> bool {
        self.touched.swap(false, Ordering::AcqRel)
    }
}

/// Somebody looks after a console proxy, until this is dropped.
#[derive(Debug)]
pub(super) struct Attending(pub(super) Arc<Known>);

impl Attending {
    /// Nothing if somebody does already.
    pub(super) fn begin(known: Arc<Known>) -> Option<Self> {
        (!known.is_attended.swap(true, Ordering::AcqRel)).then_some(Self(known))
    }
}

impl Drop for Attending {
    fn drop(&mut self) {
        self.0.is_attended.store(false, Ordering::Release);
    }
}

/// All console proxies that are known.
#[derive(Debug, Default)]
pub(crate) struct Consoles {
    known: Mutex<HashMap<ConsoleProxyId, Arc<Known>>>,
    /// Somebody should look after those that are touched.
    pub(super) look: Notify,
    /// Somebody should scan soon.
    pub(super) scan: Notify,
}

impl Consoles {
    fn all(&self) -> MutexGuard<'_, HashMap<ConsoleProxyId, Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a console proxy, from now on if nothing was.
    pub(crate) fn of(&self, proxy: ConsoleProxyId) -> Arc<Known> {
        Arc::clone(self.all().entry(proxy).or_insert_with(Known::new))
    }

    /// What is known of a console proxy, if anything is.
    pub(crate) fn get(&self, proxy: ConsoleProxyId) -> Option<Arc<Known>> {
        self.all().get(&proxy).cloned()
    }

    /// The console proxy that has said that a server is its.
    pub(super) fn proxy_with(&self, server: ConsoleServerId) -> Option<ConsoleProxyId> {
        let has = |known: &Known| {
            known.heard().status.as_ref().is_some_and(|status| status.servers.contains_key(&server))
        };
        self.all().iter().find(|(_, known)| has(known)).map(|(proxy, _)| *proxy)
    }

    /// Forgets all but these.
    pub(super) fn keep(&self, proxies: &BTreeSet<ConsoleProxyId>) {
        self.all().retain(|proxy, _| proxies.contains(proxy));
    }

    /// Notes that all of them may have to be told something.
    pub(super) fn touch_all(&self) {
        self.all().values().for_each(|known| known.touch());
    }
}
