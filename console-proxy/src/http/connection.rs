//! Connections of browsers: from the port to requests.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use podzol_vocab::ConsoleServerId;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::busy::{Answering, Busy, Taken};
use super::serve;
use super::strangers::{Stranger, Strangers};
use crate::addresses::Place;
use crate::limits::{BUFFER, CONNECTIONS, HEAD, HEAD_BYTES, IDLE, STALL};
use crate::net::Watched;
use crate::worker::Worker;

/// How long to wait before a port that cannot be opened is tried again, or after files have run out.
const AGAIN: Duration = Duration::from_secs(1);

/// How often an HTTP/2 browser is pinged, and how long it may take to answer.
const PING: Duration = Duration::from_secs(15);

/// A connection, as long as anything of it is there: also a socket that it became.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Where it comes from.
    pub(super) from: IpAddr,
    /// It ends, and all that it has: the server does, or the room is another's.
    pub(super) stop: CancellationToken,
    stranger: RefCell<Option<Stranger>>,
    _place: Place,
    _room: OwnedSemaphorePermit,
}

impl Connection {
    /// It has shown that it is of a session.
    pub(super) fn is_known(&self) {
        self.stranger.take();
    }
}

/// Listens on a port until it is told to stop, and ends all its connections then.
pub(crate) async fn listen(
    worker: Rc<Worker>,
    place: SocketAddr,
    tls: Arc<ServerConfig>,
    stop: CancellationToken,
) {
    let accepting = accept(&worker, place, TlsAcceptor::from(tls), &stop);
    stop.run_until_cancelled(accepting).await;
}

async fn accept(worker: &Rc<Worker>, place: SocketAddr, acceptor: TlsAcceptor, stop: &CancellationToken) {
    let listener = bind(worker, place).await;
    let (places, strangers) = (Arc::new(Semaphore::new(CONNECTIONS)), Rc::<Strangers>::default());
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(AGAIN).await;
                continue;
            }
        };
        let Some(place) = worker.addresses.connect(address.ip(), worker.clock.now()) else {
            worker.counts.refused.set(worker.counts.refused.get() + 1);
            continue;
        };
        let Some(room) = room(&places, &strangers).await else { return };
        let (worker, acceptor, stop) = (Rc::clone(worker), acceptor.clone(), stop.child_token());
        let stranger = RefCell::new(Some(strangers.come(stop.clone())));
        let of_it =
            Connection { from: address.ip(), stop: stop.clone(), stranger, _place: place, _room: room };
        spawn_local(async move {
            let connection = connect(worker, stream, Rc::new(of_it), acceptor);
            if let Some(Err(error)) = stop.run_until_cancelled(connection).await {
                tracing::debug!(%address, %error, "a connection ended");
            }
        });
    }
}

/// Room for a connection. If there is none, the oldest stranger makes some; without strangers it is waited for.
async fn room(places: &Arc<Semaphore>, strangers: &Strangers) -> Option<OwnedSemaphorePermit> {
    if places.available_permits() == 0 {
        strangers.end_oldest();
    }
    Arc::clone(places).acquire_owned().await.ok()
}

/// Opens the port, as soon as it can be.
async fn bind(worker: &Worker, place: SocketAddr) -> TcpListener {
    let id: ConsoleServerId = worker.id;
    loop {
        match TcpListener::bind(place).await {
            Ok(listener) => {
                worker.set_problem(None);
                tracing::info!(server = %id, %place, "listening");
                return listener;
            }
            Err(error) => {
                tracing::warn!(server = %id, %place, %error, "cannot open a port");
                worker.set_problem(Some(format!("cannot listen on {place}: {error}")));
                sleep(AGAIN).await;
            }
        }
    }
}

async fn connect(
    worker: Rc<Worker>,
    stream: TcpStream,
    connection: Rc<Connection>,
    acceptor: TlsAcceptor,
) -> anyhow::Result<()> {
    let stream = Watched::new(stream, Arc::clone(&worker.counts.wire_bytes));
    let stream = timeout(HEAD, acceptor.accept(stream)).await??;
    let busy = Rc::new(Busy::new());
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = |request| answer(Rc::clone(&worker), Rc::clone(&connection), request, busy.begin());
    if is_http2 {
        return unless_useless(http2(stream, service_fn(service)), &busy).await;
    }
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_header_size(HEAD_BYTES);
    builder.max_buf_size(BUFFER).max_headers(64);
    builder.serve_connection(TokioIo::new(stream), service_fn(service)).with_upgrades().await?;
    Ok(())
}

/// Answers requests over HTTP/2.
async fn http2<S>(stream: TlsStream<Watched>, service: S) -> hyper::Result<()>
where
    S: hyper::service::HttpService<Incoming, ResBody = Taken, Error = Infallible>,
    S::Future: 'static,
{
    let mut builder = http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(64)
        .max_header_list_size(HEAD_BYTES as u32)
        .initial_stream_window_size(BUFFER as u32)
        .initial_connection_window_size(4 * BUFFER as u32)
        .max_send_buf_size(2 * BUFFER);
    builder.serve_connection(TokioIo::new(stream), service).await
}

/// Ends a connection on which nothing has been asked for a while, or nothing was taken: HTTP/2 has no such limits of its own.
async fn unless_useless(
    connection: impl Future<Output = hyper::Result<()>>,
    busy: &Busy,
) -> anyhow::Result<()> {
    tokio::pin!(connection);
    // The first request comes soon, or never.
    let mut longest = HEAD;
    loop {
        let left = longest.saturating_sub(busy.idle_for()).min(STALL.saturating_sub(busy.stalled_for()));
        match timeout(left.max(AGAIN), &mut connection).await {
            Ok(ended) => return Ok(ended?),
            Err(_) if busy.stalled_for() >= STALL => anyhow::bail!("nothing is taken"),
            Err(_) if busy.idle_for() >= longest => anyhow::bail!("nothing is asked"),
            Err(_) => longest = IDLE,
        }
    }
}

async fn answer(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    request: Request<Incoming>,
    answering: Answering,
) -> Result<Response<Taken>, Infallible> {
    let answer = serve::answer(&worker, &connection, request).await;
    Ok(answer.map(|content| Taken::new(content, answering)))
}

/// Runs what belongs to connections in this thread.
#[derive(Debug, Clone, Copy)]
struct Local;

impl<F: Future<Output: 'static> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}
