//! What is noted of every request: its id, how long it took, and how it ended.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;
use podzol_mgmt_app::App;
use tokio::time::Instant;
use tracing::Instrument;

/// The methods that routes have.
const KNOWN: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

tokio::task_local! {
    static REQUEST_ID: String;
}

/// The id of the request that is being answered.
pub(crate) fn request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}

pub(crate) async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = uuid::Uuid::now_v7().to_string();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", id, %method, route, path = request.uri().path());
    let begun = Instant::now();
    let mut response = REQUEST_ID.scope(id.clone(), next.run(request).instrument(span.clone())).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    let status = response.status();
    // Any word is a method to HTTP, so one that no route has is not a label.
    let method = if KNOWN.contains(&method.as_str()) { method.as_str() } else { "other" };
    let metrics = app.metrics();
    metrics.requests.with_label_values(&[method, route.as_str(), status.as_str()]).inc();
    metrics
        .request_seconds
        .with_label_values(&[method, route.as_str()])
        .observe(begun.elapsed().as_secs_f64());
    span.in_scope(|| {
        tracing::debug!(status = status.as_u16(), micros = begun.elapsed().as_micros() as u64, "answered")
    });
    response
}
