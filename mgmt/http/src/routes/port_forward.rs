//! Port forwards.

use axum::extract::State;
use axum::response::Response;
use podzol_mgmt_api::account::AccountFilter;
use podzol_mgmt_api::port_forward::{PortForward, PortForwardCreate, PortForwardUpdate};
use podzol_mgmt_api::{Created, Page, PageQuery, Problem};
use podzol_mgmt_app::App;
use podzol_vocab::PortForwardId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, accepted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(port_forward_list, port_forward_create)).routes(routes!(
        port_forward_show,
        port_forward_update,
        port_forward_delete
    ))
}

/// The port forwards, a page at a time.
#[utoipa::path(get, path = "/v1/port-forwards", tag = "customers", operation_id = "port_forward_list", params(PageQuery, AccountFilter), 
    responses((status = 200, description = "A page", body = Page<PortForward>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn port_forward_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<AccountFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<PortForward>> {
    Ok(axum::Json(app.rule_list(&actor, &filter, &query).await?))
}

/// Has ports of a public address lead to a VM.
#[utoipa::path(post, path = "/v1/port-forwards", tag = "customers", operation_id = "port_forward_create", request_body = PortForwardCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 202, description = "Goes on", body = Created<PortForward>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn port_forward_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<PortForwardCreate>,
) -> Result<Response, Refusal> {
    Ok(accepted(app.port_forward_create(&actor, body.once, body.value).await?))
}

/// A port forward.
#[utoipa::path(get, path = "/v1/port-forwards/{id}", tag = "customers", operation_id = "port_forward_show", params(("id" = PortForwardId, Path)),
    responses((status = 200, description = "It", body = PortForward), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn port_forward_show(
    State(app): State<App>,
    User(actor): User,
    id: Id<PortForwardId>,
) -> Answer<PortForward> {
    let Id(id) = id;
    Ok(axum::Json(app.rule_show(&actor, id).await?))
}

/// Changes a port forward.
#[utoipa::path(patch, path = "/v1/port-forwards/{id}", tag = "customers", operation_id = "port_forward_update", params(("id" = PortForwardId, Path)),
    request_body = PortForwardUpdate,
    responses((status = 202, description = "Goes on", body = Created<PortForward>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn port_forward_update(
    State(app): State<App>,
    User(actor): User,
    id: Id<PortForwardId>,
    body: Json<PortForwardUpdate>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.port_forward_update(&actor, id, body.value).await?))
}

/// Has ports of a public address lead nowhere any more.
#[utoipa::path(delete, path = "/v1/port-forwards/{id}", tag = "customers", operation_id = "port_forward_delete", params(("id" = PortForwardId, Path)),
    responses((status = 202, description = "Goes on", body = Created<PortForward>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn port_forward_delete(
    State(app): State<App>,
    User(actor): User,
    id: Id<PortForwardId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.rule_delete::<PortForward>(&actor, id).await?))
}
