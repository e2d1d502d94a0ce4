//! Routes: the public API ([`public_router`]) and the one for Podzol's own parts ([`peer_router`]).
//!
//! Handlers take a request apart, call one use case, and put the answer together. This crate knows no SQL and decides
//! nothing. The OpenAPI document is made of the same registrations as the routes, so the two cannot differ.

mod auth;
mod body;
mod document;
mod observe;
mod peers;
mod problem;
mod query;
mod routes;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use podzol_mgmt_app::App;
use tower_http::catch_panic::CatchPanicLayer;

pub use document::openapi;
pub use peers::peer_router;

/// The largest request body, in bytes, but for uploads of templates. User-data is at most 64 KiB.
const MAX_BODY: usize = 1 << 20;

/// The public API with everything around it.
pub fn public_router(app: App) -> Router {
    let (routes, document) = routes::api().split_for_parts();
    let known = query::Known::of(&document);
    let text = document::text(document);
    routes
        .route("/v1/openapi.json", axum::routing::get(move || document::serve(text.clone())))
        .merge(routes::health::router())
        .fallback(|| async { problem::no_such_route() })
        .method_not_allowed_fallback(|| async { problem::no_such_method() })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(known, query::known_only))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn_with_state(app.clone(), auth::admit))
        .layer(middleware::from_fn_with_state(app.clone(), observe::observe))
        .with_state(app)
}
