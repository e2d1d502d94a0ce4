//! Templates.

use axum::extract::State;
use axum::response::Response;
use podzol_mgmt_api::template::{Template, TemplateCreate};
use podzol_mgmt_api::{Created, Page, PageQuery, Problem};
use podzol_mgmt_app::App;
use podzol_vocab::TemplateId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, accepted, created, deleted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(template_list, template_create))
        .routes(routes!(template_show, template_delete))
        .routes(routes!(template_upload))
}

/// The templates, a page at a time.
#[utoipa::path(get, path = "/v1/templates", tag = "customers", operation_id = "template_list", params(PageQuery), 
    responses((status = 200, description = "A page", body = Page<Template>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn template_list(
    State(app): State<App>,
    _user: User,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<Template>> {
    Ok(axum::Json(app.template_list(&query).await?))
}

/// Creates a template from a URL, or for an upload that follows.
#[utoipa::path(post, path = "/v1/templates", tag = "operators", operation_id = "template_create", request_body = TemplateCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 201, description = "Created", body = Template), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn template_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<TemplateCreate>,
) -> Result<Response, Refusal> {
    Ok(created(app.template_create(&actor, body.once, body.value).await?))
}

/// A template.
#[utoipa::path(get, path = "/v1/templates/{id}", tag = "customers", operation_id = "template_show", params(("id" = TemplateId, Path)),
    responses((status = 200, description = "It", body = Template), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn template_show(State(app): State<App>, _user: User, id: Id<TemplateId>) -> Answer<Template> {
    let Id(id) = id;
    Ok(axum::Json(app.template_show(id).await?))
}

/// Deletes a template without VMs.
#[utoipa::path(delete, path = "/v1/templates/{id}", tag = "operators", operation_id = "template_delete", params(("id" = TemplateId, Path)),
    responses((status = 204, description = "Gone"), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn template_delete(
    State(app): State<App>,
    User(actor): User,
    id: Id<TemplateId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    app.template_delete(&actor, id).await?;
    Ok(deleted())
}

/// Uploads the image file of a template. Refused if its SHA-256 digest is not the template's; then nothing is kept.
#[utoipa::path(put, path = "/v1/templates/{id}/data", tag = "operators", operation_id = "template_upload",
    params(("id" = TemplateId, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 202, description = "Under way", body = Created<Template>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn template_upload(
    State(app): State<App>,
    User(actor): User,
    id: Id<TemplateId>,
    body: axum::body::Body,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.template_upload(&actor, id, body.into_data_stream()).await?))
}
