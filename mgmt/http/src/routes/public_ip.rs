//! Public addresses.

use axum::extract::State;
use axum::response::Response;
use podzol_mgmt_api::account::AccountFilter;
use podzol_mgmt_api::public_ip::{HeldAddress, PublicIp, PublicIpCreate};
use podzol_mgmt_api::{Created, Page, PageQuery, Problem};
use podzol_mgmt_app::App;
use podzol_vocab::PublicIpId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, accepted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(public_ip_list, public_ip_create))
        .routes(routes!(public_ip_held))
        .routes(routes!(public_ip_show, public_ip_delete))
}

/// The public addresses, a page at a time.
#[utoipa::path(get, path = "/v1/public-ips", tag = "customers", operation_id = "public_ip_list", params(PageQuery, AccountFilter), 
    responses((status = 200, description = "A page", body = Page<PublicIp>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn public_ip_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<AccountFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<PublicIp>> {
    Ok(axum::Json(app.public_ip_list(&actor, &filter, &query).await?))
}

/// The public addresses that nobody can get yet, as routers may still have them in force, a page at a time.
#[utoipa::path(get, path = "/v1/public-ips/held", tag = "operators", operation_id = "public_ip_held", params(PageQuery),
    responses((status = 200, description = "A page", body = Page<HeldAddress>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn public_ip_held(
    State(app): State<App>,
    User(actor): User,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<HeldAddress>> {
    Ok(axum::Json(app.public_ip_held(&actor, &query).await?))
}

/// Allocates a public address.
#[utoipa::path(post, path = "/v1/public-ips", tag = "customers", operation_id = "public_ip_create", request_body = PublicIpCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 202, description = "Goes on", body = Created<PublicIp>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn public_ip_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<PublicIpCreate>,
) -> Result<Response, Refusal> {
    Ok(accepted(app.public_ip_create(&actor, body.once, body.value).await?))
}

/// A public address.
#[utoipa::path(get, path = "/v1/public-ips/{id}", tag = "customers", operation_id = "public_ip_show", params(("id" = PublicIpId, Path)),
    responses((status = 200, description = "It", body = PublicIp), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn public_ip_show(State(app): State<App>, User(actor): User, id: Id<PublicIpId>) -> Answer<PublicIp> {
    let Id(id) = id;
    Ok(axum::Json(app.public_ip_show(&actor, id).await?))
}

/// Releases a public address; anybody can get it once the account's router has let go of it.
#[utoipa::path(delete, path = "/v1/public-ips/{id}", tag = "customers", operation_id = "public_ip_delete", params(("id" = PublicIpId, Path)),
    responses((status = 202, description = "Goes on", body = Created<PublicIp>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn public_ip_delete(
    State(app): State<App>,
    User(actor): User,
    id: Id<PublicIpId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.public_ip_delete(&actor, id).await?))
}
