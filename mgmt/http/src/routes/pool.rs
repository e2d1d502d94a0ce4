//! Pools.

use axum::extract::State;
use axum::response::Response;
use podzol_mgmt_api::pool::{Pool, PoolCreate};
use podzol_mgmt_api::{Created, Page, PageQuery, Problem};
use podzol_mgmt_app::App;
use podzol_vocab::PoolId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, accepted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(pool_list, pool_create)).routes(routes!(pool_show, pool_delete))
}

/// The pools, a page at a time.
#[utoipa::path(get, path = "/v1/pools", tag = "operators", operation_id = "pool_list", params(PageQuery), 
    responses((status = 200, description = "A page", body = Page<Pool>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn pool_list(
    State(app): State<App>,
    User(actor): User,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<Pool>> {
    Ok(axum::Json(app.pool_list(&actor, &query).await?))
}

/// Creates a pool on a storage server.
#[utoipa::path(post, path = "/v1/pools", tag = "operators", operation_id = "pool_create", request_body = PoolCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 202, description = "Created", body = Created<Pool>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn pool_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<PoolCreate>,
) -> Result<Response, Refusal> {
    Ok(accepted(app.pool_create(&actor, body.once, body.value).await?))
}

/// A pool.
#[utoipa::path(get, path = "/v1/pools/{id}", tag = "operators", operation_id = "pool_show", params(("id" = PoolId, Path)),
    responses((status = 200, description = "It", body = Pool), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn pool_show(State(app): State<App>, User(actor): User, id: Id<PoolId>) -> Answer<Pool> {
    let Id(id) = id;
    Ok(axum::Json(app.pool_show(&actor, id).await?))
}

/// Deletes a pool without volumes.
#[utoipa::path(delete, path = "/v1/pools/{id}", tag = "operators", operation_id = "pool_delete", params(("id" = PoolId, Path)),
    responses((status = 202, description = "Under way", body = Created<Pool>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn pool_delete(State(app): State<App>, User(actor): User, id: Id<PoolId>) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.pool_delete(&actor, id).await?))
}
