//! A two-way stream of bytes to a peer, for what is no call: a console, or the memory of a VM on its way to another host.
//!
//! It begins as a request over HTTP/1.1 that asks for the protocol [`PROTOCOL`]; after status 101 the connection carries
//! the bytes of both sides and nothing else (RFC 9110, 7.8). So a stream has the identity, the trust and the port of all
//! calls, and whoever answers decides before the first byte whether the caller may have it.
//!
//! Where who calls is not enough to decide, the caller shows a text that says more, such as a [statement](crate::statement). It
//! stands in a header, not in the path, as paths are logged.
//!
//! Refused: WebSocket, whose masking costs a pass over each byte and gives nothing between our own parts; HTTP/2's
//! extended CONNECT, where one window for all streams of a connection lets a slow one hold up the others.

use std::future::Future;

use axum::extract::{Extension, FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper_util::rt::TokioIo;
use podzol_vocab::{ErrorCode, Invalid, WireError};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::endpoint::refuse;
use crate::peer::Caller;

/// What a request for a stream asks for.
pub(crate) const PROTOCOL: &str = "podzol-stream";

/// The header with what the caller shows.
pub(crate) const GRANT: &str = "podzol-grant";

/// A stream that can be opened on a peer.
pub trait StreamEndpoint {
    /// The path, with `{name}` for each part that varies, as axum routes it.
    const ROUTE: &'static str;
    /// The parts of the path that vary: `()`, one value, or a tuple.
    type Path: DeserializeOwned + Send;

    /// The path with its parts filled in.
    fn path(path: &Self::Path) -> String;
}

/// A request for a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<P> {
    /// The path's parts.
    pub path: P,
    /// What the caller shows to be let in. Nobody has verified it.
    pub grant: Option<String>,
}

/// The bytes of both sides.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A route that answers requests for a stream. The handler gets the state, the caller and what it asks for, and either
/// refuses or gives what is to be done with the stream; that runs on its own, until it ends.
pub fn handle_stream<E, S, H, F, C, W>(handler: H) -> MethodRouter<S>
where
    E: StreamEndpoint + 'static,
    S: Clone + Send + Sync + 'static,
    H: Fn(S, Caller, Asked<E::Path>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<C, WireError>> + Send,
    C: FnOnce(Box<dyn Bytes>) -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    get(move |State(state): State<S>, Extension(caller): Extension<Caller>, request: Request| {
        let handler = handler.clone();
        async move {
            let (mut parts, body) = request.into_parts();
            let asked = parts.headers.get(header::UPGRADE).is_some_and(|protocol| protocol == PROTOCOL);
            let path = Path::<E::Path>::from_request_parts(&mut parts, &state).await;
            let (true, Ok(Path(path))) = (asked, path) else {
                return refuse(&WireError::new(ErrorCode::Invalid, "must ask for a stream"));
            };
            let Ok(grant) = grant(&parts.headers) else {
                return refuse(&WireError::new(ErrorCode::Invalid, "must show one grant"));
            };
            let carry = match handler(state, caller, Asked { path, grant }).await {
                Ok(carry) => carry,
                Err(error) => return refuse(&error),
            };
            let upgrade = hyper::upgrade::on(Request::from_parts(parts, body));
            tokio::spawn(async move {
                match upgrade.await {
                    Ok(stream) => carry(Box::new(TokioIo::new(stream))).await,
                    Err(error) => tracing::warn!(%error, "a stream did not begin"),
                }
            });
            switching()
        }
    })
}

/// What the caller shows.
fn grant(headers: &HeaderMap) -> Result<Option<String>, Invalid> {
    let mut shown = headers.get_all(GRANT).iter();
    match (shown.next(), shown.next()) {
        (None, _) => Ok(None),
        (Some(grant), None) => {
            let text = grant.to_str().map_err(|_| Invalid::new("must be ASCII"))?;
            Ok(Some(text.to_owned()))
        }
        (Some(_), Some(_)) => Err(Invalid::new("must be one")),
    }
}

fn switching() -> Response {
    let protocol = HeaderValue::from_static(PROTOCOL);
    let upgrade = HeaderValue::from_static("upgrade");
    let headers = [(header::UPGRADE, protocol), (header::CONNECTION, upgrade)];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}
