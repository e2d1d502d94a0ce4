//! Operations.

use axum::extract::State;
use axum::response::Response;
use podzol_mgmt_api::operation::{Operation, OperationFilter};
use podzol_mgmt_api::{Page, PageQuery, Problem, UnnamedPageQuery};
use podzol_mgmt_app::App;
use podzol_vocab::OperationId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, accepted};
use crate::auth::User;
use crate::body::{Asked, Id};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(operation_list))
        .routes(routes!(operation_show))
        .routes(routes!(operation_cancel))
        .routes(routes!(operation_retry))
}

/// The operations, a page at a time.
#[utoipa::path(get, path = "/v1/operations", tag = "customers", operation_id = "operation_list", params(UnnamedPageQuery, OperationFilter), 
    responses((status = 200, description = "A page", body = Page<Operation>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn operation_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<OperationFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<Operation>> {
    Ok(axum::Json(app.operation_list(&actor, &filter, &query).await?))
}

/// An operation.
#[utoipa::path(get, path = "/v1/operations/{id}", tag = "customers", operation_id = "operation_show", params(("id" = OperationId, Path)),
    responses((status = 200, description = "It", body = Operation), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn operation_show(State(app): State<App>, User(actor): User, id: Id<OperationId>) -> Answer<Operation> {
    let Id(id) = id;
    Ok(axum::Json(app.operation_show(&actor, id).await?))
}

/// Asks to cancel an operation; what it made by then is removed.
#[utoipa::path(post, path = "/v1/operations/{id}/cancel", tag = "customers", operation_id = "operation_cancel", params(("id" = OperationId, Path)),
    responses((status = 202, description = "Under way", body = Operation), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn operation_cancel(
    State(app): State<App>,
    User(actor): User,
    id: Id<OperationId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.operation_cancel(&actor, id).await?))
}

/// Tries a failed operation again.
#[utoipa::path(post, path = "/v1/operations/{id}/retry", tag = "customers", operation_id = "operation_retry", params(("id" = OperationId, Path)),
    responses((status = 202, description = "Under way", body = Operation), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn operation_retry(
    State(app): State<App>,
    User(actor): User,
    id: Id<OperationId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.operation_retry(&actor, id).await?))
}
