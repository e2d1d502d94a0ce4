//! Static NAT.

use axum::extract::State;
use axum::response::Response;
use podzol_mgmt_api::account::AccountFilter;
use podzol_mgmt_api::static_nat::{StaticNat, StaticNatCreate, StaticNatUpdate};
use podzol_mgmt_api::{Created, Page, PageQuery, Problem};
use podzol_mgmt_app::App;
use podzol_vocab::StaticNatId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, accepted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(static_nat_list, static_nat_create)).routes(routes!(
        static_nat_show,
        static_nat_update,
        static_nat_delete
    ))
}

/// The static NATs, a page at a time.
#[utoipa::path(get, path = "/v1/static-nats", tag = "customers", operation_id = "static_nat_list", params(PageQuery, AccountFilter), 
    responses((status = 200, description = "A page", body = Page<StaticNat>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn static_nat_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<AccountFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<StaticNat>> {
    Ok(axum::Json(app.rule_list(&actor, &filter, &query).await?))
}

/// Has a public address be a VM's.
#[utoipa::path(post, path = "/v1/static-nats", tag = "customers", operation_id = "static_nat_create", request_body = StaticNatCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 202, description = "Goes on", body = Created<StaticNat>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn static_nat_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<StaticNatCreate>,
) -> Result<Response, Refusal> {
    Ok(accepted(app.static_nat_create(&actor, body.once, body.value).await?))
}

/// A static NAT.
#[utoipa::path(get, path = "/v1/static-nats/{id}", tag = "customers", operation_id = "static_nat_show", params(("id" = StaticNatId, Path)),
    responses((status = 200, description = "It", body = StaticNat), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn static_nat_show(
    State(app): State<App>,
    User(actor): User,
    id: Id<StaticNatId>,
) -> Answer<StaticNat> {
    let Id(id) = id;
    Ok(axum::Json(app.rule_show(&actor, id).await?))
}

/// Gives the public address of a static NAT to another VM.
#[utoipa::path(patch, path = "/v1/static-nats/{id}", tag = "customers", operation_id = "static_nat_update", params(("id" = StaticNatId, Path)),
    request_body = StaticNatUpdate,
    responses((status = 202, description = "Goes on", body = Created<StaticNat>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn static_nat_update(
    State(app): State<App>,
    User(actor): User,
    id: Id<StaticNatId>,
    body: Json<StaticNatUpdate>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.static_nat_update(&actor, id, body.value).await?))
}

/// Has a public address be no VM's any more.
#[utoipa::path(delete, path = "/v1/static-nats/{id}", tag = "customers", operation_id = "static_nat_delete", params(("id" = StaticNatId, Path)),
    responses((status = 202, description = "Goes on", body = Created<StaticNat>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn static_nat_delete(
    State(app): State<App>,
    User(actor): User,
    id: Id<StaticNatId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.rule_delete::<StaticNat>(&actor, id).await?))
}
