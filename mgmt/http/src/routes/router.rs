//! Routers.

use axum::extract::State;
use axum::response::Response;
use podzol_mgmt_api::account::AccountFilter;
use podzol_mgmt_api::router::{Router, RouterLogs};
use podzol_mgmt_api::{Created, Page, PageQuery, Problem};
use podzol_mgmt_app::App;
use podzol_vocab::RouterId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, accepted};
use crate::auth::User;
use crate::body::{Asked, Id};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(router_list))
        .routes(routes!(router_show))
        .routes(routes!(router_restart))
        .routes(routes!(router_replace))
        .routes(routes!(router_logs))
}

/// The routers, a page at a time.
#[utoipa::path(get, path = "/v1/routers", tag = "customers", operation_id = "router_list", params(PageQuery, AccountFilter), 
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
