//! Routers.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use podzol_mgmt_api::account::AccountFilter;
use podzol_mgmt_api::router::{Router, RouterCapture, RouterDiagnosis, RouterLogs};
use podzol_mgmt_api::{Created, Page, PageQuery, Problem, UnnamedPageQuery};
use podzol_mgmt_app::App;
use podzol_vocab::RouterId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, accepted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

/// The media type of captures.
const PCAP: &str = "application/vnd.tcpdump.pcap";

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(router_list))
        .routes(routes!(router_show))
        .routes(routes!(router_restart))
        .routes(routes!(router_replace))
        .routes(routes!(router_logs))
        .routes(routes!(router_diagnosis))
        .routes(routes!(router_capture))
}

/// The routers, a page at a time.
#[utoipa::path(get, path = "/v1/routers", tag = "customers", operation_id = "router_list", params(UnnamedPageQuery, AccountFilter), 
    responses((status = 200, description = "A page", body = Page<Router>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn router_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<AccountFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<Router>> {
    Ok(axum::Json(app.router_list(&actor, &filter, &query).await?))
}

/// A router.
#[utoipa::path(get, path = "/v1/routers/{id}", tag = "customers", operation_id = "router_show", params(("id" = RouterId, Path)),
    responses((status = 200, description = "It", body = Router), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn router_show(State(app): State<App>, User(actor): User, id: Id<RouterId>) -> Answer<Router> {
    let Id(id) = id;
    Ok(axum::Json(app.router_show(&actor, id).await?))
}

/// Ends a router's VM and starts it again. Connections through it are lost.
#[utoipa::path(post, path = "/v1/routers/{id}/restart", tag = "customers", operation_id = "router_restart", params(("id" = RouterId, Path)),
    responses((status = 202, description = "Goes on", body = Created<Router>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn router_restart(
    State(app): State<App>,
    User(actor): User,
    id: Id<RouterId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.router_restart(&actor, id).await?))
}

/// Has a new VM, of the newest template, take a router's place. Connections through it are lost.
#[utoipa::path(post, path = "/v1/routers/{id}/replace", tag = "operators", operation_id = "router_replace", params(("id" = RouterId, Path)),
    responses((status = 202, description = "Goes on", body = Created<Router>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn router_replace(
    State(app): State<App>,
    User(actor): User,
    id: Id<RouterId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.router_replace(&actor, id).await?))
}

/// The last lines of a router's log.
#[utoipa::path(get, path = "/v1/routers/{id}/logs", tag = "operators", operation_id = "router_logs", params(("id" = RouterId, Path)),
    responses((status = 200, description = "They", body = RouterLogs), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn router_logs(State(app): State<App>, User(actor): User, id: Id<RouterId>) -> Answer<RouterLogs> {
    let Id(id) = id;
    Ok(axum::Json(app.router_logs(&actor, id).await?))
}

/// What there is in a router: links, routes, rules, leases, and a count of its connections.
#[utoipa::path(get, path = "/v1/routers/{id}/diagnosis", tag = "operators", operation_id = "router_diagnosis", params(("id" = RouterId, Path)),
    responses((status = 200, description = "It", body = RouterDiagnosis), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn router_diagnosis(
    State(app): State<App>,
    User(actor): User,
    id: Id<RouterId>,
) -> Answer<RouterDiagnosis> {
    let Id(id) = id;
    Ok(axum::Json(app.router_diagnosis(&actor, id).await?))
}

/// Captures packets of one of a router's links. The answer is a file of libpcap that comes while it is made, and ends when the
/// capture does; whoever stops reading ends it. One goes on at a time. Each is an event of the router's account.
#[utoipa::path(post, path = "/v1/routers/{id}/capture", tag = "operators", operation_id = "router_capture", params(("id" = RouterId, Path)),
    request_body = RouterCapture,
    responses((status = 200, description = "The packets", body = Vec<u8>, content_type = "application/vnd.tcpdump.pcap"), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn router_capture(
    State(app): State<App>,
    User(actor): User,
    id: Id<RouterId>,
    body: Json<RouterCapture>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    let captured = app.router_capture(&actor, id, &body.value).await?;
    let kind = [(header::CONTENT_TYPE, PCAP)];
    Ok((kind, Body::from_stream(captured)).into_response())
}
