//! What may come in from outside, and exceptions to what may go out.

use axum::extract::State;
use axum::response::Response;
use podzol_mgmt_api::account::AccountFilter;
use podzol_mgmt_api::firewall::{
    EgressRule, EgressRuleCreate, EgressRuleUpdate, FirewallRule, FirewallRuleCreate, FirewallRuleUpdate,
};
use podzol_mgmt_api::{Created, Page, PageQuery, Problem};
use podzol_mgmt_app::App;
use podzol_vocab::{EgressRuleId, FirewallRuleId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, accepted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(firewall_rule_list, firewall_rule_create))
        .routes(routes!(firewall_rule_show, firewall_rule_update, firewall_rule_delete))
        .routes(routes!(egress_rule_list, egress_rule_create))
        .routes(routes!(egress_rule_show, egress_rule_update, egress_rule_delete))
}

/// The firewall rules, a page at a time.
#[utoipa::path(get, path = "/v1/firewall-rules", tag = "customers", operation_id = "firewall_rule_list", params(PageQuery, AccountFilter), 
    responses((status = 200, description = "A page", body = Page<FirewallRule>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn firewall_rule_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<AccountFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<FirewallRule>> {
    Ok(axum::Json(app.rule_list(&actor, &filter, &query).await?))
}

/// Lets something in from outside.
#[utoipa::path(post, path = "/v1/firewall-rules", tag = "customers", operation_id = "firewall_rule_create", request_body = FirewallRuleCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 202, description = "Goes on", body = Created<FirewallRule>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn firewall_rule_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<FirewallRuleCreate>,
) -> Result<Response, Refusal> {
    Ok(accepted(app.firewall_rule_create(&actor, body.once, body.value).await?))
}

/// A firewall rule.
#[utoipa::path(get, path = "/v1/firewall-rules/{id}", tag = "customers", operation_id = "firewall_rule_show", params(("id" = FirewallRuleId, Path)),
    responses((status = 200, description = "It", body = FirewallRule), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn firewall_rule_show(
    State(app): State<App>,
    User(actor): User,
    id: Id<FirewallRuleId>,
) -> Answer<FirewallRule> {
    let Id(id) = id;
    Ok(axum::Json(app.rule_show(&actor, id).await?))
}

/// Changes a firewall rule.
#[utoipa::path(patch, path = "/v1/firewall-rules/{id}", tag = "customers", operation_id = "firewall_rule_update", params(("id" = FirewallRuleId, Path)),
    request_body = FirewallRuleUpdate,
    responses((status = 202, description = "Goes on", body = Created<FirewallRule>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn firewall_rule_update(
    State(app): State<App>,
    User(actor): User,
    id: Id<FirewallRuleId>,
    body: Json<FirewallRuleUpdate>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.firewall_rule_update(&actor, id, body.value).await?))
}

/// Lets something in no more.
#[utoipa::path(delete, path = "/v1/firewall-rules/{id}", tag = "customers", operation_id = "firewall_rule_delete", params(("id" = FirewallRuleId, Path)),
    responses((status = 202, description = "Goes on", body = Created<FirewallRule>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn firewall_rule_delete(
    State(app): State<App>,
    User(actor): User,
    id: Id<FirewallRuleId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.rule_delete::<FirewallRule>(&actor, id).await?))
}

/// The egress rules, a page at a time.
#[utoipa::path(get, path = "/v1/egress-rules", tag = "customers", operation_id = "egress_rule_list", params(PageQuery, AccountFilter), 
    responses((status = 200, description = "A page", body = Page<EgressRule>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn egress_rule_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<AccountFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<EgressRule>> {
    Ok(axum::Json(app.rule_list(&actor, &filter, &query).await?))
}

/// Makes an exception to what the VMs of a network may send outside.
#[utoipa::path(post, path = "/v1/egress-rules", tag = "customers", operation_id = "egress_rule_create", request_body = EgressRuleCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 202, description = "Goes on", body = Created<EgressRule>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn egress_rule_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<EgressRuleCreate>,
) -> Result<Response, Refusal> {
    Ok(accepted(app.egress_rule_create(&actor, body.once, body.value).await?))
}

/// An egress rule.
#[utoipa::path(get, path = "/v1/egress-rules/{id}", tag = "customers", operation_id = "egress_rule_show", params(("id" = EgressRuleId, Path)),
    responses((status = 200, description = "It", body = EgressRule), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn egress_rule_show(
    State(app): State<App>,
    User(actor): User,
    id: Id<EgressRuleId>,
) -> Answer<EgressRule> {
    let Id(id) = id;
    Ok(axum::Json(app.rule_show(&actor, id).await?))
}

/// Changes an egress rule.
#[utoipa::path(patch, path = "/v1/egress-rules/{id}", tag = "customers", operation_id = "egress_rule_update", params(("id" = EgressRuleId, Path)),
    request_body = EgressRuleUpdate,
    responses((status = 202, description = "Goes on", body = Created<EgressRule>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn egress_rule_update(
    State(app): State<App>,
    User(actor): User,
    id: Id<EgressRuleId>,
    body: Json<EgressRuleUpdate>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.egress_rule_update(&actor, id, body.value).await?))
}

/// Takes an exception back.
#[utoipa::path(delete, path = "/v1/egress-rules/{id}", tag = "customers", operation_id = "egress_rule_delete", params(("id" = EgressRuleId, Path)),
    responses((status = 202, description = "Goes on", body = Created<EgressRule>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn egress_rule_delete(
    State(app): State<App>,
    User(actor): User,
    id: Id<EgressRuleId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.rule_delete::<EgressRule>(&actor, id).await?))
}
