//! Who calls: the API key of a request.

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, header};
use podzol_mgmt_app::{Actor, App, AppError};

use crate::problem::Refusal;

/// The authenticated user of a request. A handler without it serves everybody.
pub(crate) struct User(pub(crate) Actor);

impl FromRequestParts<App> for User {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let actor = match parts.extensions.get::<Actor>() {
            Some(actor) => actor.clone(),
            None => app.authenticate(key_of(&parts.headers).ok_or(AppError::Unauthenticated)?).await?,
        };
        app.count_request(&actor)?;
        Ok(Self(actor))
    }
}

fn key_of(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())?;
    header.strip_prefix("Bearer ").map(str::trim)
}

/// Answers as many requests to the API at once as may be. Whether the service lives is told however much it has to do.
pub(crate) async fn admit(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with("/v1/") {
        return next.run(request).await;
    }
    match app.admit(key_of(request.headers())).await {
        Ok((_admitted, actor)) => {
            if let Some(actor) = actor {
                request.extensions_mut().insert(actor);
            }
            next.run(request).await
        }
        Err(error) => Refusal::from(error).into_response(),
    }
}
