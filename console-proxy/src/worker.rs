//! A proxy server: one thread that does all for its port, its sessions and the VMs that they show.
//!
//! Everything of it is in one thread, so nothing is locked: what one request changes, no other sees half of. Its hub tells it by
//! [`Command`]s what it should be. A panic ends one request or task; a thread that ended, or does not answer, is the hub's to find.
//!
//! Once a second it looks what has come to its end: sessions, pages, keys that are held, VMs that nobody looks at.

mod command;
mod entry;
mod tick;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use podzol_console_proxy_api::{Deletion, Document, Nonce, ProxyServer, Session as Told, Upstream};
use podzol_rpc::{AddressBook, Client};
use podzol_stripes::Composer;
use podzol_vocab::{ConsoleServerId, ConsoleSessionId, HostId, VmId};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ServerConfig;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::command::{Command, Report};
use crate::addresses::Addresses;
use crate::http::fault::Fault;
use crate::session::Session;
use crate::upstream;
use crate::viewer::{Gone, Viewer};
use crate::vm::Vm;

/// Bytes that are read from a display at once: most pictures of text, and a fourth of a window that is dragged.
const READ: usize = 128 << 10;

/// A proxy server.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: ConsoleServerId,
    pub(crate) clock: Clock,
    pub(crate) agents: Client,
    pub(crate) book: AddressBook,
    pub(crate) addresses: Rc<Addresses>,
    pub(crate) composer: RefCell<Composer>,
    /// What was read from a display, until it is taken in the same turn.
    pub(crate) bytes: RefCell<Box<[u8]>>,
    pub(crate) counts: Counts,
    settings: RefCell<Settings>,
    sessions: RefCell<HashMap<ConsoleSessionId, Rc<Session>>>,
    vms: RefCell<HashMap<VmId, Rc<Vm>>>,
    /// The sessions that were deleted, how, and until when that is remembered.
    deleted: RefCell<HashMap<ConsoleSessionId, (Deletion, Duration)>>,
    /// The tickets that were exchanged, and until when they could be.
    nonces: RefCell<BTreeMap<Nonce, u64>>,
    /// Why the port is not open.
    problem: RefCell<Option<String>>,
}

/// What it should be.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) document: Arc<Document>,
    pub(crate) server: ProxyServer,
}

/// What it has done.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) updates: Cell<u64>,
    pub(crate) update_bytes: Cell<u64>,
    pub(crate) events: Cell<u64>,
    pub(crate) refused: Cell<u64>,
    pub(crate) wire_bytes: Arc<AtomicU64>,
}

/// What it begins with.
pub(crate) struct Start {
    pub(crate) id: ConsoleServerId,
    pub(crate) settings: Settings,
    pub(crate) agents: Client,
    pub(crate) book: AddressBook,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) stop: CancellationToken,
}

/// Time since the start of this thread, and time of day.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
    /// When it started, in Unix seconds by this machine's clock.
    started: u64,
}

impl Clock {
    fn new() -> Self {
        Self { start: Instant::now(), started: own_unix() }
    }

    /// When it started, in Unix seconds by the clock that tickets go by, as that is now: it may have been set since, also back.
    pub(crate) fn started_unix(self) -> u64 {
        by_management(self.started)
    }

    /// Time since the start. It never stands still for long, and never goes back.
    pub(crate) fn now(self) -> Duration {
        self.start.elapsed()
    }

    /// The processor's time that this thread has had. It stands still while others have the processor.
    pub(crate) fn worked(self) -> Duration {
        // Linux has this clock, always.
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
    }

    /// Unix seconds.
    pub(crate) fn unix(self) -> u64 {
        unix()
    }
}

/// How many seconds the management service's clock is ahead of this machine's.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// How far it may be off without being followed: what it says is in whole seconds, and was on its way for a while.
const OFF: i64 = 2;

/// Unix seconds by the management service's clock, which makes tickets: this machine may have no other, and its own drifts, and
/// stands still with the VM.
pub(crate) fn unix() -> u64 {
    by_management(own_unix())
}

/// A time of this machine's clock by the management service's.
fn by_management(own: u64) -> u64 {
    own.saturating_add_signed(AHEAD.load(Ordering::Relaxed))
}

fn own_unix() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Notes the management service's time, in Unix seconds.
pub(crate) fn follow_clock(told: u64) {
    let (own, now) = (own_unix(), AHEAD.load(Ordering::Relaxed));
    let ahead = followed(own, told, now);
    if ahead != now {
        tracing::warn!(ahead, "this machine's clock is not the management service's; going by that");
        AHEAD.store(ahead, Ordering::Relaxed);
    }
}

/// How far ahead a clock is that was taken for so far ahead until now.
fn followed(own: u64, told: u64, now: i64) -> i64 {
    let ahead = told.saturating_sub(own) as i64 - own.saturating_sub(told) as i64;
    if (ahead - now).abs() > OFF { ahead } else { now }
}

/// Runs a proxy server until it is told to stop, or nobody is left who could tell it anything.
///
/// # Errors
/// When there is no runtime.
pub(crate) fn run(start: Start) -> std::io::Result<()> {
    // Not a `LocalSet`: whatever wakes a task of one wakes the runtime too, by a write to a file of its own and a look at that.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(serve(start));
    Ok(())
}

async fn serve(start: Start) {
    let Start { id, settings, agents, book, tls, mut commands, stop } = start;
    let place = (settings.server.address, settings.server.port).into();
    let worker = Rc::new(Worker {
        id,
        clock: Clock::new(),
        agents,
        book,
        addresses: Rc::default(),
        composer: RefCell::default(),
        bytes: RefCell::new(vec![0; READ].into_boxed_slice()),
        counts: Counts::default(),
        settings: RefCell::new(settings),
        sessions: RefCell::default(),
        vms: RefCell::default(),
        deleted: RefCell::default(),
        nonces: RefCell::default(),
        problem: RefCell::default(),
    });
    let listening = crate::http::listen(Rc::clone(&worker), place, tls, stop.clone());
    let listening = tokio::task::spawn_local(listening);
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => worker.obey(command),
                None => break,
            },
            _ = seconds.tick() => worker.tick(),
            () = stop.cancelled() => break,
        }
    }
    stop.cancel();
    let _ = listening.await;
    worker.vms.borrow_mut().drain().for_each(|(_, vm)| vm.end());
}

impl Worker {
    pub(crate) fn document(&self) -> Arc<Document> {
        Arc::clone(&self.settings.borrow().document)
    }

    /// Whether displays of QEMU are nudged.
    pub(crate) fn nudges(&self) -> bool {
        self.settings.borrow().document.nudge
    }

    /// Whether it takes no new sessions.
    pub(crate) fn is_draining(&self) -> bool {
        self.settings.borrow().server.draining
    }

    /// Why its port is not open, if it is not.
    pub(crate) fn set_problem(&self, problem: Option<String>) {
        *self.problem.borrow_mut() = problem;
    }

    /// A session that pages ask for.
    ///
    /// # Errors
    /// When there is none: why, as long as that is remembered.
    fn known_session(&self, id: ConsoleSessionId) -> Result<Rc<Session>, Fault> {
        let deleted = || self.deleted.borrow().get(&id).map(|(deletion, _)| deletion.reason);
        self.session(id).ok_or_else(|| deleted().map_or(Fault::SessionUnknown, Fault::from))
    }

    pub(crate) fn session(&self, id: ConsoleSessionId) -> Option<Rc<Session>> {
        self.sessions.borrow().get(&id).cloned()
    }

    /// Whether there is room for one more page of a session.
    fn has_room(&self, session: &Session) -> bool {
        use crate::limits::{VIEWERS_OF_SESSION, VIEWERS_OF_VM};
        let is_replaced = session.viewers.borrow().len() >= VIEWERS_OF_SESSION;
        let vms = self.vms.borrow();
        let of_vm = vms.get(&session.told().vm).map_or(0, |vm| vm.viewers.borrow().len());
        (!is_replaced || self.silent(session).is_some()) && of_vm < VIEWERS_OF_VM + usize::from(is_replaced)
    }

    /// The page of a session that has been silent longest. One that nobody has heard of for a second was most likely reloaded just now.
    fn silent(&self, session: &Session) -> Option<Rc<Viewer>> {
        let now = self.clock.now();
        let longest = session.viewers.borrow().values().max_by_key(|viewer| viewer.silent_for(now)).cloned();
        longest.filter(|viewer| viewer.silent_for(now) >= Duration::from_secs(1))
    }

    /// A new page of a session.
    ///
    /// # Errors
    /// When there are too many, or too many were begun.
    pub(crate) fn open(self: &Rc<Self>, session: &Rc<Session>) -> Result<Rc<Viewer>, Fault> {
        let now = self.clock.now();
        if !self.has_room(session) {
            return Err(Fault::TooMany("pages look at it already"));
        }
        if !session.may_begin(now) {
            return Err(Fault::TooMany("pages were opened"));
        }
        if session.viewers.borrow().len() >= crate::limits::VIEWERS_OF_SESSION
            && let Some(silent) = self.silent(session)
        {
            self.forget(&silent, Gone::Forgotten);
        }
        let vm = self.vm(session);
        let id = crate::cookie::random::<16>();
        let viewer = Rc::new(Viewer::new(id.clone(), Rc::clone(session), Rc::clone(&vm), now));
        session.viewers.borrow_mut().insert(id, Rc::clone(&viewer));
        vm.viewers.borrow_mut().push(Rc::clone(&viewer));
        vm.left.set(None);
        vm.wanted.notify_waiters();
        vm.changed();
        Ok(viewer)
    }

    /// Forgets a page.
    pub(crate) fn forget(&self, viewer: &Rc<Viewer>, why: Gone) {
        viewer.go(why);
        viewer.session.viewers.borrow_mut().remove(&viewer.id);
        let vm = &viewer.vm;
        vm.viewers.borrow_mut().retain(|other| other.id != viewer.id);
        if vm.viewers.borrow().is_empty() {
            vm.left.set(Some(self.clock.now()));
        }
        vm.changed();
    }

    /// What lets it in at a host to see a VM: of the sessions that may, the grant of the one that ends last.
    pub(crate) fn grant(&self, vm: VmId, host: HostId) -> Option<String> {
        let sessions = self.sessions.borrow();
        let told = sessions.values().filter(|session| session.over().is_none()).map(|session| session.told());
        let is_there = |told: &Arc<Told>| {
            told.vm == vm && matches!(told.upstream, Upstream::Agent { host: at, .. } if at == host)
        };
        told.filter(is_there).max_by_key(|told| told.expires_unix)?.grant.clone()
    }

    /// The VM of a session. It begins when it is not there.
    fn vm(self: &Rc<Self>, session: &Session) -> Rc<Vm> {
        let told = session.told();
        if let Some(vm) = self.vms.borrow().get(&told.vm) {
            return Rc::clone(vm);
        }
        let vm = Rc::new(Vm::new(told.vm, told.upstream.clone(), random()));
        let line = upstream::follow(Rc::clone(self), Rc::clone(&vm));
        vm.keep(tokio::task::spawn_local(line).abort_handle());
        let serial = crate::serial::follow(Rc::clone(self), Rc::clone(&vm));
        vm.keep(tokio::task::spawn_local(serial).abort_handle());
        self.vms.borrow_mut().insert(told.vm, Rc::clone(&vm));
        vm
    }
}

/// Secret factors for a screen.
fn random() -> [u64; 4] {
    std::array::from_fn(|_| {
        let mut bytes = [0; 8];
        SystemRandom::new().fill(&mut bytes).expect("the system gives random numbers");
        u64::from_ne_bytes(bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_clock_is_followed_when_it_is_further_off_than_what_it_says_may_be() {
        let clock = 1_700_000_000;
        for (told, before, ahead) in
            [(0, 0, 0), (2, 0, 0), (-2, 0, 0), (3, 0, 3), (-86_400, 0, -86_400), (5, 4, 4), (0, 4, 0)]
        {
            let told = clock + told;
            assert_eq!(followed(clock as u64, told as u64, before), ahead, "{told} {before}");
        }
    }

    #[test]
    fn a_thread_that_waits_does_not_work() {
        let clock = Clock::new();
        let (began, worked) = (clock.now(), clock.worked());
        std::thread::sleep(Duration::from_millis(50));
        assert!((clock.worked() - worked) * 2 < clock.now() - began);
        assert!(!clock.worked().is_zero());
    }
}
