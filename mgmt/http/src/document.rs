//! The OpenAPI document.

use axum::response::IntoResponse;
use http::header;
use podzol_mgmt_api::Problem;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Podzol",
        version = "1",
        description = "The API of the management service. Creates take an `Idempotency-Key`; work that goes on answers \
                       202 with an operation; errors are problem documents (RFC 9457) with a stable `code`."
    ),
    modifiers(&Key),
    security(("key" = [])),
    tags(
        (name = "customers", description = "For every user, within the own account"),
        (name = "operators", description = "For admins only: others get 403"),
    ),
    components(schemas(Problem))
)]
pub(crate) struct Head;

struct Key;

impl Modify for Key {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("API key").build();
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// The OpenAPI 3.1 document of the public API, as it is served and checked in.
///
/// # Panics
/// Never: the document is made of the project's own types.
pub fn openapi() -> String {
    text(crate::routes::api().split_for_parts().1)
}

pub(crate) fn text(document: Document) -> String {
    let mut text = document.to_pretty_json().expect("the document is made of the project's own types");
    text.push('\n');
    text
}

pub(crate) async fn serve(text: String) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text)
}
