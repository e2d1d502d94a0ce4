//! Volumes.

use axum::extract::State;
use axum::response::Response;
use podzol_mgmt_api::volume::{Volume, VolumeAttach, VolumeCreate, VolumeFilter, VolumeResize};
use podzol_mgmt_api::{Created, Page, PageQuery, Problem};
use podzol_mgmt_app::App;
use podzol_vocab::VolumeId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, accepted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(volume_list, volume_create))
        .routes(routes!(volume_show, volume_delete))
        .routes(routes!(volume_resize))
        .routes(routes!(volume_attach))
        .routes(routes!(volume_detach))
}

/// The volumes, a page at a time.
#[utoipa::path(get, path = "/v1/volumes", tag = "customers", operation_id = "volume_list", params(PageQuery, VolumeFilter),
    responses((status = 200, description = "A page", body = Page<Volume>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn volume_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<VolumeFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<Volume>> {
    Ok(axum::Json(app.volume_list(&actor, &filter, &query).await?))
}

/// Creates an empty data volume.
#[utoipa::path(post, path = "/v1/volumes", tag = "customers", operation_id = "volume_create", request_body = VolumeCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 202, description = "Created", body = Created<Volume>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn volume_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<VolumeCreate>,
) -> Result<Response, Refusal> {
    Ok(accepted(app.volume_create(&actor, body.once, body.value).await?))
}

/// A volume.
#[utoipa::path(get, path = "/v1/volumes/{id}", tag = "customers", operation_id = "volume_show", params(("id" = VolumeId, Path)),
    responses((status = 200, description = "It", body = Volume), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn volume_show(State(app): State<App>, User(actor): User, id: Id<VolumeId>) -> Answer<Volume> {
    let Id(id) = id;
    Ok(axum::Json(app.volume_show(&actor, id).await?))
}

/// Destroys a data volume that no VM has.
#[utoipa::path(delete, path = "/v1/volumes/{id}", tag = "customers", operation_id = "volume_delete", params(("id" = VolumeId, Path)),
    responses((status = 202, description = "Under way", body = Created<Volume>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn volume_delete(
    State(app): State<App>,
    User(actor): User,
    id: Id<VolumeId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.volume_delete(&actor, id).await?))
}

/// Gives a volume a larger size, while its VM runs too.
#[utoipa::path(post, path = "/v1/volumes/{id}/resize", tag = "customers", operation_id = "volume_resize", params(("id" = VolumeId, Path)), request_body = VolumeResize,
    responses((status = 202, description = "Under way", body = Created<Volume>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn volume_resize(
    State(app): State<App>,
    User(actor): User,
    id: Id<VolumeId>,
    body: Json<VolumeResize>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.volume_resize(&actor, id, body.value).await?))
}

/// Gives a volume to a VM: at once if it runs, else when it starts.
#[utoipa::path(post, path = "/v1/volumes/{id}/attach", tag = "customers", operation_id = "volume_attach", params(("id" = VolumeId, Path)), request_body = VolumeAttach,
    responses((status = 202, description = "Under way", body = Created<Volume>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn volume_attach(
    State(app): State<App>,
    User(actor): User,
    id: Id<VolumeId>,
    body: Json<VolumeAttach>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.volume_attach(&actor, id, body.value).await?))
}

/// Takes a volume from its VM. The operating system of a VM that runs must let go of it.
#[utoipa::path(post, path = "/v1/volumes/{id}/detach", tag = "customers", operation_id = "volume_detach", params(("id" = VolumeId, Path)),
    responses((status = 202, description = "Under way", body = Created<Volume>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn volume_detach(
    State(app): State<App>,
    User(actor): User,
    id: Id<VolumeId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.volume_detach(&actor, id).await?))
}
