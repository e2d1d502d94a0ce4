//! Hosts and storage servers.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use podzol_mgmt_api::host::{
    Host, HostCreate, HostCreated, HostFilter, HostUpdate, HostUpdated, StorageServer, StorageServerCreate,
    StorageServerCreated,
};
use podzol_mgmt_api::{Page, PageQuery, Problem};
use podzol_mgmt_app::App;
use podzol_vocab::{HostId, StorageServerId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, created, deleted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(host_list, host_create))
        .routes(routes!(host_show, host_update, host_delete))
        .routes(routes!(storage_server_list, storage_server_create))
        .routes(routes!(storage_server_show, storage_server_delete))
}

/// The hosts, a page at a time.
#[utoipa::path(get, path = "/v1/hosts", tag = "operators", operation_id = "host_list", params(PageQuery, HostFilter), 
    responses((status = 200, description = "A page", body = Page<Host>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn host_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<HostFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<Host>> {
    Ok(axum::Json(app.host_list(&actor, &filter, &query).await?))
}

/// Creates a host, and the one-time token with which it joins.
#[utoipa::path(post, path = "/v1/hosts", tag = "operators", operation_id = "host_create", request_body = HostCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 201, description = "Created", body = HostCreated), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn host_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<HostCreate>,
) -> Result<Response, Refusal> {
    Ok(created(app.host_create(&actor, body.once, body.value).await?))
}

/// A host with its last report.
#[utoipa::path(get, path = "/v1/hosts/{id}", tag = "operators", operation_id = "host_show", params(("id" = HostId, Path)),
    responses((status = 200, description = "It", body = Host), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn host_show(State(app): State<App>, User(actor): User, id: Id<HostId>) -> Answer<Host> {
    let Id(id) = id;
    Ok(axum::Json(app.host_show(&actor, id).await?))
}

/// Keeps new VMs away from a host and moves those on it to others, or lets VMs come again.
#[utoipa::path(patch, path = "/v1/hosts/{id}", tag = "operators", operation_id = "host_update", params(("id" = HostId, Path)),
    request_body = HostUpdate,
    responses((status = 200, description = "It", body = HostUpdated), (status = 202, description = "Its VMs are being moved", body = HostUpdated), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn host_update(
    State(app): State<App>,
    User(actor): User,
    id: Id<HostId>,
    body: Json<HostUpdate>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    let updated = app.host_update(&actor, id, body.value).await?;
    let status = if updated.operation.is_some() { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, axum::Json(updated)).into_response())
}

/// Removes a host without VMs; its certificate is refused from then on.
#[utoipa::path(delete, path = "/v1/hosts/{id}", tag = "operators", operation_id = "host_delete", params(("id" = HostId, Path)),
    responses((status = 204, description = "Gone"), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn host_delete(State(app): State<App>, User(actor): User, id: Id<HostId>) -> Result<Response, Refusal> {
    let Id(id) = id;
    app.host_delete(&actor, id).await?;
    Ok(deleted())
}

/// The storage servers, a page at a time.
#[utoipa::path(get, path = "/v1/storage-servers", tag = "operators", operation_id = "storage_server_list", params(PageQuery), 
    responses((status = 200, description = "A page", body = Page<StorageServer>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn storage_server_list(
    State(app): State<App>,
    User(actor): User,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<StorageServer>> {
    Ok(axum::Json(app.storage_server_list(&actor, &query).await?))
}

/// Creates a storage server, and the one-time token with which it joins.
#[utoipa::path(post, path = "/v1/storage-servers", tag = "operators", operation_id = "storage_server_create", request_body = StorageServerCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 201, description = "Created", body = StorageServerCreated), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn storage_server_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<StorageServerCreate>,
) -> Result<Response, Refusal> {
    Ok(created(app.storage_server_create(&actor, body.once, body.value).await?))
}

/// A storage server.
#[utoipa::path(get, path = "/v1/storage-servers/{id}", tag = "operators", operation_id = "storage_server_show", params(("id" = StorageServerId, Path)),
    responses((status = 200, description = "It", body = StorageServer), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn storage_server_show(
    State(app): State<App>,
    User(actor): User,
    id: Id<StorageServerId>,
) -> Answer<StorageServer> {
    let Id(id) = id;
    Ok(axum::Json(app.storage_server_show(&actor, id).await?))
}

/// Removes a storage server without pools; its certificate is refused from then on.
#[utoipa::path(delete, path = "/v1/storage-servers/{id}", tag = "operators", operation_id = "storage_server_delete", params(("id" = StorageServerId, Path)),
    responses((status = 204, description = "Gone"), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn storage_server_delete(
    State(app): State<App>,
    User(actor): User,
    id: Id<StorageServerId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    app.storage_server_delete(&actor, id).await?;
    Ok(deleted())
}
