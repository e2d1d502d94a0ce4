//! Events, and the stream of changes.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event as Message, KeepAlive};
use futures_util::{Stream, StreamExt, stream};
use http::HeaderMap;
use podzol_mgmt_api::event::{Event, EventFilter};
use podzol_mgmt_api::{Page, PageQuery, Problem, UnnamedPageQuery};
use podzol_mgmt_app::{App, AppError, ChangeStream};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::auth::User;
use crate::body::Asked;
use crate::problem::Refusal;

/// How often an idle stream says that it is still there, so that proxies in between leave it open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(event_list)).routes(routes!(change_stream))
}

/// What happened: who did what to what, oldest first.
#[utoipa::path(get, path = "/v1/events", tag = "customers", operation_id = "event_list", params(UnnamedPageQuery, EventFilter),
    responses((status = 200, description = "A page", body = Page<Event>),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json")))]
async fn event_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<EventFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<Event>> {
    Ok(axum::Json(app.event_list(&actor, &filter, &query).await?))
}

/// Every change of an object from now on, or after `Last-Event-ID`, as server-sent events. Each holds a `Change`.
#[utoipa::path(get, path = "/v1/changes", tag = "customers", operation_id = "change_stream",
    params(("Last-Event-ID" = Option<i64>, Header, description = "The id of the last event that was received")),
    responses((status = 200, description = "A stream", body = String, content_type = "text/event-stream"),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json")))]
async fn change_stream(
    State(app): State<App>,
    User(actor): User,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, Refusal> {
    let last =
        headers.get("last-event-id").map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
    let after = match last {
        Some(None) => {
            return Err(AppError::Invalid { field: "Last-Event-ID", rule: "must be a number".into() }.into());
        }
        Some(after) => after,
        None => None,
    };
    let changes = app.follow(actor, after).await?;
    Ok(Sse::new(messages(changes)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn messages(changes: ChangeStream) -> impl Stream<Item = Result<Message, Infallible>> {
    let batches = stream::unfold(changes, |mut changes| async move {
        match changes.next().await {
            Ok(Some(batch)) => Some((batch, changes)),
            Ok(None) => None,
            Err(error) => {
                // The client connects again, and goes on where it was.
                tracing::error!(error = &error as &dyn std::error::Error, "a stream of changes broke off");
                None
            }
        }
    });
    batches.flat_map(stream::iter).map(|(seq, change)| {
        let text = serde_json::to_string(&change).unwrap_or_default();
        Ok(Message::default().id(seq.to_string()).event("change").data(text))
    })
}
