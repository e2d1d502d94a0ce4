//! A console proxy in memory: it answers the management service's control API as the console proxy does, over the same TLS.
//!
//! It shows nothing to anybody: which pages are open, a test says. What it takes and refuses are the rules of the control API:
//! a document before sessions, a session at a server that the document has, is not full and does not drain, with a grant that its
//! VM's host would take. Each server has its own sessions, and its own thread, which a test may have hang.

mod grants;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router as Routes;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use podzol_appliance_api::ProxyIdentity;
use podzol_console_proxy_api::{
    Claims, Deletion, DeletionReason, Document, DocumentPut, Line, ProxyStatus, ServerStatus, Session,
    SessionAnswer, SessionDelete, SessionPut, SessionStatus, Sessions, SessionsGet, StatusGet, TicketError,
};
use podzol_rpc::endpoint::refuse;
use podzol_rpc::refusals::management_alone;
use podzol_rpc::tls::{self, Clients};
use podzol_rpc::{Endpoint, Identity, Refusals, elsewhere, handle};
use podzol_vocab::{ConsoleServerId, ConsoleSessionId, ErrorCode, Generation, Order, Secret, WireError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::grants::Grants;

static BOOTS: AtomicU64 = AtomicU64::new(1);

/// A console proxy in memory: the program in a VM, over its starts.
#[derive(Debug)]
pub struct SimulatedConsoleProxy {
    memory: Mutex<Memory>,
    hangs: watch::Sender<bool>,
    refusals: Mutex<VecDeque<WireError>>,
}

#[derive(Debug)]
struct Memory {
    boot: String,
    document: Option<Document>,
    sessions: BTreeMap<Place, Known>,
    deleted: BTreeMap<Place, Deletion>,
    /// Why servers do not work.
    problems: BTreeMap<ConsoleServerId, String>,
    /// Servers whose threads hang.
    stuck: BTreeSet<ConsoleServerId>,
    /// Servers whose threads hang, but for what is asked of them all.
    deaf: BTreeSet<ConsoleServerId>,
    puts: u64,
    deletions: u64,
}

/// A session at a server: one that moves may be at two.
type Place = (ConsoleServerId, ConsoleSessionId);

#[derive(Debug, Clone)]
struct Known {
    session: Session,
    pages: u32,
    over: bool,
}

/// How long the program waits for one of its servers.
const ANSWERS: Duration = Duration::from_secs(1);

impl Memory {
    fn new() -> Self {
        Self {
            boot: format!("simulated-{}", BOOTS.fetch_add(1, Ordering::Relaxed)),
            document: None,
            sessions: BTreeMap::new(),
            deleted: BTreeMap::new(),
            problems: BTreeMap::new(),
            stuck: BTreeSet::new(),
            deaf: BTreeSet::new(),
            puts: 0,
            deletions: 0,
        }
    }

    fn session(&mut self, session: ConsoleSessionId) -> &mut Known {
        let found = self.sessions.iter_mut().find(|((_, id), _)| *id == session);
        found.map(|(_, known)| known).expect("it has the session")
    }

    /// How many sessions of a server are not over.
    fn live(&self, server: ConsoleServerId) -> u32 {
        self.sessions.iter().filter(|((at, _), known)| *at == server && !known.over).count() as u32
    }
}

impl SimulatedConsoleProxy {
    pub(crate) fn new() -> Arc<Self> {
        let (memory, refusals) = (Mutex::new(Memory::new()), Mutex::default());
        Arc::new(Self { memory, hangs: watch::Sender::default(), refusals })
    }

    /// The document in force.
    pub fn document(&self) -> Option<Document> {
        self.memory().document.clone()
    }

    /// The sessions that it has and that are not over.
    pub fn sessions(&self) -> BTreeMap<ConsoleSessionId, Session> {
        let memory = self.memory();
        let live = memory.sessions.iter().filter(|(_, known)| !known.over);
        live.map(|((_, id), known)| (*id, known.session.clone())).collect()
    }

    /// Why a session was ended at a server last, if it was.
    pub fn ended(&self, server: ConsoleServerId, session: ConsoleSessionId) -> Option<DeletionReason> {
        self.memory().deleted.get(&(server, session)).map(|deletion| deletion.reason)
    }

    /// How often it was told that a session ends since its start.
    pub fn count_deletions(&self) -> u64 {
        self.memory().deletions
    }

    /// How often something was put since its start.
    pub fn count_puts(&self) -> u64 {
        self.memory().puts
    }

    /// So many pages of a session are open.
    ///
    /// # Panics
    /// When it has no such session.
    pub fn set_pages(&self, session: ConsoleSessionId, pages: u32) {
        self.memory().session(session).pages = pages;
    }

    /// Nobody has given a session input for so long that it is over.
    ///
    /// # Panics
    /// When it has no such session.
    pub fn is_idle(&self, session: ConsoleSessionId) {
        self.memory().session(session).over = true;
    }

    /// The thread of a server hangs from now on: the others go on, and its status says so.
    pub fn hang_server(&self, server: ConsoleServerId) {
        self.memory().stuck.insert(server);
    }

    /// A server takes nothing from now on, and its status does not say so.
    pub fn deafen_server(&self, server: ConsoleServerId) {
        self.memory().deaf.insert(server);
    }

    /// A server says from now on that it does not work, or works again.
    pub fn set_problem(&self, server: ConsoleServerId, problem: Option<&str>) {
        let mut memory = self.memory();
        match problem {
            Some(problem) => drop(memory.problems.insert(server, problem.into())),
            None => drop(memory.problems.remove(&server)),
        }
    }

    /// The session that a link's ticket opens, as a page would be let in.
    ///
    /// # Errors
    /// When it is not let in.
    pub fn exchange(&self, url: &str) -> Result<Session, TicketError> {
        let ticket = url.split_once('#').map(|(_, ticket)| ticket).ok_or(TicketError::Malformed)?;
        let memory = self.memory();
        let keys = memory.document.as_ref().map(|document| document.ticket_keys.clone()).unwrap_or_default();
        let claims = Claims::verify(ticket, &keys, unix_now())?;
        let known = memory.sessions.get(&(claims.server, claims.session));
        let known = known.filter(|known| !known.over);
        known.map(|known| known.session.clone()).ok_or(TicketError::UnknownKey)
    }

    /// The program ends and is started again: it knows nothing any more.
    pub fn restarts(&self) {
        *self.memory() = Memory::new();
    }

    /// Has it take calls and not answer them, until [`SimulatedConsoleProxy::heal`].
    pub fn hang(&self) {
        self.hangs.send_replace(true);
    }

    /// Has it answer again.
    pub fn heal(&self) {
        self.hangs.send_replace(false);
    }

    /// Has it refuse what is put next.
    pub fn refuse_next(&self, error: WireError) {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).push_back(error);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, document: Document) -> Result<(), WireError> {
        let mut memory = self.memory();
        if let Some(in_force) = &memory.document {
            let number = in_force.generation;
            ordered(document.generation, number, *in_force == document)?;
        }
        let problems: Vec<String> = document.problems().iter().map(ToString::to_string).collect();
        if !problems.is_empty() {
            return Err(WireError::new(ErrorCode::Invalid, problems.join("; ")));
        }
        memory.puts += 1;
        memory.sessions.retain(|(server, _), _| document.servers.contains_key(server));
        memory.document = Some(document);
        Ok(())
    }

    async fn put_session(&self, id: ConsoleSessionId, session: Session) -> Result<SessionAnswer, WireError> {
        self.answers(session.server).await?;
        let mut memory = self.memory();
        let refused = |code, why: &'static str| Err(WireError::new(code, why));
        let Some(document) = memory.document.clone() else {
            return refused(ErrorCode::Unavailable, "there is no document yet");
        };
        let problems: Vec<String> = session.problems(&document).iter().map(ToString::to_string).collect();
        if !problems.is_empty() {
            return Err(WireError::new(ErrorCode::Invalid, problems.join("; ")));
        }
        let place = (session.server, id);
        let deleted = memory.deleted.get(&place).map(|deletion| deletion.generation);
        if let Some(deleted) = deleted.filter(|deleted| session.generation <= *deleted) {
            return Err(stale(deleted));
        }
        let before = memory.sessions.get(&place).cloned();
        if let Some(known) = &before {
            ordered(session.generation, known.session.generation, known.session == session)?;
            memory.puts += 1;
            if known.session == session {
                return Ok(SessionAnswer { sessions: memory.live(session.server) });
            }
            if known.session.vm != session.vm {
                return refused(ErrorCode::Conflict, "it stays with its VM");
            }
        }
        if before.as_ref().is_none_or(|known| known.over) {
            let server = &document.servers[&session.server];
            if server.draining {
                return refused(ErrorCode::Conflict, "the server drains");
            }
            if memory.live(session.server) >= server.max_sessions {
                return refused(ErrorCode::Exhausted, "the server is full");
            }
        }
        memory.puts += u64::from(before.is_none());
        let (server, pages) = (session.server, before.map_or(0, |known| known.pages));
        memory.sessions.insert(place, Known { session, pages, over: false });
        Ok(SessionAnswer { sessions: memory.live(server) })
    }

    async fn delete(&self, id: ConsoleSessionId, deletion: Deletion) -> Result<(), WireError> {
        self.answers(deletion.server).await?;
        let mut memory = self.memory();
        let place = (deletion.server, id);
        if let Some(known) = memory.sessions.get(&place)
            && deletion.generation < known.session.generation
        {
            return Err(stale(known.session.generation));
        }
        memory.deletions += 1;
        memory.sessions.remove(&place);
        memory.deleted.insert(place, deletion);
        Ok(())
    }

    /// Waits for a server's thread, as long as the program does.
    async fn answers(&self, server: ConsoleServerId) -> Result<(), WireError> {
        let hangs = {
            let memory = self.memory();
            memory.stuck.contains(&server) || memory.deaf.contains(&server)
        };
        if hangs {
            tokio::time::sleep(ANSWERS).await;
            let why = format!("server {server} does not answer");
            return Err(WireError::new(ErrorCode::Unavailable, why));
        }
        Ok(())
    }

    async fn waits_for_all(&self) {
        let hangs = !self.memory().stuck.is_empty();
        if hangs {
            tokio::time::sleep(ANSWERS).await;
        }
    }

    fn status(&self) -> ProxyStatus {
        let memory = self.memory();
        let servers = memory.document.iter().flat_map(|document| document.servers.keys());
        let server = |id: &ConsoleServerId| {
            if memory.stuck.contains(id) {
                let problem = Some("its thread does not answer".into());
                return (*id, ServerStatus { problem, ..ServerStatus::default() });
            }
            let own: Vec<&Known> =
                memory.sessions.values().filter(|known| known.session.server == *id).collect();
            let status = ServerStatus {
                problem: memory.problems.get(id).cloned(),
                sessions: memory.live(*id),
                viewers: own.iter().map(|known| known.pages).sum(),
                ..ServerStatus::default()
            };
            (*id, status)
        };
        ProxyStatus {
            generation: memory.document.as_ref().map(|document| document.generation),
            boot_id: memory.boot.clone(),
            version: "simulated".into(),
            started_unix: 0,
            cpu_micros: 1_000_000,
            memory_bytes: 32 << 20,
            servers: servers.map(server).collect(),
            sessions: shown(&memory),
        }
    }
}

fn shown(memory: &Memory) -> BTreeMap<ConsoleServerId, BTreeMap<ConsoleSessionId, SessionStatus>> {
    let status = |known: &Known| SessionStatus {
        generation: known.session.generation,
        vm: known.session.vm,
        viewers: known.pages,
        seen_unix: (known.pages > 0).then(unix_now),
        input_unix: None,
        line: Line::Idle,
        sent_bytes: 0,
        over: known.over,
    };
    let mut shown = BTreeMap::<_, BTreeMap<_, _>>::new();
    for ((server, id), known) in memory.sessions.iter().filter(|((at, _), _)| !memory.stuck.contains(at)) {
        shown.entry(*server).or_default().insert(*id, status(known));
    }
    shown
}

fn ordered(number: Generation, in_force: Generation, is_same: bool) -> Result<(), WireError> {
    match number.order(in_force, is_same) {
        Order::Newer | Order::Same => Ok(()),
        Order::Older => Err(stale(in_force)),
        Order::Different => {
            let message = format!("another description of generation {in_force} is in force");
            Err(WireError {
                in_force: Some(in_force),
                ..WireError::new(ErrorCode::GenerationConflict, message)
            })
        }
    }
}

fn stale(in_force: Generation) -> WireError {
    let error = WireError::new(ErrorCode::StaleGeneration, format!("generation {in_force} is in force"));
    WireError { in_force: Some(in_force), ..error }
}

fn unix_now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

/// Answers until it is killed.
pub(crate) async fn serve(
    ca: String,
    identity: ProxyIdentity,
    proxy: Arc<SimulatedConsoleProxy>,
) -> anyhow::Result<()> {
    let ProxyIdentity { certificate, key } = identity;
    let key = Secret::new(key.expose().clone());
    let identity = Identity { ca_pem: ca, certificate_pem: certificate, key_pem: key };
    let tls = Arc::new(tls::server_config(&identity, Clients::MustShowCertificate)?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let refusals = Refusals::default();
    let routes = routes(proxy, Arc::new(Grants::of(&identity)?), refusals.clone());
    let _answers = elsewhere::answers(identity.peer()?, listener.local_addr()?);
    let stop = CancellationToken::new();
    podzol_rpc::server::serve(listener, tls, routes, refusals.of_connections(), stop).await;
    Ok(())
}

fn routes(proxy: Arc<SimulatedConsoleProxy>, grants: Arc<Grants>, refusals: Refusals) -> Routes {
    type S = Arc<SimulatedConsoleProxy>;
    let put = handle::<DocumentPut, S, _, _>(|proxy, _, (), document| async move { proxy.put(document) });
    let put_session = handle::<SessionPut, S, _, _>(move |proxy, _, id, session| {
        let grants = Arc::clone(&grants);
        async move {
            grants.check(&session)?;
            proxy.put_session(id, session).await
        }
    });
    let delete =
        handle::<SessionDelete, S, _, _>(
            |proxy, _, id, deletion| async move { proxy.delete(id, deletion).await },
        );
    let sessions = handle::<SessionsGet, S, _, _>(|proxy, _, (), ()| async move {
        proxy.waits_for_all().await;
        let memory = proxy.memory();
        Ok(Sessions { boot_id: memory.boot.clone(), sessions: shown(&memory) })
    });
    let status = handle::<StatusGet, S, _, _>(|proxy, _, (), ()| async move {
        proxy.waits_for_all().await;
        Ok(proxy.status())
    });
    Routes::new()
        .route(DocumentPut::ROUTE, put)
        .route(SessionPut::ROUTE, put_session.merge(delete))
        .route(SessionsGet::ROUTE, sessions)
        .route(StatusGet::ROUTE, status)
        .layer(from_fn_with_state(Arc::clone(&proxy), stumble))
        .with_state(proxy)
        // Last, so that it stands before every route above.
        .layer(from_fn_with_state(refusals, management_alone))
}

/// Lets happen to calls what a test wants.
async fn stumble(State(proxy): State<Arc<SimulatedConsoleProxy>>, request: Request, next: Next) -> Response {
    // The sender is with the proxy, so it does not go before.
    let _ = proxy.hangs.subscribe().wait_for(|hangs| !hangs).await;
    if *request.method() == DocumentPut::METHOD {
        let refusal = proxy.refusals.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if let Some(error) = refusal {
            return refuse(&error);
        }
    }
    next.run(request).await
}
