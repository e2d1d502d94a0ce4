//! A client of the API, for tests.

use std::convert::Infallible;

use futures_util::{StreamExt, stream};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Body, Method, RequestBuilder, Response};
use serde_json::Value;

use crate::Answer;
use crate::stream::Changes;

/// Asks the API with one key, or none. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

impl Api {
    /// A client of the API at an address, whose certificate is of this authority (PEM).
    ///
    /// # Panics
    /// When the authority's certificate cannot be used.
    pub fn new(address: std::net::SocketAddr, ca_pem: &str, key: Option<String>) -> Self {
        let tls =
            podzol_rpc::tls::anonymous_client_config(ca_pem).expect("the authority's certificate is one");
        Self { http: podzol_rpc::client::http_client(tls, None), base: format!("https://{address}"), key }
    }

    /// The API's URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The same with another key.
    pub fn with_key(&self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self.clone() }
    }

    /// The same without a key.
    pub fn without_key(&self) -> Self {
        Self { key: None, ..self.clone() }
    }

    /// Gets a path.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, |request| request).await
    }

    /// Gets a path, and the body of the answer as it is.
    ///
    /// # Panics
    /// When it is no success.
    pub async fn get_bytes(&self, path: &str) -> Vec<u8> {
        let response = self.request(Method::GET, path).send().await.expect("the API answers");
        assert_eq!(response.status(), 200, "GET {path}");
        response.bytes().await.expect("the answer does not break off").to_vec()
    }

    /// Posts a JSON body; an empty request if it is null.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send_json(Method::POST, path, body).await
    }

    /// Posts a JSON body, and gives the status of the answer, which is not read.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn post_unread(&self, path: &str, body: &Value) -> u16 {
        let request = self.request(Method::POST, path).body(body.to_string());
        let response = request.send().await.expect("the API answers");
        let status = response.status().as_u16();
        response.bytes().await.expect("the answer does not break off");
        status
    }

    /// Posts a JSON body, and gives the answer before all of it has come.
    ///
    /// # Panics
    /// When it is no success.
    pub async fn post_open(&self, path: &str, body: &Value) -> reqwest::Response {
        let request = self.request(Method::POST, path).body(body.to_string());
        let response = request.send().await.expect("the API answers");
        assert_eq!(response.status(), 200, "POST {path}");
        response
    }

    /// Posts a JSON body, and gives the answer's type and its bytes.
    ///
    /// # Panics
    /// When it is no success, or breaks off.
    pub async fn post_bytes(&self, path: &str, body: &Value) -> (String, Vec<u8>) {
        let response = self.post_open(path, body).await;
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        (kind, response.bytes().await.expect("the answer does not break off").to_vec())
    }

    /// Posts a JSON body with an `Idempotency-Key`.
    pub async fn post_once(&self, path: &str, key: &str, body: &Value) -> Answer {
        let text = body.to_string();
        self.send(Method::POST, path, |request| request.header("Idempotency-Key", key).body(text.clone()))
            .await
    }

    /// Patches with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send_json(Method::PATCH, path, body).await
    }

    /// Puts bytes.
    pub async fn put(&self, path: &str, bytes: &[u8]) -> Answer {
        self.send(Method::PUT, path, |request| request.body(bytes.to_vec())).await
    }

    /// Deletes.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, |request| request).await
    }

    /// Sends a text as it is.
    pub async fn send_text(&self, method: Method, path: &str, text: &str) -> Answer {
        self.send(method, path, |request| request.body(text.to_owned())).await
    }

    /// Sends a request with a header.
    pub async fn send_with_header(&self, method: Method, path: &str, name: &str, value: &str) -> Answer {
        self.send(method, path, |request| request.header(name, value)).await
    }

    /// Sends a JSON body; an empty request if it is null.
    pub async fn send_json(&self, method: Method, path: &str, body: &Value) -> Answer {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.send_text(method, path, &text).await
    }

    /// Posts a body that begins and goes no further.
    pub async fn post_for_ever(&self, path: &str) -> Answer {
        let body = || Body::wrap_stream(stream::iter([Ok::<_, Infallible>("{")]).chain(stream::pending()));
        self.send(Method::POST, path, |request| request.body(body())).await
    }

    /// Follows the stream of changes, from after the one with that id or from now on.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn changes(&self, after: Option<&str>) -> Changes {
        let mut request = self.request(Method::GET, "/v1/changes");
        if let Some(after) = after {
            request = request.header("Last-Event-ID", after);
        }
        let response = request.send().await.expect("the API answers");
        assert_eq!(response.status(), 200, "the stream of changes was refused");
        Changes::new(response)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a request. One that only reads is sent once more if its connection broke: the service may have been
    /// restarted since the last one.
    async fn send(
        &self,
        method: Method,
        path: &str,
        add: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Answer {
        let begun = add(self.request(method.clone(), path)).send().await;
        let response = match begun {
            Err(_) if method == Method::GET => add(self.request(method.clone(), path)).send().await,
            response => response,
        };
        let response = response.unwrap_or_else(|error| panic!("{method} {path}: no answer: {error:?}"));
        read(format!("{method} {path}"), response).await
    }
}

async fn read(request: String, response: Response) -> Answer {
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let content_type = header(CONTENT_TYPE).unwrap_or_default().to_owned();
    let retry_after = header(RETRY_AFTER).map(|secs| secs.parse().expect("it is a number of seconds"));
    let bytes = response.bytes().await.unwrap_or_else(|error| panic!("{request}: broke off: {error:?}"));
    let body = match serde_json::from_slice(&bytes) {
        Ok(body) => body,
        Err(_) if bytes.is_empty() => Value::Null,
        Err(_) => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
    };
    Answer { request, status, content_type, retry_after, body }
}
