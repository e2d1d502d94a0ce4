//! VMs.

use axum::extract::State;
use axum::response::Response;
use podzol_mgmt_api::vm::{
    ConsoleLog, ConsoleLogQuery, IsoAttach, NicCreate, NicUpdate, Vm, VmCreate, VmDelete, VmFilter,
    VmMigrate, VmPassword, VmResize, VmStop,
};
use podzol_mgmt_api::{Created, Page, PageQuery, Problem};
use podzol_mgmt_app::App;
use podzol_vocab::{NicId, VmId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, accepted};
use crate::auth::User;
use crate::body::{Asked, Id, Json};
use crate::problem::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(vm_list, vm_create))
        .routes(routes!(vm_show, vm_delete))
        .routes(routes!(vm_start))
        .routes(routes!(vm_stop))
        .routes(routes!(vm_reboot))
        .routes(routes!(vm_resize))
        .routes(routes!(vm_recover))
        .routes(routes!(vm_pause))
        .routes(routes!(vm_resume))
        .routes(routes!(vm_migrate))
        .routes(routes!(vm_reset_password))
        .routes(routes!(vm_console_log))
        .routes(routes!(nic_create))
        .routes(routes!(nic_update, nic_delete))
        .routes(routes!(iso_attach, iso_detach))
}

/// The VMs, a page at a time.
#[utoipa::path(get, path = "/v1/vms", tag = "customers", operation_id = "vm_list", params(PageQuery, VmFilter), 
    responses((status = 200, description = "A page", body = Page<Vm>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn vm_list(
    State(app): State<App>,
    User(actor): User,
    Asked(filter): Asked<VmFilter>,
    Asked(query): Asked<PageQuery>,
) -> Answer<Page<Vm>> {
    Ok(axum::Json(app.vm_list(&actor, &filter, &query).await?))
}

/// Creates a VM and starts it.
#[utoipa::path(post, path = "/v1/vms", tag = "customers", operation_id = "vm_create", request_body = VmCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 202, description = "Created", body = Created<Vm>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn vm_create(
    State(app): State<App>,
    User(actor): User,
    body: Json<VmCreate>,
) -> Result<Response, Refusal> {
    Ok(accepted(app.vm_create(&actor, body.once, body.value).await?))
}

/// A VM.
#[utoipa::path(get, path = "/v1/vms/{id}", tag = "customers", operation_id = "vm_show", params(("id" = VmId, Path)),
    responses((status = 200, description = "It", body = Vm), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn vm_show(State(app): State<App>, User(actor): User, id: Id<VmId>) -> Answer<Vm> {
    let Id(id) = id;
    Ok(axum::Json(app.vm_show(&actor, id).await?))
}

/// Deletes a VM, by force if it runs. It can be recovered for a while, and goes for good with its root volume then. Its data
/// volumes stay.
#[utoipa::path(delete, path = "/v1/vms/{id}", tag = "customers", operation_id = "vm_delete", params(("id" = VmId, Path), VmDelete),
    responses((status = 202, description = "Under way", body = Created<Vm>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn vm_delete(
    State(app): State<App>,
    User(actor): User,
    id: Id<VmId>,
    Asked(how): Asked<VmDelete>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.vm_delete(&actor, id, &how).await?))
}

/// Recovers a deleted VM: it is stopped then, with all that it had.
#[utoipa::path(post, path = "/v1/vms/{id}/recover", tag = "customers", operation_id = "vm_recover", params(("id" = VmId, Path)),
    responses((status = 202, description = "Under way", body = Created<Vm>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn vm_recover(State(app): State<App>, User(actor): User, id: Id<VmId>) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.vm_recover(&actor, id).await?))
}

/// Gives a stopped VM another offering.
#[utoipa::path(post, path = "/v1/vms/{id}/resize", tag = "customers", operation_id = "vm_resize", params(("id" = VmId, Path)), request_body = VmResize,
    responses((status = 202, description = "Under way", body = Created<Vm>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn vm_resize(
    State(app): State<App>,
    User(actor): User,
    id: Id<VmId>,
    body: Json<VmResize>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.vm_resize(&actor, id, body.value).await?))
}

/// Starts a VM.
#[utoipa::path(post, path = "/v1/vms/{id}/start", tag = "customers", operation_id = "vm_start", params(("id" = VmId, Path)),
    responses((status = 202, description = "Under way", body = Created<Vm>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn vm_start(State(app): State<App>, User(actor): User, id: Id<VmId>) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.vm_start(&actor, id).await?))
}

/// Stops a VM: its operating system is asked first.
#[utoipa::path(post, path = "/v1/vms/{id}/stop", tag = "customers", operation_id = "vm_stop", params(("id" = VmId, Path)), request_body = VmStop,
    responses((status = 202, description = "Under way", body = Created<Vm>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn vm_stop(
    State(app): State<App>,
    User(actor): User,
    id: Id<VmId>,
    body: Json<VmStop>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.vm_stop(&actor, id, body.value).await?))
}

/// Reboots a running VM.
#[utoipa::path(post, path = "/v1/vms/{id}/reboot", tag = "customers", operation_id = "vm_reboot", params(("id" = VmId, Path)),
    responses((status = 202, description = "Under way", body = Created<Vm>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn vm_reboot(State(app): State<App>, User(actor): User, id: Id<VmId>) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.vm_reboot(&actor, id).await?))
}

/// Has a running VM stand still; it keeps its memory and its place.
#[utoipa::path(post, path = "/v1/vms/{id}/pause", tag = "customers", operation_id = "vm_pause", params(("id" = VmId, Path)),
    responses((status = 202, description = "Under way", body = Created<Vm>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn vm_pause(State(app): State<App>, User(actor): User, id: Id<VmId>) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.vm_pause(&actor, id).await?))
}

/// Has a paused VM run on.
#[utoipa::path(post, path = "/v1/vms/{id}/resume", tag = "customers", operation_id = "vm_resume", params(("id" = VmId, Path)),
    responses((status = 202, description = "Under way", body = Created<Vm>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn vm_resume(State(app): State<App>, User(actor): User, id: Id<VmId>) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.vm_resume(&actor, id).await?))
}

/// Moves a running VM to another host of its zone.
#[utoipa::path(post, path = "/v1/vms/{id}/migrate", tag = "operators", operation_id = "vm_migrate", params(("id" = VmId, Path)), request_body = VmMigrate,
    responses((status = 202, description = "Under way", body = Created<Vm>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn vm_migrate(
    State(app): State<App>,
    User(actor): User,
    id: Id<VmId>,
    body: Json<VmMigrate>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.vm_migrate(&actor, id, body.value).await?))
}

/// Gives a VM a new password, which is shown only here. The VM sets it at its next boot, if there is something in it that
/// asks its router for one as CloudStack's VMs do.
#[utoipa::path(post, path = "/v1/vms/{id}/reset-password", tag = "customers", operation_id = "vm_reset_password", params(("id" = VmId, Path)),
    responses((status = 202, description = "Under way", body = Created<VmPassword>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn vm_reset_password(
    State(app): State<App>,
    User(actor): User,
    id: Id<VmId>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.vm_reset_password(&actor, id).await?))
}

/// The end of what a VM wrote to its serial port since its last start.
#[utoipa::path(get, path = "/v1/vms/{id}/console-log", tag = "customers", operation_id = "vm_console_log",
    params(("id" = VmId, Path), ConsoleLogQuery),
    responses((status = 200, description = "The text", body = ConsoleLog), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn vm_console_log(
    State(app): State<App>,
    User(actor): User,
    id: Id<VmId>,
    Asked(query): Asked<ConsoleLogQuery>,
) -> Answer<ConsoleLog> {
    let Id(id) = id;
    Ok(axum::Json(app.vm_console_log(&actor, id, &query).await?))
}

/// Gives a VM a network interface: at once if it runs, else when it starts.
#[utoipa::path(post, path = "/v1/vms/{id}/nics", tag = "customers", operation_id = "nic_create", request_body = NicCreate,
    params(("id" = VmId, Path), ("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once, however often it arrives")),
    responses((status = 202, description = "Under way", body = Created<Vm>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn nic_create(
    State(app): State<App>,
    User(actor): User,
    id: Id<VmId>,
    body: Json<NicCreate>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.nic_create(&actor, body.once, id, body.value).await?))
}

/// Changes what a network interface may send, while its VM runs too.
#[utoipa::path(patch, path = "/v1/nics/{id}", tag = "customers", operation_id = "nic_update", params(("id" = NicId, Path)), request_body = NicUpdate,
    responses((status = 202, description = "Under way", body = Created<Vm>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn nic_update(
    State(app): State<App>,
    User(actor): User,
    id: Id<NicId>,
    body: Json<NicUpdate>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.nic_update(&actor, id, body.value).await?))
}

/// Takes a network interface from its VM. The operating system of a VM that runs must let go of it.
#[utoipa::path(delete, path = "/v1/nics/{id}", tag = "customers", operation_id = "nic_delete", params(("id" = NicId, Path)),
    responses((status = 202, description = "Under way", body = Created<Vm>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn nic_delete(State(app): State<App>, User(actor): User, id: Id<NicId>) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.nic_delete(&actor, id).await?))
}

/// Puts an ISO into a VM's CD drive: at once if it runs, else when it starts. The one that is there already gets another say
/// in whether the VM boots from it.
#[utoipa::path(post, path = "/v1/vms/{id}/iso", tag = "customers", operation_id = "iso_attach", params(("id" = VmId, Path)), request_body = IsoAttach,
    responses((status = 202, description = "Under way", body = Created<Vm>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn iso_attach(
    State(app): State<App>,
    User(actor): User,
    id: Id<VmId>,
    body: Json<IsoAttach>,
) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.iso_attach(&actor, id, body.value).await?))
}

/// Takes the ISO from a VM's CD drive, whether its operating system lets go of it or not.
#[utoipa::path(delete, path = "/v1/vms/{id}/iso", tag = "customers", operation_id = "iso_detach", params(("id" = VmId, Path)),
    responses((status = 202, description = "Under way", body = Created<Vm>), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn iso_detach(State(app): State<App>, User(actor): User, id: Id<VmId>) -> Result<Response, Refusal> {
    let Id(id) = id;
    Ok(accepted(app.iso_detach(&actor, id).await?))
}
