//! Errors as problem documents, with the status that fits their meaning.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use podzol_mgmt_api::Problem;
use podzol_mgmt_app::AppError;

use crate::observe::request_id;

/// An error on its way to the client, and how long it should wait before it tries again, if that is known.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) Box<Problem>, Option<Duration>);

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self(
            Box::new(Problem {
                kind: "about:blank".into(),
                title: status.canonical_reason().unwrap_or("Error").into(),
                status: status.as_u16(),
                code: code.into(),
                detail: detail.into(),
                field: None,
                reasons: vec![],
                request_id: request_id(),
            }),
            None,
        )
    }

    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }
}

impl From<AppError> for Refusal {
    fn from(error: AppError) -> Self {
        let detail = error.to_string();
        match error {
            AppError::Unauthenticated => Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail),
            AppError::Forbidden(_) => Self::new(StatusCode::FORBIDDEN, "forbidden", detail),
            AppError::NotFound(_) => Self::new(StatusCode::NOT_FOUND, "not_found", detail),
            AppError::Invalid { field, .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", detail).field(field)
            }
            AppError::Conflict { code, .. } => Self::new(StatusCode::CONFLICT, code, detail),
            AppError::Exhausted { code, reasons, .. } => {
                let mut refusal = Self::new(StatusCode::CONFLICT, code, detail);
                refusal.0.reasons = reasons;
                refusal
            }
            AppError::TooMany { wait } => {
                let mut refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
                refusal.1 = Some(wait);
                refusal
            }
            AppError::Overloaded => {
                let mut refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail);
                refusal.1 = Some(Duration::from_secs(1));
                refusal
            }
            AppError::Unavailable(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail),
            AppError::DiskFull => {
                tracing::error!("a request failed: the database's disk is full");
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", detail)
            }
            AppError::Internal(_) | AppError::Db(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "the service failed; its log says why",
                )
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
        }
        let later = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(Duration::from_secs(2));
        if let Some(wait) = self.1.or(later) {
            let secs = wait.as_millis().div_ceil(1000).max(1) as u64;
            response.headers_mut().insert(header::RETRY_AFTER, secs.into());
        }
        response
    }
}

pub(crate) fn no_such_route() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "no_such_route",
        "there is no such route; /v1/openapi.json lists them",
    )
}

pub(crate) fn no_such_method() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", "this route has no such method")
}

#[allow(clippy::needless_pass_by_value, reason = "the layer calls it like this")]
pub(crate) fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text, "a handler panicked");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the service failed; its log says why")
        .into_response()
}
