//! Zones and pods.

use axum::extract::State;
use axum::response::Response;
use podzol_mgmt_api::zone::{Pod, PodCreate, Routes6, Zone, ZoneCreate, ZoneUpdate};
use podzol_mgmt_api::{Page, PageQuery, Problem};
use podzol_mgmt_app::App;
use podzol_vocab::{PodId, ZoneId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, created, deleted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(zone_list, zone_create))
        .routes(routes!(zone_show, zone_update, zone_delete))
        .routes(routes!(zone_routes6))
        .routes(routes!(pod_list, pod_create))
        .routes(routes!(pod_show, pod_delete))
}

/// The zones, a page at a time.
#[utoipa::path(get, path = "/v1/zones", tag = "customers", operation_id = "zone_list", params(PageQuery), 
    responses((status = 200, description = "A page", body = Page<Zone>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn zone_list(
    State(app): State<App>,
    User(actor): User,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<Zone>> {
    Ok(axum::Json(app.zone_list(&actor, &query).await?))
}

/// Creates a zone.
#[utoipa::path(post, path = "/v1/zones", tag = "operators", operation_id = "zone_create", request_body = ZoneCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 201, description = "Created", body = Zone), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn zone_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<ZoneCreate>,
) -> Result<Response, Refusal> {
    Ok(created(app.zone_create(&actor, body.once, body.value).await?))
}

/// A zone.
#[utoipa::path(get, path = "/v1/zones/{id}", tag = "customers", operation_id = "zone_show", params(("id" = ZoneId, Path)),
    responses((status = 200, description = "It", body = Zone), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn zone_show(State(app): State<App>, User(actor): User, id: Id<ZoneId>) -> Answer<Zone> {
    let Id(id) = id;
    Ok(axum::Json(app.zone_show(&actor, id).await?))
}

/// Changes the limits of a zone's VMs.
#[utoipa::path(patch, path = "/v1/zones/{id}", tag = "operators", operation_id = "zone_update", params(("id" = ZoneId, Path)),
    request_body = ZoneUpdate,
    responses((status = 200, description = "It", body = Zone), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn zone_update(
    State(app): State<App>,
    User(actor): User,
    id: Id<ZoneId>,
    body: Json<ZoneUpdate>,
) -> Answer<Zone> {
    let Id(id) = id;
    Ok(axum::Json(app.zone_update(&actor, id, body.value).await?))
}

/// Deletes an empty zone.
#[utoipa::path(delete, path = "/v1/zones/{id}", tag = "operators", operation_id = "zone_delete", params(("id" = ZoneId, Path)),
    responses((status = 204, description = "Gone"), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn zone_delete(State(app): State<App>, User(actor): User, id: Id<ZoneId>) -> Result<Response, Refusal> {
    let Id(id) = id;
    app.zone_delete(&actor, id).await?;
    Ok(deleted())
}

/// The routes that the gateway of a zone's public network needs for IPv6.
#[utoipa::path(get, path = "/v1/zones/{id}/routes6", tag = "operators", operation_id = "zone_routes6", params(("id" = ZoneId, Path)),
    responses((status = 200, description = "They", body = Routes6), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn zone_routes6(State(app): State<App>, User(actor): User, id: Id<ZoneId>) -> Answer<Routes6> {
    let Id(id) = id;
    Ok(axum::Json(app.zone_routes6(&actor, id).await?))
}

/// The pods, a page at a time.
#[utoipa::path(get, path = "/v1/pods", tag = "operators", operation_id = "pod_list", params(PageQuery), 
    responses((status = 200, description = "A page", body = Page<Pod>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn pod_list(
    State(app): State<App>,
    User(actor): User,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<Pod>> {
    Ok(axum::Json(app.pod_list(&actor, &query).await?))
}

/// Creates a pod.
#[utoipa::path(post, path = "/v1/pods", tag = "operators", operation_id = "pod_create", request_body = PodCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 201, description = "Created", body = Pod), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn pod_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<PodCreate>,
) -> Result<Response, Refusal> {
    Ok(created(app.pod_create(&actor, body.once, body.value).await?))
}

/// A pod.
#[utoipa::path(get, path = "/v1/pods/{id}", tag = "operators", operation_id = "pod_show", params(("id" = PodId, Path)),
    responses((status = 200, description = "It", body = Pod), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn pod_show(State(app): State<App>, User(actor): User, id: Id<PodId>) -> Answer<Pod> {
    let Id(id) = id;
    Ok(axum::Json(app.pod_show(&actor, id).await?))
}

/// Deletes an empty pod.
#[utoipa::path(delete, path = "/v1/pods/{id}", tag = "operators", operation_id = "pod_delete", params(("id" = PodId, Path)),
    responses((status = 204, description = "Gone"), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn pod_delete(State(app): State<App>, User(actor): User, id: Id<PodId>) -> Result<Response, Refusal> {
    let Id(id) = id;
    app.pod_delete(&actor, id).await?;
    Ok(deleted())
}
