//! The routes, one module per resource.

mod account;
mod affinity;
mod capacity;
mod console;
mod doctor;
mod event;
mod firewall;
pub(crate) mod health;
mod host;
mod load_balancer;
mod network;
mod offering;
mod operation;
mod pool;
mod port_forward;
mod public_ip;
mod router;
mod static_nat;
mod template;
mod vm;
mod volume;
mod zone;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use podzol_mgmt_app::App;
use serde::Serialize;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::document::Head;
use crate::problem::Refusal;

/// All routes with the document of them.
pub(crate) fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Head::openapi())
        .merge(account::routes())
        .merge(affinity::routes())
        .merge(capacity::routes())
        .merge(doctor::routes())
        .merge(zone::routes())
        .merge(host::routes())
        .merge(pool::routes())
        .merge(offering::routes())
        .merge(template::routes())
        .merge(network::routes())
        .merge(vm::routes())
        .merge(console::routes())
        .merge(volume::routes())
        .merge(router::routes())
        .merge(public_ip::routes())
        .merge(port_forward::routes())
        .merge(static_nat::routes())
        .merge(firewall::routes())
        .merge(load_balancer::routes())
        .merge(operation::routes())
        .merge(event::routes())
}

type Answer<T> = Result<axum::Json<T>, Refusal>;

/// The answer to a create: 201 with the new thing.
fn created(thing: impl Serialize) -> Response {
    (StatusCode::CREATED, axum::Json(thing)).into_response()
}

/// The answer where work goes on: 202 with the operation to follow.
fn accepted(thing: impl Serialize) -> Response {
    (StatusCode::ACCEPTED, axum::Json(thing)).into_response()
}

/// The answer to a delete that is done.
fn deleted() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
