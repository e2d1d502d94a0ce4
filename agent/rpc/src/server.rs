//! The answering side: an accept loop that knows who each connection's peer is.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::peer::{Caller, CallerCertificate};

/// How long a TLS handshake may take. A peer on a slow emulated machine needs under two seconds.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long requests under way may go on after shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(5);

/// Told of connections that did not get in: from where, and why.
pub type OnRefused = Arc<dyn Fn(SocketAddr, String) + Send + Sync>;

/// Serves a router over TLS until `stop` is cancelled; then lets the requests under way end. Each request carries a
/// [`Caller`] as an extension.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    on_refused: OnRefused,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let graceful = Arc::new(GracefulShutdown::new());
    let tracker = tokio_util::task::TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: others may close theirs in a moment.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let connection = Connection {
            acceptor: acceptor.clone(),
            router: router.clone(),
            on_refused: Arc::clone(&on_refused),
            address,
        };
        tracker.spawn(connection.run(stream, Arc::clone(&graceful)));
    }
    drop(listener);
    tracker.close();
    if let Some(graceful) = Arc::into_inner(graceful) {
        let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
    } else {
        let _ = tokio::time::timeout(DRAIN, tracker.wait()).await;
    }
}

struct Connection {
    acceptor: TlsAcceptor,
    router: Router,
    on_refused: OnRefused,
    address: SocketAddr,
}

impl Connection {
    async fn run(self, stream: TcpStream, graceful: Arc<GracefulShutdown>) {
        let address = self.address;
        let _ = stream.set_nodelay(true);
        let stream = match tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return (self.on_refused)(address, error.to_string()),
            Err(_) => return (self.on_refused)(address, "no TLS handshake in time".into()),
        };
        let certificate = match stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()) {
            None => None,
            Some(der) => match CallerCertificate::from_der(der) {
                Ok(certificate) => Some(certificate),
                Err(error) => return (self.on_refused)(address, error.to_string()),
            },
        };
        let caller = Caller { address, certificate };
        let router = self.router;
        let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(caller.clone());
            let mut router = router.clone();
            async move { Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {})) }
        });
        let builder = Builder::new(TokioExecutor::new());
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let watched = graceful.watch(connection);
        drop(graceful);
        if let Err(error) = watched.await {
            tracing::debug!(%address, %error, "connection ended");
        }
    }
}
