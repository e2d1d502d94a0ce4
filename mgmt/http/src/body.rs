//! Taking a request apart: bodies, ids in paths, and queries, each with an error that names the field.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::StatusCode;
use http::request::Parts;
use podzol_mgmt_app::{App, Once};
use podzol_vocab::Sha256;
use serde::de::DeserializeOwned;
use sha2::Digest;

use crate::problem::Refusal;

/// The header by which a create is carried out once.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// How long a JSON body may take to come.
const BODY: Duration = Duration::from_secs(30);

/// A JSON body.
pub(crate) struct Json<T> {
    pub(crate) value: T,
    pub(crate) once: Option<Once>,
}

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let key =
            request.headers().get(IDEMPOTENCY_KEY).map(|value| value.to_str().unwrap_or_default().to_owned());
        if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > 128) {
            let detail = "Idempotency-Key: must be 1 to 128 visible ASCII characters";
            return Err(
                Refusal::new(StatusCode::BAD_REQUEST, "invalid_header", detail).field("Idempotency-Key")
            );
        }
        let mut digest = sha2::Sha256::new();
        digest.update(request.method().as_str());
        digest.update(request.uri().path());
        let body = tokio::time::timeout(BODY, bytes::Bytes::from_request(request, app)).await;
        let body = body.map_err(|_| {
            let detail = format!("the body did not come within {} s", BODY.as_secs());
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail)
        })?;
        let bytes = body.map_err(|rejection| {
            Refusal::new(rejection.status(), "unreadable_body", rejection.body_text())
        })?;
        digest.update(&bytes);
        let request = Sha256::from_bytes(digest.finalize().into());
        Ok(Self { value: parse(&bytes)?, once: key.map(|key| Once { key, request }) })
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let text = if bytes.is_empty() { b"{}" } else { bytes };
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, "malformed_json", format!("the body is not JSON: {error}"))
    })?;
    // serde takes a list for a struct, field by field; nobody who sends one means that.
    if !value.is_object() {
        let rule = "the body must be a JSON object";
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", rule));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let rule = error.into_inner().to_string();
        let missing = rule.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        let (field, rule) = match (missing, path.as_str()) {
            (Some(field), ".") => (field.to_owned(), "missing field"),
            (Some(field), path) => (format!("{path}.{field}"), "missing field"),
            (None, ".") => return Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", rule),
            (None, path) => (path.to_owned(), rule.as_str()),
        };
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", format!("{field}: {rule}"))
            .field(field)
    })
}

/// The id in a path. One that is not an id names nothing, so it answers 404.
pub(crate) struct Id<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Id<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let path = Path::<T>::from_request_parts(parts, app).await;
        path.map(|Path(id)| Self(id)).map_err(|rejection| {
            Refusal::new(
                StatusCode::NOT_FOUND,
                "not_found",
                format!("there is none: {}", rejection.body_text()),
            )
        })
    }
}

/// The query of a list.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let query = Query::<T>::from_request_parts(parts, app).await;
        query.map(|Query(query)| Self(query)).map_err(|rejection| {
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_query", rejection.body_text())
        })
    }
}
