//! A client and a server over real TLS connections: what one does not let the other do.

#![allow(clippy::unwrap_used, reason = "in a test an error is a panic, in its helpers too")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::Redirect;
use axum::routing::{any, get};
use http::Method;
use podzol_rpc::tls::{Clients, server_config};
use podzol_rpc::{
    AddressBook, CallError, Client, Endpoint, Identity, PeerId, StreamEndpoint, handle, handle_stream, server,
};
use podzol_vocab::{ErrorCode, HostId, Secret, WireError};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes; it ends a test that hangs.
const DEADLINE: Duration = Duration::from_secs(20);

struct Double;

impl Endpoint for Double {
    const METHOD: Method = Method::POST;
    const ROUTE: &'static str = "/double";
    type Path = ();
    type Request = u32;
    type Answer = u32;

    fn path((): &()) -> String {
        Self::ROUTE.into()
    }
}

/// A management service with these routes, and a host's client for it.
struct Pair {
    address: SocketAddr,
    client: Client,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Pair {
    async fn new(router: Router) -> Self {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let identity = |peer: PeerId| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new([peer.to_string()]).unwrap();
            let certificate_pem = params.signed_by(&key, &issuer).unwrap().pem();
            Identity { ca_pem: ca_pem.clone(), certificate_pem, key_pem: Secret::new(key.serialize_pem()) }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = server_config(&identity(PeerId::Management), Clients::MustShowCertificate).unwrap();
        let stop = CancellationToken::new();
        let refused: server::OnRefused = Arc::new(|_, _| ());
        let serving = tokio::spawn(server::serve(listener, Arc::new(tls), router, refused, stop.clone()));
        let book = AddressBook::default();
        book.set(PeerId::Management, address.to_string());
        let client = Client::new(&identity(PeerId::Host(HostId::new())), book).unwrap();
        Self { address, client, stop, serving }
    }

    async fn double(&self, number: u32) -> Result<u32, CallError> {
        self.client.call::<Double>(PeerId::Management, &(), &number, DEADLINE).await
    }

    async fn stopped(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.serving).await.expect("the server ends").unwrap();
    }
}

fn doubling() -> Router {
    Router::new().route(
        Double::ROUTE,
        handle::<Double, (), _, _>(|(), _, (), number: u32| async move {
            number.checked_mul(2).ok_or_else(|| WireError::new(ErrorCode::Invalid, "is too large"))
        }),
    )
}

#[tokio::test]
async fn a_call_is_answered_and_a_refusal_names_its_request() {
    let pair = Pair::new(doubling()).await;
    assert_eq!(pair.double(21).await.unwrap(), 42);
    let error = pair.double(u32::MAX).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Invalid));
    assert_eq!(error.refusal().unwrap().request_id.as_ref().map(String::len), Some(36));
    pair.stopped().await;
}

#[tokio::test]
async fn a_call_that_the_peer_does_not_know_is_refused_for_good() {
    let pair = Pair::new(Router::new()).await;
    let error = pair.double(1).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Invalid));
    assert_eq!(error.refusal().unwrap().message, "does not know this call: HTTP status 404 Not Found");
}

#[tokio::test]
async fn a_download_that_is_not_there_is_not_found() {
    let pair = Pair::new(Router::new().route("/data", get(|| async { "data" }))).await;
    let found = pair.client.download(PeerId::Management, "/data").await.unwrap();
    assert_eq!(found.text().await.unwrap(), "data");
    let error = pair.client.download(PeerId::Management, "/other").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NotFound));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let elsewhere = any(move || async move { count.fetch_add(1, Ordering::Relaxed).to_string() });
    let redirect = any(|| async { Redirect::temporary("/elsewhere") });
    let pair = Pair::new(Router::new().route(Double::ROUTE, redirect).route("/elsewhere", elsewhere)).await;
    assert_eq!(pair.double(1).await.unwrap_err().code(), Some(ErrorCode::Invalid));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read() {
    let pair = Pair::new(Router::new().route(Double::ROUTE, any(|| async { vec![b' '; 17 << 20] }))).await;
    let error = pair.double(1).await.unwrap_err();
    assert!(matches!(error, CallError::TooLarge { .. }), "{error}");
    assert!(error.refusal().is_none());
}

#[tokio::test]
async fn no_connection_outlives_the_server() {
    let pair = Pair::new(doubling()).await;
    let mut silent = TcpStream::connect(pair.address).await.unwrap();
    // Answered later than the silent connection was accepted.
    assert_eq!(pair.double(1).await.unwrap(), 2);

    pair.stopped().await;

    // The other side is closed, or was reset: there is nothing to wait for.
    let mut rest = Vec::new();
    let read = silent.read_to_end(&mut rest);
    let _ = tokio::time::timeout(Duration::from_secs(10), read).await.expect("the connection is closed");
}

#[tokio::test]
async fn a_request_under_way_is_answered_though_a_handshake_hangs() {
    let (entered, released) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (enter, release) = (Arc::clone(&entered), Arc::clone(&released));
    let slow = any(move || async move {
        enter.add_permits(1);
        release.acquire().await.unwrap().forget();
        "2"
    });
    let pair = Pair::new(Router::new().route(Double::ROUTE, slow)).await;
    let _silent = TcpStream::connect(pair.address).await.unwrap();
    let client = pair.client.clone();
    let call =
        tokio::spawn(async move { client.call::<Double>(PeerId::Management, &(), &1, DEADLINE).await });
    entered.acquire().await.unwrap().forget();

    pair.stop.cancel();
    released.add_permits(1);

    assert_eq!(call.await.unwrap().unwrap(), 2);
    pair.stopped().await;
}

/// A stream that gives back what it gets, if it is asked for by that name.
struct Echo;

impl StreamEndpoint for Echo {
    const ROUTE: &'static str = "/echo/{word}";
    type Path = String;

    fn path(word: &String) -> String {
        format!("/echo/{word}")
    }
}

fn echoing() -> Router {
    Router::new().route(
        Echo::ROUTE,
        handle_stream::<Echo, (), _, _, _, _>(|(), caller, asked| async move {
            if asked.path != "please" && asked.grant.as_deref() != Some("mine") {
                return Err(WireError::new(
                    ErrorCode::Refused,
                    format!("{:?} may not", caller.peer().is_some()),
                ));
            }
            Ok(|stream| async move {
                let (mut from, mut to) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            })
        }),
    )
}

#[tokio::test]
async fn a_stream_carries_bytes_both_ways_until_both_sides_have_ended() {
    let pair = Pair::new(echoing()).await;
    let stream = pair
        .client
        .open::<Echo>(PeerId::Management, &"please".into(), Duration::from_secs(10))
        .await
        .unwrap();
    let (mut from, mut to) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..3_000_000u32).map(|number| number as u8).collect();
    let mut got = Vec::new();
    let send = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let (_, read) = tokio::join!(send, from.read_to_end(&mut got));
    read.unwrap();
    assert!(got == sent);
}

#[tokio::test]
async fn a_stream_is_refused_before_its_first_byte() {
    let pair = Pair::new(echoing()).await;
    let refused = pair
        .client
        .open::<Echo>(PeerId::Management, &"now".into(), Duration::from_secs(10))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.refusal().unwrap().message, "true may not");
    let error = pair.client.download(PeerId::Management, "/echo/please").await.unwrap_err();
    assert_eq!(error.refusal().unwrap().message, "must ask for a stream");
}

#[tokio::test]
async fn what_a_caller_shows_reaches_whoever_decides() {
    let pair = Pair::new(echoing()).await;
    let word = "now".to_owned();
    let open = |grant| pair.client.open_granted::<Echo>(PeerId::Management, &word, grant, DEADLINE);
    let mut stream = open("mine").await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    assert!(open("another's").await.is_err());
}
