//! A host's agent, as far as consoles need one: streams over mutual TLS to UNIX sockets, for console proxies that were granted
//! them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use podzol_agent_api::console::{DisplayStream, SerialStream};
use podzol_agent_api::grant::{ConsoleAsk, ConsoleGrant, ConsoleStream};
use podzol_console_proxy_api::Upstream;
use podzol_rpc::statement::Verifier;
use podzol_rpc::tls::{Clients, server_config};
use podzol_rpc::{Asked, Bytes, Caller, PeerId, StreamEndpoint, handle_stream, server};
use podzol_vocab::{ErrorCode, HostId, VmId, WireError};
use tokio::net::{TcpListener, UnixStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::installation::{Installation, unix};

/// A host.
pub(crate) struct Host {
    pub(crate) id: HostId,
    address: String,
    sockets: Sockets,
    opened: Arc<AtomicUsize>,
    _stop: DropGuard,
}

/// The sockets of the VM that it has: its display's and its serial port's. None if it has no VM.
type Sockets = Arc<Mutex<Option<(PathBuf, PathBuf)>>>;

impl Host {
    pub(crate) async fn new(installation: &Installation) -> Self {
        let (id, sockets, stop) = (HostId::new(), Sockets::default(), CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let identity = installation.authority.identity(PeerId::Host(id));
        let tls = server_config(&identity, Clients::MustShowCertificate).unwrap();
        let door = Arc::new(Door {
            host: id,
            verifier: Verifier::new(&identity).unwrap(),
            sockets: Arc::clone(&sockets),
            opened: Arc::default(),
        });
        let opened = Arc::clone(&door.opened);
        let display = handle_stream::<DisplayStream, Arc<Door>, _, _, _, _>(
            |door: Arc<Door>, caller, asked| async move {
                door.enter(&caller, asked, ConsoleStream::Display).await
            },
        );
        let serial = handle_stream::<SerialStream, Arc<Door>, _, _, _, _>(
            |door: Arc<Door>, caller, asked| async move {
                door.enter(&caller, asked, ConsoleStream::Serial).await
            },
        );
        let routes = Router::new()
            .route(DisplayStream::ROUTE, display)
            .route(SerialStream::ROUTE, serial)
            .with_state(door);
        let refused: server::OnRefused = Arc::new(|address, why| panic!("{address} was refused: {why}"));
        tokio::spawn(server::serve(listener, Arc::new(tls), routes, refused, stop.clone()));
        Self { id, address, sockets, opened, _stop: stop.drop_guard() }
    }

    /// It has the VM with these sockets.
    pub(crate) fn has(&self, display: PathBuf, serial: PathBuf) {
        *self.sockets.lock().unwrap() = Some((display, serial));
    }

    /// It has no VM.
    pub(crate) fn has_none(&self) {
        *self.sockets.lock().unwrap() = None;
    }

    /// How many streams were opened at it.
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// The way to a display on it.
    pub(crate) fn way(&self) -> Upstream {
        // The first address does not answer.
        let addresses = vec!["127.0.0.1:1".parse().unwrap(), self.address.parse().unwrap()];
        Upstream::Agent { host: self.id, addresses }
    }
}

/// Who gets to the sockets.
struct Door {
    host: HostId,
    verifier: Verifier,
    sockets: Sockets,
    opened: Arc<AtomicUsize>,
}

type Carried = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Door {
    async fn enter(
        &self,
        caller: &Caller,
        asked: Asked<VmId>,
        stream: ConsoleStream,
    ) -> Result<impl FnOnce(Box<dyn Bytes>) -> Carried + Send + use<>, WireError> {
        let (Some(PeerId::ConsoleProxy(proxy)), vm) = (caller.peer(), asked.path) else {
            panic!("{caller:?} is no console proxy");
        };
        let refused = |why: String| WireError::new(ErrorCode::Refused, why);
        let grant = asked.grant.ok_or_else(|| refused("shows no grant".into()))?;
        let grant = self.verifier.verify::<ConsoleGrant>(&grant, unix());
        let (who, grant) = grant.map_err(|error| refused(error.to_string()))?;
        assert_eq!(who, PeerId::Management);
        let asks = ConsoleAsk { proxy, vm, host: self.host, stream };
        grant.covers(&asks, unix()).map_err(|error| refused(error.to_string()))?;
        let lasts = Duration::from_secs(grant.expires_unix - unix());
        let paths = self.sockets.lock().unwrap().clone();
        let path = paths.map(|(display, serial)| match stream {
            ConsoleStream::Display => display,
            ConsoleStream::Serial => serial,
        });
        let not_here = || WireError::new(ErrorCode::NotFound, format!("VM {vm} is not here"));
        let mut socket = UnixStream::connect(path.ok_or_else(not_here)?).await.map_err(|_| not_here())?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(move |mut stream: Box<dyn Bytes>| -> Carried {
            Box::pin(async move {
                let carried = tokio::io::copy_bidirectional(&mut stream, &mut socket);
                let _ = tokio::time::timeout(lasts, carried).await;
            })
        })
    }
}
