//! Who calls: the API key of a request.

use axum::extract::FromRequestParts;
use http::header;
use http::request::Parts;
use podzol_mgmt_app::{Actor, App, AppError};

use crate::problem::Refusal;

/// The authenticated user of a request. A handler without it serves everybody.
pub(crate) struct User(pub(crate) Actor);

impl FromRequestParts<App> for User {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key =
            header.and_then(|header| header.strip_prefix("Bearer ")).ok_or(AppError::Unauthenticated)?;
        let actor = app.authenticate(key.trim()).await?;
        app.count_request(&actor)?;
        Ok(Self(actor))
    }
}
