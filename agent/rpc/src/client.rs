//! The calling side.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode, header};
use podzol_vocab::{ErrorCode, WireError};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

use crate::endpoint::{Endpoint, REQUEST_ID};
use crate::identity::{Identity, IdentityError};
use crate::peer::PeerId;
use crate::stream::{self, Bytes, StreamEndpoint};
use crate::tls;

/// The largest answer that is read, in bytes. The largest there is, a report of a host with 1,000 VMs, is under 1 MiB.
const MAX_ANSWER: usize = 16 << 20;

/// Where peers are: `host:port` by identity. A host name is looked up anew at every connection, so that a peer can be
/// moved by a change of DNS.
#[derive(Debug, Clone, Default)]
pub struct AddressBook(Arc<RwLock<HashMap<String, String>>>);

impl AddressBook {
    /// Notes where a peer is: an address or a host name, and a port.
    pub fn set(&self, peer: PeerId, address: impl Into<String>) {
        self.0.write().expect("no holder of this lock panics").insert(peer.to_string(), address.into());
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0.read().expect("no holder of this lock panics").get(name).cloned()
    }
}

impl Resolve for AddressBook {
    fn resolve(&self, name: Name) -> Resolving {
        #[cfg(feature = "sim")]
        if let Some(address) = crate::elsewhere::find(name.as_str()) {
            return Box::pin(async move { Ok(Box::new(std::iter::once(address)) as Addrs) });
        }
        let address = self.get(name.as_str());
        Box::pin(async move {
            let address = address.ok_or_else(|| format!("the address of {} is not known", name.as_str()))?;
            let addresses: Vec<_> = tokio::net::lookup_host(address).await?.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The peer answered with an error.
    #[error("{peer} answered")]
    Refused {
        /// Who answered.
        peer: PeerId,
        /// What it answered.
        source: WireError,
    },
    /// No answer came: not connected, not trusted, or not in time. Whether the call was carried out is not known.
    #[error("no answer from {peer}")]
    NoAnswer {
        /// Who was called.
        peer: PeerId,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// The answer is not what this endpoint answers.
    #[error("cannot read the answer of {peer}")]
    BadAnswer {
        /// Who answered.
        peer: PeerId,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The answer is larger than any that an endpoint gives.
    #[error("the answer of {peer} is larger than {} MiB", MAX_ANSWER >> 20)]
    TooLarge {
        /// Who answered.
        peer: PeerId,
    },
}

impl CallError {
    /// The peer's own error, if it answered with one.
    pub fn refusal(&self) -> Option<&WireError> {
        match self {
            Self::Refused { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Who was called.
    pub fn peer(&self) -> PeerId {
        match self {
            Self::Refused { peer, .. }
            | Self::NoAnswer { peer, .. }
            | Self::BadAnswer { peer, .. }
            | Self::TooLarge { peer } => *peer,
        }
    }

    /// The code of the peer's own error, if it answered with one.
    pub fn code(&self) -> Option<ErrorCode> {
        self.refusal().map(|error| error.code)
    }
}

/// Calls peers over mutual TLS. Connections are kept and shared; cloning is cheap.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// Speaks HTTP/1.1 alone: a stream takes its whole connection.
    streams: reqwest::Client,
}

impl Client {
    /// A client that shows this identity and finds peers in this book.
    ///
    /// # Errors
    /// When the identity cannot be used.
    pub fn new(identity: &Identity, book: AddressBook) -> Result<Self, IdentityError> {
        Ok(Self::over(tls::client_config(identity)?, book))
    }

    /// A client for the one call that needs no identity, to a server whose authority a join token names.
    pub(crate) fn pinned(config: rustls::ClientConfig, book: AddressBook) -> Self {
        Self::over(config, book)
    }

    fn over(config: rustls::ClientConfig, book: AddressBook) -> Self {
        let mut for_streams = config.clone();
        for_streams.alpn_protocols = vec![b"http/1.1".to_vec()];
        let streams = http_client(for_streams, Some(book.clone()));
        Self { http: http_client(config, Some(book)), streams }
    }

    /// Calls an endpoint of a peer, and gives up after `deadline`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call<E: Endpoint>(
        &self,
        peer: PeerId,
        path: &E::Path,
        request: &E::Request,
        deadline: Duration,
    ) -> Result<E::Answer, CallError> {
        #[cfg(feature = "sim")]
        let request = &crate::older::request::<E>(peer, request)?;
        let request = self.request(E::METHOD, peer, &E::path(path)).timeout(deadline).json(request);
        #[cfg(feature = "sim")]
        let sent = crate::weather::send(&self.http, peer, request).await;
        #[cfg(not(feature = "sim"))]
        let sent = request.send().await;
        let answer = sent.map_err(|source| CallError::NoAnswer { peer, source })?;
        let status = answer.status();
        let body = read(peer, answer).await?;
        if status.is_success() {
            #[cfg(feature = "sim")]
            let body = crate::older::answer::<E>(peer, body);
            return serde_json::from_slice(&body).map_err(|source| CallError::BadAnswer { peer, source });
        }
        Err(CallError::Refused { peer, source: refusal(status, &body) })
    }

    /// Opens a streamed download from a peer: the status is success, and the body is still to be read.
    ///
    /// # Errors
    /// See [`CallError`]. What is not there is a refusal with [`ErrorCode::NotFound`].
    pub async fn download(&self, peer: PeerId, path: &str) -> Result<reqwest::Response, CallError> {
        let answer = self.request(Method::GET, peer, path).send().await;
        let answer = answer.map_err(|source| CallError::NoAnswer { peer, source })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let mut source = refusal(status, &read(peer, answer).await?);
        if status == StatusCode::NOT_FOUND {
            source.code = ErrorCode::NotFound;
        }
        Err(CallError::Refused { peer, source })
    }

    /// Calls an endpoint whose answer is no JSON but bytes that come over time: the status is success, and the body is still to
    /// be read, all of it within `deadline`. Only who reads finds that this is over.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call_raw<E: Endpoint>(
        &self,
        peer: PeerId,
        path: &E::Path,
        request: &E::Request,
        deadline: Duration,
    ) -> Result<reqwest::Response, CallError> {
        // A connection of its own: who does not read on holds up no call.
        let request = asking(&self.streams, E::METHOD, peer, &E::path(path)).timeout(deadline).json(request);
        let answer = request.send().await.map_err(|source| CallError::NoAnswer { peer, source })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        Err(CallError::Refused { peer, source: refusal(status, &read(peer, answer).await?) })
    }

    /// Opens a two-way stream of bytes to a peer, and gives up if it has not begun after `deadline`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn open<E: StreamEndpoint>(
        &self,
        peer: PeerId,
        path: &E::Path,
        deadline: Duration,
    ) -> Result<impl Bytes + use<E>, CallError> {
        self.open_showing::<E>(peer, path, None, deadline).await
    }

    /// The same, showing a grant: what lets it in, which a peer wants that does not know this caller well enough.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn open_granted<E: StreamEndpoint>(
        &self,
        peer: PeerId,
        path: &E::Path,
        grant: &str,
        deadline: Duration,
    ) -> Result<impl Bytes + use<E>, CallError> {
        self.open_showing::<E>(peer, path, Some(grant), deadline).await
    }

    async fn open_showing<E: StreamEndpoint>(
        &self,
        peer: PeerId,
        path: &E::Path,
        grant: Option<&str>,
        deadline: Duration,
    ) -> Result<impl Bytes + use<E>, CallError> {
        let no_answer = |source| CallError::NoAnswer { peer, source };
        // The deadline is for the answer's beginning and its body, and a stream has none.
        let request = asking(&self.streams, Method::GET, peer, &E::path(path)).timeout(deadline);
        let request = request.header(header::CONNECTION, "upgrade").header(header::UPGRADE, stream::PROTOCOL);
        let request = match grant {
            Some(grant) => request.header(stream::GRANT, grant),
            None => request,
        };
        #[cfg(feature = "sim")]
        let (answer, lasts) = crate::weather::open(&self.streams, peer, request).await.map_err(no_answer)?;
        #[cfg(not(feature = "sim"))]
        let answer = request.send().await.map_err(no_answer)?;
        let status = answer.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let stream = answer.upgrade().await.map_err(no_answer)?;
            #[cfg(feature = "sim")]
            let stream = crate::weather::Lasting { stream, lasts };
            return Ok(stream);
        }
        Err(CallError::Refused { peer, source: refusal(status, &read(peer, answer).await?) })
    }

    fn request(&self, method: Method, peer: PeerId, path: &str) -> reqwest::RequestBuilder {
        asking(&self.http, method, peer, path)
    }
}

fn asking(client: &reqwest::Client, method: Method, peer: PeerId, path: &str) -> reqwest::RequestBuilder {
    let id = uuid::Uuid::now_v7().to_string();
    let date = httpdate::fmt_http_date(SystemTime::now());
    client.request(method, format!("https://{peer}{path}")).header(REQUEST_ID, id).header(header::DATE, date)
}

/// When a request was sent, in Unix seconds by the clock of whoever sent it; nothing if it does not say so.
pub fn sent_at(headers: &header::HeaderMap) -> Option<u64> {
    let date = httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    Some(date.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

/// Reads a whole answer, but not one without an end.
async fn read(peer: PeerId, mut answer: reqwest::Response) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|source| CallError::NoAnswer { peer, source })? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(CallError::TooLarge { peer });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What a peer says that did not succeed. Without a body of ours, not the endpoint has answered but what stands before
/// it: a peer that does not know the call will not know it later either.
fn refusal(status: StatusCode, body: &[u8]) -> WireError {
    let other = |_| match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            WireError::new(ErrorCode::Unavailable, format!("HTTP status {status}"))
        }
        _ if status.is_server_error() => WireError::new(ErrorCode::Internal, format!("HTTP status {status}")),
        _ => WireError::new(ErrorCode::Invalid, format!("does not know this call: HTTP status {status}")),
    };
    serde_json::from_slice(body).unwrap_or_else(other)
}

/// An HTTP client over these TLS settings. With a book it is for peers, and then speaks to nobody but whom it is told
/// to: a redirect would show our certificate to another. Without one it is for the public, and follows redirects.
///
/// # Panics
/// Never: the settings are of the TLS library that the client was built with.
pub fn http_client(config: rustls::ClientConfig, book: Option<AddressBook>) -> reqwest::Client {
    match book {
        Some(book) => built(for_one(config).dns_resolver(book)),
        None => built(client(config)),
    }
}

/// An HTTP client of the management service's API: the caller's key goes to nobody else, and never in the clear.
///
/// # Panics
/// Never, as [`http_client`].
pub fn api_client(config: rustls::ClientConfig) -> reqwest::Client {
    built(for_one(config))
}

/// A client that goes where it is told to alone.
fn for_one(config: rustls::ClientConfig) -> reqwest::ClientBuilder {
    client(config).redirect(Policy::none()).https_only(true)
}

fn client(config: rustls::ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        // As long as a server waits for it.
        .connect_timeout(Duration::from_secs(10))
        .tcp_keepalive(Duration::from_secs(15))
        .tcp_nodelay(true)
        // An idle connection through a dead peer is found out before it is used again.
        .pool_idle_timeout(Duration::from_secs(30))
        .no_proxy()
}

fn built(builder: reqwest::ClientBuilder) -> reqwest::Client {
    builder.build().expect("the TLS settings are of the library that the client was built with")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: StatusCode, expected: ErrorCode) {
        let error = refusal(status, b"<html>");
        assert_eq!(error.code, expected, "{status}");
        assert!(error.message.contains(status.as_str()), "{error}");
    }

    #[tokio::test]
    async fn a_key_is_not_sent_in_the_clear() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/vms", listener.local_addr().unwrap());
        let client = api_client(crate::tls::public_client_config().unwrap());
        let asked = client.get(url).bearer_auth("podzol.x").send();
        let error = tokio::select! {
            sent = asked => sent.unwrap_err(),
            _ = listener.accept() => panic!("it has connected"),
        };
        assert!(error.is_builder(), "{error:?}");
    }

    #[test]
    fn a_status_without_a_body_of_ours_is_temporary_only_if_the_peer_failed() {
        for status in [400, 404, 405, 413, 415, 307] {
            check(StatusCode::from_u16(status).unwrap(), ErrorCode::Invalid);
        }
        check(StatusCode::TOO_MANY_REQUESTS, ErrorCode::Unavailable);
        check(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Internal);
        check(StatusCode::BAD_GATEWAY, ErrorCode::Internal);
    }

    #[test]
    fn a_request_says_when_it_was_sent() {
        let unix = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let client = http_client(tls::public_client_config().unwrap(), None);
        let before = unix();
        let request = asking(&client, Method::GET, PeerId::Management, "/v1").build().unwrap();
        assert!((before..=unix()).contains(&sent_at(request.headers()).unwrap()));
        assert_eq!(sent_at(&header::HeaderMap::new()), None);
    }

    #[test]
    fn a_body_of_ours_counts_more_than_the_status() {
        let sent = WireError::new(ErrorCode::Conflict, "it is in use");
        let body = serde_json::to_vec(&sent).unwrap();
        assert_eq!(refusal(StatusCode::NOT_FOUND, &body), sent);
    }
}
