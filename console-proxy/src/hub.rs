//! What the proxy should be: the document in force, and a worker for each of its servers.
//!
//! Sessions are the workers' own. A worker whose thread has ended is started again, without its sessions: whoever compares them with
//! those that should be sees that they are gone.

mod status;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use podzol_console_proxy_api::{Deletion, Document, Problem, Session, SessionAnswer};
use podzol_rpc::{AddressBook, Client, Identity};
use podzol_vocab::{ConsoleServerId, ConsoleSessionId, ErrorCode, Generation, Order, WireError};
use rustls::ServerConfig;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::status::memory_bytes;
use crate::certificate::{self, ShownCertificate};
use crate::worker::{self, Command, Settings, Start, unix};

/// How many commands wait for a worker: it takes each in microseconds, so with more it does not answer at all.
const COMMANDS: usize = 1024;

/// How long a worker may take to answer: less than whoever asks the proxy waits, so that one that hangs is no failure of all.
const ANSWERS: Duration = Duration::from_secs(1);

/// How many problems an answer names.
const TOLD: usize = 5;

/// The proxy.
pub(crate) struct Hub {
    identity: Identity,
    certificate: ShownCertificate,
    boot_id: String,
    started_unix: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    document: Option<Arc<Document>>,
    workers: BTreeMap<ConsoleServerId, Worker>,
}

/// A worker, from outside.
struct Worker {
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
    thread: JoinHandle<()>,
    /// Which document it was told.
    told: Generation,
}

impl Worker {
    fn tell(&self, command: Command, server: ConsoleServerId) -> Result<(), WireError> {
        self.commands.try_send(command).map_err(|_| no_answer(server))
    }
}

impl Hub {
    pub(crate) fn new(identity: Identity) -> Self {
        let boot_id = uuid::Uuid::now_v7().to_string();
        let certificate = ShownCertificate::default();
        Self { identity, certificate, boot_id, started_unix: unix(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a document in force.
    pub(crate) fn put(&self, document: Document) -> Result<(), WireError> {
        let mut state = self.state();
        if let Some(in_force) = &state.document {
            must_be_newer(document.generation, in_force.generation, **in_force == document)?;
            if in_force.generation == document.generation {
                return self.make_workers(&mut state, Some(&document));
            }
        }
        refuse(&document.problems())?;
        let certificate = certificate::read(&document.certificate, &document.domain);
        let certificate =
            certificate.map_err(|error| WireError::new(ErrorCode::Invalid, error.to_string()))?;
        self.certificate.replace(certificate);
        tracing::info!(generation = %document.generation, servers = document.servers.len(), "a document is in force");
        let before = state.document.replace(Arc::new(document));
        self.make_workers(&mut state, before.as_deref())
    }

    /// Makes workers be as the document says: all of them, whatever happens to one; then tells what happened first.
    fn make_workers(&self, state: &mut State, before: Option<&Document>) -> Result<(), WireError> {
        let Some(document) = state.document.clone() else { return Ok(()) };
        state.workers.retain(|id, worker| {
            let stays = place(&document, *id).is_some()
                && before.is_none_or(|before| place(before, *id) == place(&document, *id));
            if !stays {
                worker.stop.cancel();
            }
            stays
        });
        let mut first = Ok(());
        for (id, server) in &document.servers {
            let settings = Settings { document: Arc::clone(&document), server: server.clone() };
            let made = match state.workers.get_mut(id).filter(|worker| !worker.thread.is_finished()) {
                Some(worker) if worker.told == document.generation => Ok(()),
                Some(worker) => worker.tell(Command::Set(Box::new(settings)), *id).map(|()| {
                    worker.told = document.generation;
                }),
                None => self.start(*id, settings).map(|worker| drop(state.workers.insert(*id, worker))),
            };
            if let Err(error) = &made {
                tracing::warn!(server = %id, %error, "a server is not as it should be, and is told again");
            }
            first = first.and(made);
        }
        first
    }

    fn start(&self, id: ConsoleServerId, settings: Settings) -> Result<Worker, WireError> {
        let failed = |error: &dyn std::error::Error| {
            tracing::error!(server = %id, %error, "cannot start a server");
            WireError::new(ErrorCode::Internal, format!("cannot start server {id}"))
        };
        let (told, (sender, commands)) = (settings.document.generation, mpsc::channel(COMMANDS));
        let (book, stop) = (AddressBook::default(), CancellationToken::new());
        let agents = Client::new(&self.identity, book.clone()).map_err(|error| failed(&error))?;
        let tls: Arc<ServerConfig> =
            certificate::tls(self.certificate.clone()).map_err(|error| failed(&error))?;
        let start = Start { id, settings, agents, book, tls, commands, stop: stop.clone() };
        let run = move || {
            if let Err(error) = worker::run(start) {
                tracing::error!(server = %id, %error, "a server has no runtime");
            }
        };
        let thread = std::thread::Builder::new()
            .name("proxy-server".into())
            .spawn(run)
            .map_err(|error| failed(&error))?;
        Ok(Worker { commands: sender, stop, thread, told })
    }

    /// Puts a session.
    pub(crate) async fn put_session(
        &self,
        id: ConsoleSessionId,
        session: Session,
    ) -> Result<SessionAnswer, WireError> {
        let server = session.server;
        let answer = {
            let state = self.state();
            let Some(document) = &state.document else {
                return Err(WireError::new(ErrorCode::Unavailable, "there is no document in force"));
            };
            refuse(&session.problems(document))?;
            let (sender, answer) = oneshot::channel();
            let command = Command::Ensure(id, Arc::new(session), sender);
            tell(&state, server, command)?;
            answer
        };
        let answered = timeout(ANSWERS, answer).await.ok().and_then(Result::ok);
        answered.unwrap_or_else(|| Err(no_answer(server))).map(|sessions| SessionAnswer { sessions })
    }

    /// Ends a session at a server.
    pub(crate) async fn delete_session(
        &self,
        id: ConsoleSessionId,
        deletion: Deletion,
    ) -> Result<(), WireError> {
        let server = deletion.server;
        let answer = {
            let state = self.state();
            let Some(worker) = state.workers.get(&server) else { return Ok(()) };
            let (sender, answer) = oneshot::channel();
            worker.tell(Command::End(id, deletion, sender), server)?;
            answer
        };
        let answered = timeout(ANSWERS, answer).await.ok().and_then(Result::ok);
        answered.unwrap_or_else(|| Err(no_answer(server)))
    }

    /// Starts workers again that have ended, and tells again what was not taken, until `stop` is cancelled; then ends all.
    pub(crate) async fn follow(&self, stop: CancellationToken) {
        let mut seconds = interval(Duration::from_secs(1));
        while stop.run_until_cancelled(seconds.tick()).await.is_some() {
            let mut state = self.state();
            if state.workers.values().any(|worker| worker.thread.is_finished()) {
                tracing::error!("a server has ended, and is started again without its sessions");
            }
            let before = state.document.clone();
            // What is not so was logged, and is tried again.
            let _ = self.make_workers(&mut state, before.as_deref());
        }
        let workers = std::mem::take(&mut self.state().workers);
        workers.values().for_each(|worker| worker.stop.cancel());
        let ended = tokio::task::spawn_blocking(|| {
            workers.into_values().for_each(|worker| drop(worker.thread.join()))
        });
        let _ = timeout(ANSWERS, ended).await;
    }
}

/// Where a server listens.
fn place(document: &Document, server: ConsoleServerId) -> Option<(IpAddr, u16)> {
    document.servers.get(&server).map(|server| (server.address, server.port))
}

fn tell(state: &State, server: ConsoleServerId, command: Command) -> Result<(), WireError> {
    let worker = state.workers.get(&server).ok_or_else(|| no_answer(server))?;
    worker.tell(command, server)
}

fn no_answer(server: ConsoleServerId) -> WireError {
    WireError::new(ErrorCode::Unavailable, format!("server {server} does not answer"))
}

/// The answers to a description of a generation, but for success.
pub(crate) fn must_be_newer(
    generation: Generation,
    in_force: Generation,
    same: bool,
) -> Result<(), WireError> {
    let (code, message) = match generation.order(in_force, same) {
        Order::Newer | Order::Same => return Ok(()),
        Order::Older => (ErrorCode::StaleGeneration, format!("generation {in_force} is in force")),
        Order::Different => {
            (ErrorCode::GenerationConflict, format!("another generation {in_force} is in force"))
        }
    };
    Err(WireError { in_force: Some(in_force), ..WireError::new(code, message) })
}

fn refuse(problems: &[Problem]) -> Result<(), WireError> {
    if problems.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = problems.iter().take(TOLD).map(ToString::to_string).collect();
    Err(WireError::new(ErrorCode::Invalid, told.join("; ")))
}
