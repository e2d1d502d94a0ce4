//! An endpoint as a type, and how a server answers it.

use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, on};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt;
use podzol_vocab::{ErrorCode, WireError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument;

use crate::peer::Caller;

/// The largest request body that a server reads, in bytes, unless its endpoint says otherwise. A VM plan with the largest user-data is under 200 KiB; a
/// report of a host with 1,000 VMs is under 1 MiB.
const MAX_BODY: usize = 4 << 20;

/// How long a request's body may take. The largest needs a second on a link of 40 Mbit/s.
const BODY: Duration = Duration::from_secs(30);

/// The header with a request's id, by which the logs of both sides are found.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// One call between two parts: method, path and bodies.
pub trait Endpoint {
    /// The HTTP method.
    const METHOD: Method;
    /// The largest request body, in bytes.
    const MAX_BODY: usize = MAX_BODY;
    /// The path, with `{name}` for each part that varies, as axum routes it.
    const ROUTE: &'static str;
    /// The parts of the path that vary: `()`, one value, or a tuple.
    type Path: DeserializeOwned + Send;
    /// The body of the request; `()` for none.
    type Request: Serialize + DeserializeOwned + Send;
    /// The body of the answer; `()` for none.
    type Answer: Serialize + DeserializeOwned + Send;

    /// The path with its parts filled in.
    fn path(path: &Self::Path) -> String;
}

/// A route that answers an endpoint. The handler gets the state, the caller, the path's parts and the body. It runs in a
/// span `rpc` with the method, the route, the request's id and the caller; a refusal names the request's id too.
pub fn handle<E, S, H, F>(handler: H) -> MethodRouter<S>
where
    E: Endpoint + 'static,
    S: Clone + Send + Sync + 'static,
    H: Fn(S, Caller, E::Path, E::Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<E::Answer, WireError>> + Send,
{
    handle_raw::<E, S, _, _>(move |state, caller, path, request| {
        let answer = handler(state, caller, path, request);
        async move { Ok(axum::Json(answer.await?).into_response()) }
    })
}

/// The same for an endpoint whose answer is not JSON: the handler makes all of it.
pub fn handle_raw<E, S, H, F>(handler: H) -> MethodRouter<S>
where
    E: Endpoint + 'static,
    S: Clone + Send + Sync + 'static,
    H: Fn(S, Caller, E::Path, E::Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response, WireError>> + Send,
{
    let filter = E::METHOD.try_into().expect("every endpoint's method is one that axum routes");
    on(
        filter,
        move |State(state): State<S>,
              Extension(caller): Extension<Caller>,
              Path(path): Path<E::Path>,
              headers: HeaderMap,
              body: Body| {
            let handler = handler.clone();
            let request_id = request_id(&headers);
            let span = span::<E>(request_id.as_deref(), &caller);
            let work = async move {
                let outcome = match read::<E::Request>(body, E::MAX_BODY, BODY).await {
                    Ok(request) => handler(state, caller, path, request).await,
                    Err(error) => Err(error),
                };
                match outcome {
                    Ok(answer) => answer,
                    Err(error) => refuse(&WireError { request_id, ..error }),
                }
            };
            work.instrument(span)
        },
    )
}

fn span<E: Endpoint>(request_id: Option<&str>, caller: &Caller) -> tracing::Span {
    let caller = caller.peer().map(tracing::field::display);
    tracing::info_span!("rpc", method = %E::METHOD, route = E::ROUTE, request_id, caller)
}

/// The id that the caller gave its request. It goes into logs, so a long one is not taken.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    (id.len() <= 64).then(|| id.to_owned())
}

async fn read<T: DeserializeOwned>(body: Body, largest: usize, within: Duration) -> Result<T, WireError> {
    let invalid = |message: String| WireError::new(ErrorCode::Invalid, message);
    let collected = http_body_util::Limited::new(body, largest).collect();
    let bytes = tokio::time::timeout(within, collected)
        .await
        .map_err(|_| WireError::new(ErrorCode::Unavailable, "the body did not come in time"))?
        .map_err(|error| invalid(format!("cannot read the body: {error}")))?
        .to_bytes();
    let text: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| invalid(format!("{}: {}", error.path(), error.inner())))?;
    deserializer.end().map_err(|error| invalid(format!("more than one value: {error}")))?;
    Ok(value)
}

/// The answer for an error.
pub fn refuse(error: &WireError) -> Response {
    let status = StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json")], axum::Json(error)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_one_value_and_nothing_behind_it() {
        assert_eq!(read::<u8>(Body::from("1 "), MAX_BODY, BODY).await, Ok(1));
        assert_eq!(read::<()>(Body::empty(), MAX_BODY, BODY).await, Ok(()));
        let error = read::<u8>(Body::from("1 2"), MAX_BODY, BODY).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Invalid);
        assert!(error.message.starts_with("more than one value: "), "{error}");
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_is_not_waited_for() {
        let body = Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
        let error = read::<u8>(body, MAX_BODY, Duration::ZERO).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable);
    }

    #[test]
    fn a_request_without_a_sensible_id_has_none() {
        let with = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, id.parse().unwrap());
            request_id(&headers)
        };
        assert_eq!(with("0198-7").as_deref(), Some("0198-7"));
        assert_eq!(with(&"x".repeat(65)), None);
        assert_eq!(request_id(&HeaderMap::new()), None);
    }
}
