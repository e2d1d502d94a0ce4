//! What differs between what should exist and what does.

use axum::extract::State;
use podzol_mgmt_api::Problem;
use podzol_mgmt_api::doctor::Diagnosis;
use podzol_mgmt_app::App;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::auth::User;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(doctor_show)).routes(routes!(doctor_repair))
}

/// Compares what should exist with what does, on every host, in every pool, and in the database.
#[utoipa::path(get, path = "/v1/doctor", tag = "operators", operation_id = "doctor_show",
    responses((status = 200, description = "All differences", body = Diagnosis), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn doctor_show(State(app): State<App>, User(actor): User) -> Answer<Diagnosis> {
    Ok(axum::Json(app.diagnose(&actor).await?))
}

/// Has all reconcilers run now, and says what differs after that.
#[utoipa::path(post, path = "/v1/doctor/repair", tag = "operators", operation_id = "doctor_repair",
    responses((status = 200, description = "What differs still", body = Diagnosis), (status = "default", description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json")))]
async fn doctor_repair(State(app): State<App>, User(actor): User) -> Answer<Diagnosis> {
    Ok(axum::Json(app.mend(&actor).await?))
}
