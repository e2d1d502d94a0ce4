//! Affinity groups.

use axum::extract::State;
use axum::response::Response;
use podzol_mgmt_api::account::AccountFilter;
use podzol_mgmt_api::affinity::{AffinityGroup, AffinityGroupCreate};
use podzol_mgmt_api::{Page, PageQuery, Problem};
use podzol_mgmt_app::App;
use podzol_vocab::AffinityGroupId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, created, deleted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(affinity_group_list, affinity_group_create))
        .routes(routes!(affinity_group_show, affinity_group_delete))
}

/// The affinity groups, a page at a time.
#[utoipa::path(get, path = "/v1/affinity-groups", tag = "customers", operation_id = "affinity_group_list", params(PageQuery, AccountFilter), 
    responses((status = 200, description = "A page", body = Page<AffinityGroup>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn affinity_group_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<AccountFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<AffinityGroup>> {
    Ok(axum::Json(app.affinity_group_list(&actor, &filter, &query).await?))
}

/// Creates an affinity group: VMs that keep together or apart.
#[utoipa::path(post, path = "/v1/affinity-groups", tag = "customers", operation_id = "affinity_group_create", request_body = AffinityGroupCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 201, description = "Created", body = AffinityGroup), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn affinity_group_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<AffinityGroupCreate>,
) -> Result<Response, Refusal> {
    Ok(created(app.affinity_group_create(&actor, body.once, body.value).await?))
}

/// An affinity group with its VMs.
#[utoipa::path(get, path = "/v1/affinity-groups/{id}", tag = "customers", operation_id = "affinity_group_show", params(("id" = AffinityGroupId, Path)),
    responses((status = 200, description = "It", body = AffinityGroup), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn affinity_group_show(
    State(app): State<App>,
    User(actor): User,
    id: Id<AffinityGroupId>,
) -> Answer<AffinityGroup> {
    let Id(id) = id;
    Ok(axum::Json(app.affinity_group_show(&actor, id).await?))
}

/// Deletes an affinity group without VMs.
#[utoipa::path(delete, path = "/v1/affinity-groups/{id}", tag = "customers", operation_id = "affinity_group_delete", params(("id" = AffinityGroupId, Path)),
    responses((status = 204, description = "Gone"), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn affinity_group_delete(
    State(app): State<App>,
    User(actor): User,
    id: Id<AffinityGroupId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    app.affinity_group_delete(&actor, id).await?;
    Ok(deleted())
}
