//! Where VMs would go, and how many more fit.

use axum::extract::State;
use podzol_mgmt_api::capacity::{Capacity, Placement};
use podzol_mgmt_api::vm::VmCreate;
use podzol_mgmt_api::{Page, Problem};
use podzol_mgmt_app::App;
use podzol_vocab::VmId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::auth::User;
use crate::body::{Id, Json};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(capacity_list))
        .routes(routes!(placement_explain))
        .routes(routes!(vm_placement))
}

/// How many more VMs of each offering fit into each pod, and what runs out first.
#[utoipa::path(get, path = "/v1/capacity", tag = "operators", operation_id = "capacity_list",
    responses((status = 200, description = "All of it", body = Page<Capacity>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn capacity_list(State(app): State<App>, User(actor): User) -> Answer<Page<Capacity>> {
    Ok(axum::Json(app.capacity(&actor).await?))
}

/// Where a VM would go if it were created now; nothing is.
#[utoipa::path(post, path = "/v1/placements", tag = "customers", operation_id = "placement_explain", request_body = VmCreate,
    responses((status = 200, description = "Where it would go", body = Placement), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn placement_explain(
    State(app): State<App>,
    User(actor): User,
    body: Json<VmCreate>,
) -> Answer<Placement> {
    Ok(axum::Json(app.vm_create_explain(&actor, body.value).await?))
}

/// Where a VM would go if it were started now, or moved if it runs.
#[utoipa::path(get, path = "/v1/vms/{id}/placement", tag = "customers", operation_id = "vm_placement", params(("id" = VmId, Path)),
    responses((status = 200, description = "Where it would go", body = Placement), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn vm_placement(State(app): State<App>, User(actor): User, id: Id<VmId>) -> Answer<Placement> {
    let Id(id) = id;
    Ok(axum::Json(app.vm_explain(&actor, id).await?))
}
