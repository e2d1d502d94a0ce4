//! The routes for agents, over mutual TLS.

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::response::Response;
use axum::routing::get;
use http::header;
use podzol_agent_api::report::HostReportPost;
use podzol_mgmt_app::App;
use podzol_rpc::endpoint::{Endpoint, handle, refuse};
use podzol_rpc::join::Join;
use podzol_rpc::{Caller, PeerId};
use podzol_storage_api::StorageReportPost;
use podzol_vocab::{ErrorCode, Sha256, WireError};
use tokio_util::io::ReaderStream;

/// The routes for agents. They find out themselves whom to believe.
pub fn peer_router(app: App) -> Router {
    Router::new()
        .route(
            Join::ROUTE,
            handle::<Join, App, _, _>(
                |app, caller, (), request| async move { app.join(&caller, &request).await },
            ),
        )
        .route(
            HostReportPost::ROUTE,
            handle::<HostReportPost, App, _, _>(|app, caller, host, report| async move {
                app.host_reported(caller, host, report).await
            }),
        )
        .route(
            StorageReportPost::ROUTE,
            handle::<StorageReportPost, App, _, _>(|app, caller, (server,), report| async move {
                app.storage_reported(caller, server, report).await
            }),
        )
        .route("/v1/templates/{sha256}/data", get(template_data))
        .with_state(app)
}

/// An uploaded template, for storage servers.
async fn template_data(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(sha256): Path<Sha256>,
) -> Response {
    match open_template(&app, &caller, sha256).await {
        Ok((file, length)) => {
            let mut response = Response::new(Body::from_stream(ReaderStream::with_capacity(file, 64 << 10)));
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
            response
        }
        Err(error) => refuse(&error),
    }
}

async fn open_template(
    app: &App,
    caller: &Caller,
    sha256: Sha256,
) -> Result<(tokio::fs::File, u64), WireError> {
    match caller.peer() {
        Some(peer @ PeerId::StorageServer(_)) => drop(app.believe(caller, peer).await?),
        _ => return Err(WireError::new(ErrorCode::Refused, "only storage servers get templates")),
    }
    let not_here =
        |_| WireError::new(ErrorCode::NotFound, format!("there is no upload with the digest {sha256}"));
    let file = tokio::fs::File::open(app.template_file(sha256)).await.map_err(not_here)?;
    let length = file.metadata().await.map_err(not_here)?.len();
    Ok((file, length))
}
