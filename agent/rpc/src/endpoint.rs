//! An endpoint as a type, and how a server answers it.

use std::future::Future;

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, on};
use http::{Method, StatusCode, header};
use http_body_util::BodyExt;
use podzol_vocab::{ErrorCode, WireError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::peer::Caller;

/// The largest request body that a server reads, in bytes. A VM plan with the largest user-data is under 200 KiB; a
/// report of a host with 1,000 VMs is under 1 MiB.
const MAX_BODY: usize = 4 << 20;

/// One call between two parts: method, path and bodies.
pub trait Endpoint {
    /// The HTTP method.
    const METHOD: Method;
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

/// A route that answers an endpoint. The handler gets the state, the caller, the path's parts and the body.
pub fn handle<E, S, H, F>(handler: H) -> MethodRouter<S>
where
    E: Endpoint + 'static,
    S: Clone + Send + Sync + 'static,
    H: Fn(S, Caller, E::Path, E::Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<E::Answer, WireError>> + Send,
{
    let filter = E::METHOD.try_into().expect("every endpoint's method is one that axum routes");
    on(
        filter,
        move |State(state): State<S>,
              Extension(caller): Extension<Caller>,
              Path(path): Path<E::Path>,
              body: Body| {
            let handler = handler.clone();
            async move {
                let request = match read::<E::Request>(body).await {
                    Ok(request) => request,
                    Err(error) => return refuse(&error),
                };
                match handler(state, caller, path, request).await {
                    Ok(answer) => axum::Json(answer).into_response(),
                    Err(error) => refuse(&error),
                }
            }
        },
    )
}

async fn read<T: DeserializeOwned>(body: Body) -> Result<T, WireError> {
    let invalid = |message: String| WireError::new(ErrorCode::Invalid, message);
    let bytes = http_body_util::Limited::new(body, MAX_BODY)
        .collect()
        .await
        .map_err(|error| invalid(format!("cannot read the body: {error}")))?
        .to_bytes();
    let text: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| invalid(format!("{}: {}", error.path(), error.inner())))
}

/// The answer for an error.
pub fn refuse(error: &WireError) -> Response {
    let status = StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json")], axum::Json(error)).into_response()
}
