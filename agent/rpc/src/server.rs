//! The answering side: an accept loop that knows who each connection's peer is.
//!
//! Whoever connects costs a file and a little memory, so each thing that it may leave undone has a deadline: the TLS
//! handshake, its first request, a request's headers and body, and in HTTP/2 the answer to a ping. What is still there is
//! bounded by [`MAX_CONNECTIONS`], and for those of one address that have not shown who they are by [`STRANGERS`].

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::peer::{Caller, CallerCertificate};
use crate::strangers::{STRANGERS, Stranger, Strangers};

/// How long a TLS handshake may take. A peer on a slow emulated machine needs under two seconds.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a connection may be without its first request, and how long the headers of one may take.
const HEADERS: Duration = Duration::from_secs(30);

/// How often an HTTP/2 peer is pinged, and how long it may take to answer: a dead one is found out in twice that time.
const PING: Duration = Duration::from_secs(20);

/// How many connections one listener has at a time; more wait in the kernel's queue. A daemon has at most two listeners
/// and may have 65,536 files open (`LimitNOFILE` of the units), so that 16,384 are left for all else.
const MAX_CONNECTIONS: usize = 24_576;

/// How long requests under way may go on after shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(5);

/// Told of connections that did not get in: from where, and why.
pub type OnRefused = Arc<dyn Fn(SocketAddr, String) + Send + Sync>;

/// Serves a router over TLS until `stop` is cancelled; then lets the requests under way end, and cuts off what does not
/// end soon: no connection outlives this call. Each request carries a [`Caller`] as an extension.
///
/// Callers are the installation's own parts: of those that do not show a certificate, few of each address are let in.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    on_refused: OnRefused,
    stop: CancellationToken,
) {
    serve_with(listener, tls, router, on_refused, stop, Strangers::new(STRANGERS)).await;
}

/// The same for callers who have no certificates, and of whom many may come from one address, such as a load balancer's.
pub async fn serve_anyone(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    on_refused: OnRefused,
    stop: CancellationToken,
) {
    serve_with(listener, tls, router, on_refused, stop, Strangers::new(MAX_CONNECTIONS)).await;
}

async fn serve_with(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    on_refused: OnRefused,
    stop: CancellationToken,
    strangers: Strangers,
) {
    let acceptor = TlsAcceptor::from(tls);
    let (graceful, tracker, abort) = (GracefulShutdown::new(), TaskTracker::new(), CancellationToken::new());
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Some((stream, address, place)) = stop.run_until_cancelled(next(&listener, &places)).await {
        let Some(stranger) = strangers.come(address.ip()) else {
            let why = "too many connections of this address do not show who they are";
            on_refused(address, why.to_owned());
            continue;
        };
        let connection = Connection {
            acceptor: acceptor.clone(),
            router: router.clone(),
            on_refused: Arc::clone(&on_refused),
            address,
            stop: stop.clone(),
        };
        let (watcher, abort) = (graceful.watcher(), abort.clone());
        tracker.spawn(async move {
            abort.run_until_cancelled(connection.run(stream, stranger, watcher)).await;
            drop(place);
        });
    }
    drop(listener);
    tracker.close();
    let _ = timeout(DRAIN, graceful.shutdown()).await;
    abort.cancel();
    tracker.wait().await;
}

/// The next connection, when there is a place for it.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    if places.available_permits() == 0 {
        tracing::warn!("there are {MAX_CONNECTIONS} connections; others wait");
    }
    let place = Arc::clone(places).acquire_owned().await.expect("nobody closes the semaphore");
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return (stream, address, place),
            Err(error) => {
                // Out of file descriptors, most likely: others may close theirs in a moment.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

struct Connection {
    acceptor: TlsAcceptor,
    router: Router,
    on_refused: OnRefused,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream, stranger: Stranger, watcher: Watcher) {
        match self.stop.run_until_cancelled(self.shake_hands(stream)).await {
            None => {}
            Some(Ok((stream, caller))) => {
                let _still = Some(stranger).filter(|_| caller.certificate.is_none());
                self.answer(stream, caller, watcher).await;
            }
            Some(Err(why)) => (self.on_refused)(self.address, why),
        }
    }

    /// The encrypted connection and who is at its other end, or why it does not get in.
    async fn shake_hands(&self, stream: TcpStream) -> Result<(TlsStream<TcpStream>, Caller), String> {
        let _ = stream.set_nodelay(true);
        // A stream has no pings of its own, as HTTP/2 has: this is how a dead peer of one is found out.
        let alive = TcpKeepalive::new().with_time(PING).with_interval(PING / 4).with_retries(4);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&alive);
        let stream = timeout(HANDSHAKE, self.acceptor.accept(stream))
            .await
            .map_err(|_| "no TLS handshake in time".to_owned())?
            .map_err(|error| error.to_string())?;
        let first = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = first.map(|der| CallerCertificate::from_der(der)).transpose();
        let certificate = certificate.map_err(|error| error.to_string())?;
        Ok((stream, Caller { address: self.address, certificate }))
    }

    async fn answer(self, stream: TlsStream<TcpStream>, caller: Caller, watcher: Watcher) {
        let Self { router, address, .. } = self;
        let spoke = CancellationToken::new();
        let first_request = spoke.clone();
        let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            first_request.cancel();
            request.extensions_mut().insert(caller.clone());
            let mut router = router.clone();
            async move { Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {})) }
        });
        let connection = builder().serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        tokio::select! {
            ended = watcher.watch(connection) => if let Err(error) = ended {
                tracing::debug!(%address, %error, "connection ended");
            },
            () = silence(spoke) => tracing::debug!(%address, "connection without a request closed"),
        }
    }
}

/// Ends if there is no first request in time. The timeouts of HTTP itself begin only when its version is known.
async fn silence(spoke: CancellationToken) {
    if timeout(HEADERS, spoke.cancelled()).await.is_ok() {
        pending().await
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING).keep_alive_timeout(PING);
    builder
}
