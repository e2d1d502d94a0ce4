//! Calling the API.

use std::path::Path;
use std::time::Duration;

use podzol_mgmt_api::Problem;
use podzol_vocab::Secret;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::arguments::Arguments;

/// How long an answer may take, but for uploads.
const DEADLINE: Duration = Duration::from_secs(90);

/// Why a call has no good answer.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// The API refused it.
    Refused(Box<Problem>),
    /// No answer came.
    Unreachable { url: String, why: String },
    /// This command is not set up to call anybody.
    Setup(String),
    /// An operation takes longer than was to be waited.
    NotEnded { operation: String, seconds: u64 },
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(problem) => write!(f, "{problem} ({})", problem.code),
            Self::Unreachable { url, why } => write!(f, "cannot reach {url}: {why}"),
            Self::Setup(what) => f.write_str(what),
            Self::NotEnded { operation, seconds } => {
                write!(f, "operation {operation} has not ended in {seconds} s; it goes on")
            }
        }
    }
}

impl std::error::Error for ApiError {}

/// The API, with the caller's key.
pub(crate) struct Api {
    http: reqwest::Client,
    url: String,
    key: Secret<String>,
}

impl Api {
    pub(crate) fn new(arguments: &Arguments) -> anyhow::Result<Self> {
        let config = match &arguments.ca_file {
            Some(path) => podzol_rpc::tls::anonymous_client_config(&read(path)?)?,
            None => podzol_rpc::tls::public_client_config()?,
        };
        let key = match (&arguments.key_file, std::env::var("PODZOL_KEY")) {
            (Some(path), _) => read(path)?,
            (None, Ok(key)) => key,
            (None, Err(_)) => {
                let what = "no API key: set PODZOL_KEY_FILE or PODZOL_KEY, or give --key-file".to_owned();
                return Err(ApiError::Setup(what).into());
            }
        };
        Ok(Self {
            http: podzol_rpc::client::api_client(config),
            url: arguments.url.trim_end_matches('/').to_owned(),
            key: Secret::new(key.trim().to_owned()),
        })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(self.key.expose())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ApiError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.text().await.map_err(|error| self.unreachable(&error))?;
        let problem = serde_json::from_str(&text).unwrap_or_else(|_| Problem {
            kind: "about:blank".into(),
            title: status.to_string(),
            status: status.as_u16(),
            code: "unknown".into(),
            detail: format!("the API answers {status}"),
            field: None,
            reasons: vec![],
            request_id: None,
        });
        Err(ApiError::Refused(Box::new(problem)))
    }

    fn unreachable(&self, error: &reqwest::Error) -> ApiError {
        let mut why = String::new();
        let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
        while let Some(error) = cause {
            why = error.to_string();
            cause = error.source();
        }
        ApiError::Unreachable {
            url: self.url.clone(),
            why: if why.is_empty() { error.to_string() } else { why },
        }
    }

    async fn json(&self, request: RequestBuilder) -> Result<Value, ApiError> {
        let response = self.send(request).await?;
        let has_body = response.status() != StatusCode::NO_CONTENT;
        let text = response.text().await.map_err(|error| self.unreachable(&error))?;
        if !has_body {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|_| self.another("what it answers is no JSON"))
    }

    /// Whatever answers is not the API.
    fn another(&self, why: &str) -> ApiError {
        let why = format!("{why}: something else answers there than the management service");
        ApiError::Unreachable { url: self.url.clone(), why }
    }

    pub(crate) async fn get(&self, path: &str, query: &[(String, String)]) -> Result<Value, ApiError> {
        self.json(self.request(Method::GET, path).query(query).timeout(DEADLINE)).await
    }

    /// Creates something, once, even if this program's connection breaks and the request is sent again.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        let once = uuid::Uuid::now_v7().to_string();
        let request =
            || self.request(Method::POST, path).header("Idempotency-Key", &once).json(body).timeout(DEADLINE);
        match self.json(request()).await {
            Err(ApiError::Unreachable { .. }) => self.json(request()).await,
            answer => answer,
        }
    }

    /// Asks for an action, which the API carries out each time it is asked: so never by itself a second time.
    pub(crate) async fn act(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.json(self.request(Method::POST, path).json(body).timeout(DEADLINE)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.json(self.request(Method::PATCH, path).json(body).timeout(DEADLINE)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.json(self.request(Method::PUT, path).json(body).timeout(DEADLINE)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value, ApiError> {
        self.json(self.request(Method::DELETE, path).timeout(DEADLINE)).await
    }

    pub(crate) async fn upload(
        &self,
        path: &str,
        length: u64,
        body: reqwest::Body,
    ) -> Result<Value, ApiError> {
        let request = self.request(Method::PUT, path).header("Content-Length", length).body(body);
        self.json(request).await
    }

    /// Asks for what comes over time, for so long at most, and has it come.
    pub(crate) async fn post_stream(
        &self,
        path: &str,
        body: &Value,
        longest: Duration,
    ) -> Result<Response, ApiError> {
        self.send(self.request(Method::POST, path).json(body).timeout(longest)).await
    }

    /// Opens the stream of changes.
    pub(crate) async fn changes(&self) -> Result<Response, ApiError> {
        self.send(self.request(Method::GET, "/v1/changes")).await
    }

    /// All items of a list, page after page.
    pub(crate) async fn list(
        &self,
        path: &str,
        filters: &[(String, String)],
    ) -> Result<Vec<Value>, ApiError> {
        let mut items = Vec::new();
        let mut query = filters.to_vec();
        query.push(("limit".into(), "500".into()));
        loop {
            let mut page = self.get(path, &query).await?;
            let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) else {
                return Err(self.another("it answers without a list"));
            };
            items.extend(more);
            let Some(next) = page["next"].as_str() else { return Ok(items) };
            query.retain(|(field, _)| field != "after");
            query.push(("after".into(), next.to_owned()));
        }
    }
}

fn read(path: &Path) -> Result<String, ApiError> {
    let told = |error| ApiError::Setup(format!("cannot read {}: {error}", path.display()));
    std::fs::read_to_string(path).map_err(told)
}
