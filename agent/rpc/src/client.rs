//! The calling side.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use podzol_vocab::{ErrorCode, WireError};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::endpoint::Endpoint;
use crate::identity::{Identity, IdentityError};
use crate::peer::PeerId;
use crate::tls;

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
}

impl CallError {
    /// The peer's own error, if it answered with one.
    pub fn refusal(&self) -> Option<&WireError> {
        match self {
            Self::Refused { source, .. } => Some(source),
            _ => None,
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
}

impl Client {
    /// A client that shows this identity and finds peers in this book.
    ///
    /// # Errors
    /// When the identity cannot be used.
    pub fn new(identity: &Identity, book: AddressBook) -> Result<Self, IdentityError> {
        Ok(Self { http: http_client(tls::client_config(identity)?, Some(book)) })
    }

    /// A client for the one call that needs no identity, to a server whose authority a join token names.
    pub(crate) fn pinned(config: rustls::ClientConfig, book: AddressBook) -> Self {
        Self { http: http_client(config, Some(book)) }
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
        let no_answer = |source| CallError::NoAnswer { peer, source };
        let url = format!("https://{peer}{}", E::path(path));
        let request = self
            .http
            .request(E::METHOD, url)
            .header("x-request-id", uuid::Uuid::now_v7().to_string())
            .timeout(deadline)
            .json(request);
        let answer = request.send().await.map_err(no_answer)?;
        let ok = answer.status().is_success();
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(no_answer)?;
        if ok {
            return serde_json::from_slice(&bytes).map_err(|source| CallError::BadAnswer { peer, source });
        }
        let source = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| WireError::new(ErrorCode::Internal, format!("HTTP status {status}")));
        Err(CallError::Refused { peer, source })
    }

    /// Opens a streamed download from a peer: the status is success, and the body is still to be read.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn download(&self, peer: PeerId, path: &str) -> Result<reqwest::Response, CallError> {
        let no_answer = |source| CallError::NoAnswer { peer, source };
        let url = format!("https://{peer}{path}");
        self.http.get(url).send().await.map_err(no_answer)?.error_for_status().map_err(no_answer)
    }
}

/// An HTTP client over these TLS settings.
///
/// # Panics
/// Never: the settings are of the TLS library that the client was built with.
pub fn http_client(config: rustls::ClientConfig, book: Option<AddressBook>) -> reqwest::Client {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .connect_timeout(Duration::from_secs(5))
        .tcp_keepalive(Duration::from_secs(15))
        .tcp_nodelay(true)
        // An idle connection through a dead peer is found out before it is used again.
        .pool_idle_timeout(Duration::from_secs(30))
        .no_proxy();
    if let Some(book) = book {
        builder = builder.dns_resolver(book);
    }
    builder.build().expect("the TLS settings are of the library that the client was built with")
}
