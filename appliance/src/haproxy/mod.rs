//! Balancers of HTTP: a process of haproxy(1) that does what the document in force says.
//!
//! ```text
//!   none ── balancers come ──▶ begins ── it answers ──▶ serves ── a change of its shape ──▶ another one begins with its
//!    ▲                           ▲                        │                                open ports; it finishes
//!    │                           └──── it ends, hangs ────┤
//!    └────────────────────── no balancers any more ───────┘
//! ```
//!
//! - Members, weights and draining change in the process that serves, and connections go on.
//! - A process that finishes takes no new connections. It ends with those that it has, or is ended when others have come
//!   after it.
//! - haproxy runs as a user of its own, in an empty folder that it cannot leave. Keys are in its memory, and in files only
//!   while it begins.
//!
//! This module converges: it compares what the process has with what is wanted, at each change and every few seconds. What
//! goes wrong is logged, told in the status, and tried again.

mod admin;
mod files;
mod process;
mod tally;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use podzol_appliance_api::Health;
use podzol_appliance_haproxy::{Blame, Model, Shown, USER, blame};
use podzol_appliance_nft::BALANCER;
use podzol_rpc::exec::{self, ExecError};
use podzol_vocab::LoadBalancerId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::files::Base;
use self::process::{Process, ProcessError};
use self::tally::Tally;
use crate::router::chain;

const PROGRAM: &str = "haproxy";

// What the packet filter allows it goes by the user that it runs as.
const _: () = assert!(USER == BALANCER);

/// How often the process that serves is looked at.
const LOOK: Duration = Duration::from_secs(3);

/// How soon one begins after another that has failed.
const AGAIN: Duration = Duration::from_secs(1);

/// How often in a row it may fail to do what it is told before it is ended.
const PATIENCE: u32 = 3;

/// How many processes may be finishing. Each has some 10 MiB.
const FINISHING: usize = 3;

/// How long haproxy may take to read a configuration.
const DEADLINE: Duration = Duration::from_secs(20);

/// How long a caller waits for counters of this moment.
const FRESH: Duration = Duration::from_secs(1);

/// So many bytes of memory are for each connection of a client: two buffers, and the state of TLS.
const FOR_A_CONNECTION: u64 = 64 << 10;

/// Of how many parts of the memory one is for connections.
const SHARE: u64 = 4;

/// The fewest and the most connections that a process has at a time.
const CONNECTIONS: std::ops::RangeInclusive<u64> = 256..=20_000;

/// How many files a process has open beside two for each connection, that to the client and that to the member.
const OTHER_FILES: u64 = 500;

/// Whether this machine has haproxy.
pub(crate) fn is_here() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(PROGRAM).is_file())
}

/// Why a model cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// haproxy refuses what is made of it.
    #[error("{0}")]
    Refused(Blame),
    /// It cannot be asked.
    #[error("haproxy cannot be asked")]
    Files(#[from] std::io::Error),
    /// It does not answer.
    #[error("haproxy cannot be asked")]
    Exec(#[from] ExecError),
}

/// Balancing as others see it. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Balancing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    base: Base,
    /// How many connections of clients a process has at most.
    connections: u32,
    numbers: Mutex<u64>,
    tally: Mutex<Tally>,
    health: Mutex<Health>,
    /// Those who want counters of this moment. One at a time asks.
    looks: mpsc::Sender<oneshot::Sender<()>>,
    looked: Mutex<Option<mpsc::Receiver<oneshot::Sender<()>>>>,
}

impl Balancing {
    /// Ready to begin, on a machine with so many bytes of memory.
    ///
    /// # Errors
    /// When the kernel does not say how many files can be open.
    pub(crate) fn new(memory: u64) -> std::io::Result<Self> {
        process::sweep();
        let (looks, looked) = mpsc::channel(1);
        let (_, files) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let by_memory = (memory / SHARE / FOR_A_CONNECTION).clamp(*CONNECTIONS.start(), *CONNECTIONS.end());
        let connections = by_memory.min(files.saturating_sub(OTHER_FILES) / 2) as u32;
        Ok(Self(Arc::new(Inner {
            base: Base::new(),
            connections,
            numbers: Mutex::default(),
            tally: Mutex::default(),
            health: Mutex::new(Health::Up),
            looks,
            looked: Mutex::new(Some(looked)),
        })))
    }

    /// Has haproxy look at a model, without doing anything of it.
    ///
    /// # Errors
    /// When it refuses it, or cannot be asked.
    pub(crate) async fn check(&self, model: &Model) -> Result<(), CheckError> {
        let files = self.0.base.write(self.number(), model, self.0.connections)?;
        let path = files.text().display().to_string();
        match exec::run(PROGRAM, &["-c", "-f", &path], DEADLINE).await {
            Ok(_) => Ok(()),
            // One that was killed has not said that it refuses anything: there may not have been enough memory.
            Err(ExecError::Failed { stderr, status, .. }) if status.code().is_some() => {
                Err(CheckError::Refused(blame(&files.config, &stderr)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// How it is.
    pub(crate) fn health(&self) -> Health {
        lock(&self.0.health).clone()
    }

    /// Counts what has come until now, if that is possible soon.
    pub(crate) async fn look(&self) {
        let (done, looked) = oneshot::channel();
        if self.0.looks.try_send(done).is_ok() {
            let _ = timeout(FRESH, looked).await;
        }
    }

    /// What went through a balancer, as of the last look.
    pub(crate) fn shown(&self, id: LoadBalancerId) -> Shown {
        lock(&self.0.tally).of(id)
    }

    fn number(&self) -> u64 {
        let mut numbers = lock(&self.0.numbers);
        *numbers += 1;
        *numbers
    }

    /// Does what is wanted, until stopped.
    pub(crate) async fn follow(self, mut wanted: watch::Receiver<Model>, stop: CancellationToken) {
        let Some(mut looks) = lock(&self.0.looked).take() else { return };
        let mut processes = Processes {
            balancing: self.clone(),
            serves: None,
            finishing: Vec::new(),
            failures: 0,
            begun: Instant::now(),
        };
        let mut not_before = Instant::now();
        let mut asked = None;
        loop {
            processes.look().await;
            if let Some(asked) = asked.take() {
                // One who has not waited needs no answer.
                let _: Result<(), ()> = oneshot::Sender::send(asked, ());
            }
            if Instant::now() >= not_before {
                let model = wanted.borrow_and_update().clone();
                let converged = processes.converge(&model).await;
                if converged.is_err() {
                    not_before = Instant::now() + AGAIN;
                }
                self.note(converged);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                changed = wanted.changed(), if Instant::now() >= not_before => if changed.is_err() { break },
                why = processes.ended() => {
                    // At once, unless it does not live long.
                    not_before = processes.begun + AGAIN;
                    self.note(Err(why));
                }
                () = sleep_until(not_before), if Instant::now() < not_before => {}
                look = looks.recv() => asked = look,
                () = sleep(LOOK) => {}
            }
        }
        processes.end().await;
    }

    fn note(&self, result: Result<(), ProcessError>) {
        let health = match result {
            Ok(()) => Health::Up,
            Err(error) => {
                tracing::error!(error = chain(&error), "HTTP is not balanced as it should be");
                Health::Down { why: chain(&error) }
            }
        };
        *lock(&self.0.health) = health;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process that serves, and those that finish.
struct Processes {
    balancing: Balancing,
    serves: Option<Process>,
    /// The oldest first.
    finishing: Vec<Process>,
    /// How often in a row the one that serves has not done what it was told.
    failures: u32,
    /// When the last one began to serve.
    begun: Instant,
}

impl Processes {
    async fn converge(&mut self, wanted: &Model) -> Result<(), ProcessError> {
        if wanted.is_empty() {
            self.retire().await;
            return Ok(());
        }
        let serving = self.serves.as_mut().filter(|process| wanted.fits(&process.model));
        let (done, is_its_fault) = match serving {
            Some(process) => {
                let seated = process.seat(wanted).await;
                let failed = seated.is_err();
                (seated, failed)
            }
            None => {
                let begun = self.begin(wanted).await;
                // One that hangs does not hand its ports over; if the new one fails by itself, the old one serves on.
                let hangs = begun.is_err() && !self.answers().await;
                (begun, hangs)
            }
        };
        self.failures = if is_its_fault { self.failures + 1 } else { 0 };
        if self.failures >= PATIENCE {
            tracing::error!("haproxy is ended, as it does not do what it is told");
            self.failures = 0;
            self.drop_serving().await;
        }
        done
    }

    /// Whether the process that serves answers, if there is one.
    async fn answers(&mut self) -> bool {
        match &mut self.serves {
            Some(process) => process.shown().await.is_ok(),
            None => true,
        }
    }

    /// Has another process serve.
    async fn begin(&mut self, wanted: &Model) -> Result<(), ProcessError> {
        let Inner { base, connections, .. } = &*self.balancing.0;
        let number = self.balancing.number();
        let files = base.write(number, wanted, *connections).map_err(ProcessError::Files)?;
        let process = Process::start((number, files, wanted.clone()), self.serves.as_ref()).await?;
        self.retire().await;
        tracing::info!(process = number, "haproxy serves");
        (self.serves, self.begun) = (Some(process), Instant::now());
        Ok(())
    }

    /// Has the process that serves finish.
    async fn retire(&mut self) {
        let Some(mut process) = self.serves.take() else { return };
        process.finish();
        self.finishing.push(process);
        while self.finishing.len() > FINISHING {
            let mut oldest = self.finishing.remove(0);
            self.count(&mut oldest).await;
            self.forget(oldest).await;
        }
    }

    async fn drop_serving(&mut self) {
        if let Some(process) = self.serves.take() {
            self.forget(process).await;
        }
    }

    async fn forget(&self, process: Process) {
        lock(&self.balancing.0.tally).forget(process.number);
        process.end().await;
    }

    /// Counts what has come, and lets those go that have finished.
    async fn look(&mut self) {
        if let Some(mut process) = self.serves.take() {
            self.count(&mut process).await;
            self.serves = Some(process);
        }
        for mut process in std::mem::take(&mut self.finishing) {
            // One that does not answer once may have connections.
            let is_needed =
                self.count(&mut process).await.map_or_else(|| process.is_there(), |open| open > 0);
            if is_needed || !process.has_stopped() {
                self.finishing.push(process);
            } else {
                lock(&self.balancing.0.tally).forget(process.number);
                process.release();
            }
        }
    }

    /// Counts what has come in a process. How many connections of clients it has; nothing if it does not say.
    async fn count(&self, process: &mut Process) -> Option<u64> {
        let shown = process.shown().await.ok()?;
        let open = shown.values().map(|shown| shown.open).sum();
        lock(&self.balancing.0.tally).look(process.number, shown);
        Some(open)
    }

    /// Waits until the process that serves ends, and takes its remains away.
    async fn ended(&mut self) -> ProcessError {
        let Some(process) = &mut self.serves else { return std::future::pending().await };
        let why = process.ended().await;
        let error = ProcessError::Gone(why);
        self.drop_serving().await;
        error
    }

    async fn end(&mut self) {
        self.drop_serving().await;
        for process in std::mem::take(&mut self.finishing) {
            self.forget(process).await;
        }
    }
}
