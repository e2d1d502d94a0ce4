//! Load balancers.

use axum::extract::State;
use axum::response::Response;
use podzol_mgmt_api::account::AccountFilter;
use podzol_mgmt_api::load_balancer::{LoadBalancer, LoadBalancerCreate, LoadBalancerUpdate};
use podzol_mgmt_api::{Created, Page, PageQuery, Problem};
use podzol_mgmt_app::App;
use podzol_vocab::LoadBalancerId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, accepted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(load_balancer_list, load_balancer_create)).routes(routes!(
        load_balancer_show,
        load_balancer_update,
        load_balancer_delete
    ))
}

/// The load balancers, a page at a time.
#[utoipa::path(get, path = "/v1/load-balancers", tag = "customers", operation_id = "load_balancer_list", params(PageQuery, AccountFilter), 
    responses((status = 200, description = "A page", body = Page<LoadBalancer>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn load_balancer_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<AccountFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<LoadBalancer>> {
    Ok(axum::Json(app.rule_list(&actor, &filter, &query).await?))
}

/// Has a port of a public address lead to several VMs.
#[utoipa::path(post, path = "/v1/load-balancers", tag = "customers", operation_id = "load_balancer_create", request_body = LoadBalancerCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 202, description = "Goes on", body = Created<LoadBalancer>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn load_balancer_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<LoadBalancerCreate>,
) -> Result<Response, Refusal> {
    Ok(accepted(app.load_balancer_create(&actor, body.once, body.value).await?))
}

/// A load balancer.
#[utoipa::path(get, path = "/v1/load-balancers/{id}", tag = "customers", operation_id = "load_balancer_show", params(("id" = LoadBalancerId, Path)),
    responses((status = 200, description = "It", body = LoadBalancer), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn load_balancer_show(
    State(app): State<App>,
    User(actor): User,
    id: Id<LoadBalancerId>,
) -> Answer<LoadBalancer> {
    let Id(id) = id;
    Ok(axum::Json(app.rule_show(&actor, id).await?))
}

/// Changes a load balancer.
#[utoipa::path(patch, path = "/v1/load-balancers/{id}", tag = "customers", operation_id = "load_balancer_update", params(("id" = LoadBalancerId, Path)),
    request_body = LoadBalancerUpdate,
    responses((status = 202, description = "Goes on", body = Created<LoadBalancer>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn load_balancer_update(
    State(app): State<App>,
    User(actor): User,
    id: Id<LoadBalancerId>,
    body: Json<LoadBalancerUpdate>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.load_balancer_update(&actor, id, body.value).await?))
}

/// Has a port of a public address lead nowhere any more.
#[utoipa::path(delete, path = "/v1/load-balancers/{id}", tag = "customers", operation_id = "load_balancer_delete", params(("id" = LoadBalancerId, Path)),
    responses((status = 202, description = "Goes on", body = Created<LoadBalancer>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn load_balancer_delete(
    State(app): State<App>,
    User(actor): User,
    id: Id<LoadBalancerId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.rule_delete::<LoadBalancer>(&actor, id).await?))
}
