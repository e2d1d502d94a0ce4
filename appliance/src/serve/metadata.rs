//! Metadata and passwords over HTTP, on all links. What a VM gets, `podzol-appliance-metadata` says; here are the
//! connections, and their limits.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Response;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use podzol_appliance_api::METADATA_ADDRESS;
use podzol_appliance_metadata::{Facts, PASSWORD_PORT, Passwords, Request, TokenKey};
use podzol_vocab::{InterfaceName, NetworkId, VmId};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::sockets::{self, Places};
use crate::shown::Shown;

/// How long a connection may go on: clients ask a few things and go.
const LONGEST: Duration = Duration::from_secs(30);

/// How long the headers of a request may take.
const HEADERS: Duration = Duration::from_secs(5);

/// The largest headers of a request in bytes. The least that hyper allows.
const LARGEST: usize = 8 << 10;

/// What VMs are told.
pub(super) struct Metadata {
    key: TokenKey,
    begun: Instant,
    told: Mutex<Told>,
}

struct Told {
    facts: Arc<Facts>,
    passwords: Passwords,
}

impl Metadata {
    pub(super) fn new() -> Self {
        let key = TokenKey::new(&rand::random());
        let facts = Arc::new(Facts::new(&Default::default(), key.clone()));
        Self { key, begun: Instant::now(), told: Mutex::new(Told { facts, passwords: Passwords::default() }) }
    }

    /// Follows the document until stopped.
    pub(super) async fn follow(self: Arc<Self>, mut shown: watch::Receiver<Shown>, stop: CancellationToken) {
        let mut version = None;
        loop {
            let now = shown.borrow_and_update().versions.vms;
            if version.replace(now) != Some(now) {
                let document = Arc::clone(&shown.borrow().document);
                let facts = Arc::new(Facts::new(&document, self.key.clone()));
                let mut told = self.told();
                told.facts = facts;
                told.passwords.update(&document);
            }
            match stop.run_until_cancelled(shown.changed()).await {
                Some(Ok(())) => {}
                Some(Err(_)) | None => return,
            }
        }
    }

    /// The VMs that have set the password they were given.
    pub(super) fn passwords_set(&self) -> Vec<VmId> {
        self.told().passwords.passwords_set()
    }

    /// Serves a port of the router's two addresses on a link. On others the same port may be a balancer's.
    pub(super) async fn serve(
        self: Arc<Self>,
        network: NetworkId,
        (link, gateway): (InterfaceName, Ipv4Addr),
        port: u16,
    ) -> io::Result<()> {
        let own = sockets::tcp(link.as_str(), gateway, port)?;
        let well_known = sockets::tcp(link.as_str(), METADATA_ADDRESS, port)?;
        let (places, mut talking) = (Places::default(), tokio::task::JoinSet::new());
        loop {
            let (stream, from, place) = tokio::select! {
                accepted = sockets::accept(&own, &places) => accepted,
                accepted = sockets::accept(&well_known, &places) => accepted,
            };
            while talking.try_join_next().is_some() {}
            // Both are addresses of IPv4.
            let IpAddr::V4(from) = from.ip() else { continue };
            let metadata = Arc::clone(&self);
            talking.spawn(async move {
                // Whatever ends a connection is its client's affair.
                let _ = timeout(LONGEST, metadata.talk(network, from, port, stream)).await;
                drop(place);
            });
        }
    }

    async fn talk(
        self: Arc<Self>,
        network: NetworkId,
        from: Ipv4Addr,
        port: u16,
        stream: TcpStream,
    ) -> hyper::Result<()> {
        let answer = service_fn(|request: hyper::Request<Incoming>| {
            let response = self.answer(network, from, port, &request);
            async move { Ok::<_, Infallible>(response.map(Full::new)) }
        });
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_buf_size(LARGEST)
            .serve_connection(TokioIo::new(stream), answer)
            .await
    }

    fn answer(
        &self,
        network: NetworkId,
        from: Ipv4Addr,
        port: u16,
        request: &hyper::Request<Incoming>,
    ) -> Response<Bytes> {
        let asked =
            Request { method: request.method(), path: request.uri().path(), headers: request.headers() };
        if port == PASSWORD_PORT {
            return self.told().passwords.answer(network, from, &asked).into();
        }
        let facts = Arc::clone(&self.told().facts);
        facts.answer(network, from, &asked, self.begun.elapsed()).into()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
