//! Whether the service lives, whether it can work, and its metrics. None of these is part of the API.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use podzol_mgmt_app::App;

use crate::auth::User;
use crate::problem::Refusal;

pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

async fn ready(State(app): State<App>) -> Response {
    if app.is_ready().await {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n").into_response()
    }
}

/// For admins only: the numbers tell how large the installation is.
async fn metrics(State(app): State<App>, User(actor): User) -> Result<Response, Refusal> {
    actor.must_be_admin()?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics_text().await?).into_response())
}
