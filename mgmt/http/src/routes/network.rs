//! Networks.

use axum::extract::State;
use axum::response::Response;
use podzol_mgmt_api::account::AccountFilter;
use podzol_mgmt_api::network::{Network, NetworkCreate, NetworkUpdate};
use podzol_mgmt_api::{Created, Page, PageQuery, Problem};
use podzol_mgmt_app::App;
use podzol_vocab::NetworkId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, accepted, created, deleted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(network_list, network_create)).routes(routes!(
        network_show,
        network_update,
        network_delete
    ))
}

/// The networks, a page at a time.
#[utoipa::path(get, path = "/v1/networks", tag = "customers", operation_id = "network_list", params(PageQuery, AccountFilter), 
    responses((status = 200, description = "A page", body = Page<Network>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn network_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<AccountFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<Network>> {
    Ok(axum::Json(app.network_list(&actor, &filter, &query).await?))
}

/// Creates a network, which reserves a VLAN id of its zone.
#[utoipa::path(post, path = "/v1/networks", tag = "customers", operation_id = "network_create", request_body = NetworkCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 201, description = "Created", body = Network), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn network_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<NetworkCreate>,
) -> Result<Response, Refusal> {
    Ok(created(app.network_create(&actor, body.once, body.value).await?))
}

/// A network.
#[utoipa::path(get, path = "/v1/networks/{id}", tag = "customers", operation_id = "network_show", params(("id" = NetworkId, Path)),
    responses((status = 200, description = "It", body = Network), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn network_show(State(app): State<App>, User(actor): User, id: Id<NetworkId>) -> Answer<Network> {
    let Id(id) = id;
    Ok(axum::Json(app.network_show(&actor, id).await?))
}

/// Changes what the VMs of a network may send outside.
#[utoipa::path(patch, path = "/v1/networks/{id}", tag = "customers", operation_id = "network_update", params(("id" = NetworkId, Path)),
    request_body = NetworkUpdate,
    responses((status = 202, description = "Goes on", body = Created<Network>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn network_update(
    State(app): State<App>,
    User(actor): User,
    id: Id<NetworkId>,
    body: Json<NetworkUpdate>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.network_update(&actor, id, body.value).await?))
}

/// Deletes a network without VMs, which returns its VLAN id.
#[utoipa::path(delete, path = "/v1/networks/{id}", tag = "customers", operation_id = "network_delete", params(("id" = NetworkId, Path)),
    responses((status = 204, description = "Gone"), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn network_delete(
    State(app): State<App>,
    User(actor): User,
    id: Id<NetworkId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    app.network_delete(&actor, id).await?;
    Ok(deleted())
}
