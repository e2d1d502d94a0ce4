//! Requests and responses, as far as they matter here. Neither shows a secret when it is printed.

use std::fmt;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// A request. Nothing here asks for a query, so there is none; a body is not read.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path as it came, still percent-encoded, without the query.
    pub path: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold a token.
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A response. That to `HEAD` has the body of that to `GET`, so that its length is known: the server sends none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// What the body is.
    pub content_type: &'static str,
    /// The other headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// What was asked for, as text.
    pub(crate) fn text(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type: "text/plain", headers: Vec::new(), body: body.into() }
    }

    /// What was asked for, as whatever it is.
    pub(crate) fn data(body: Bytes) -> Self {
        Self { content_type: "application/octet-stream", ..Self::text(body) }
    }

    /// No, and why.
    pub(crate) fn refusal(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or_default();
        Self { status, ..Self::text(reason) }
    }

    /// Not with this method, but with these.
    pub(crate) fn wrong_method(allowed: &'static str) -> Self {
        Self::refusal(StatusCode::METHOD_NOT_ALLOWED).with(ALLOW, HeaderValue::from_static(allowed))
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("content_type", &self.content_type)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl From<Response> for http::Response<Bytes> {
    fn from(response: Response) -> Self {
        let mut made = Self::new(response.body);
        *made.status_mut() = response.status;
        made.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(response.content_type));
        made.headers_mut().extend(response.headers);
        made
    }
}
