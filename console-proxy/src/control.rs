//! The control API, for the management service alone.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use podzol_console_proxy_api::{DocumentPut, SessionDelete, SessionPut, SessionsGet, StatusGet};
use podzol_rpc::refusals::management_alone;
use podzol_rpc::{Endpoint, Refusals, handle};

use crate::hub::Hub;

/// Goes by the clock of whoever asks, which is the management service.
async fn follow_clock(request: Request, next: Next) -> Response {
    if let Some(told) = podzol_rpc::sent_at(request.headers()) {
        crate::worker::follow_clock(told);
    }
    next.run(request).await
}

pub(crate) fn routes(hub: Arc<Hub>, refusals: Refusals) -> Router {
    type S = Arc<Hub>;
    let document = handle::<DocumentPut, S, _, _>(|hub, _, (), document| async move { hub.put(document) });
    let put =
        handle::<SessionPut, S, _, _>(
            |hub, _, id, session| async move { hub.put_session(id, session).await },
        );
    let delete = handle::<SessionDelete, S, _, _>(|hub, _, id, deletion| async move {
        hub.delete_session(id, deletion).await
    });
    let sessions = handle::<SessionsGet, S, _, _>(|hub, _, (), ()| async move { Ok(hub.sessions().await) });
    let status = handle::<StatusGet, S, _, _>(|hub, _, (), ()| async move { Ok(hub.status().await) });
    Router::new()
        .route(DocumentPut::ROUTE, document)
        .route(SessionPut::ROUTE, put.merge(delete))
        .route(SessionsGet::ROUTE, sessions)
        .route(StatusGet::ROUTE, status)
        .with_state(hub)
        .layer(from_fn(follow_clock))
        // Last, so that it stands before every route above.
        .layer(from_fn_with_state(refusals, management_alone))
}
