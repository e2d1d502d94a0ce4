//! Offerings.

use axum::extract::State;
use axum::response::Response;
use podzol_mgmt_api::offering::{Offering, OfferingCreate, OfferingUpdate};
use podzol_mgmt_api::{Page, PageQuery, Problem};
use podzol_mgmt_app::App;
use podzol_vocab::OfferingId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, created, deleted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(offering_list, offering_create)).routes(routes!(
        offering_show,
        offering_update,
        offering_delete
    ))
}

/// The offerings, a page at a time.
#[utoipa::path(get, path = "/v1/offerings", tag = "customers", operation_id = "offering_list", params(PageQuery), 
    responses((status = 200, description = "A page", body = Page<Offering>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn offering_list(
    State(app): State<App>,
    _user: User,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<Offering>> {
    Ok(axum::Json(app.offering_list(&query).await?))
}

/// Creates an offering.
#[utoipa::path(post, path = "/v1/offerings", tag = "operators", operation_id = "offering_create", request_body = OfferingCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 201, description = "Created", body = Offering), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn offering_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<OfferingCreate>,
) -> Result<Response, Refusal> {
    Ok(created(app.offering_create(&actor, body.once, body.value).await?))
}

/// An offering.
#[utoipa::path(get, path = "/v1/offerings/{id}", tag = "customers", operation_id = "offering_show", params(("id" = OfferingId, Path)),
    responses((status = 200, description = "It", body = Offering), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn offering_show(State(app): State<App>, _user: User, id: Id<OfferingId>) -> Answer<Offering> {
    let Id(id) = id;
    Ok(axum::Json(app.offering_show(id).await?))
}

/// Changes an offering's limits, and those of its VMs.
#[utoipa::path(patch, path = "/v1/offerings/{id}", tag = "operators", operation_id = "offering_update", params(("id" = OfferingId, Path)),
    request_body = OfferingUpdate,
    responses((status = 200, description = "It", body = Offering), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn offering_update(
    State(app): State<App>,
    User(actor): User,
    id: Id<OfferingId>,
    body: Json<OfferingUpdate>,
) -> Answer<Offering> {
    let Id(id) = id;
    Ok(axum::Json(app.offering_update(&actor, id, body.value).await?))
}

/// Deletes an offering without VMs.
#[utoipa::path(delete, path = "/v1/offerings/{id}", tag = "operators", operation_id = "offering_delete", params(("id" = OfferingId, Path)),
    responses((status = 204, description = "Gone"), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn offering_delete(
    State(app): State<App>,
    User(actor): User,
    id: Id<OfferingId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    app.offering_delete(&actor, id).await?;
    Ok(deleted())
}
