//! The control API, for the management service alone.

use std::sync::Arc;

use axum::Router as Routes;
use axum::body::Body;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use http::header;
use podzol_appliance_api::{CaptureMake, DiagnosisGet, DocumentPatch, DocumentPut, LogsGet, PCAP, StatusGet};
use podzol_rpc::refusals::management_alone;
use podzol_rpc::{Endpoint, Refusals, handle, handle_raw};
use podzol_vocab::{ErrorCode, WireError};

use crate::capture::Captured;
use crate::status::Overview;

/// Carries a change out even if its caller goes away meanwhile: half of a change is no state to be in.
async fn to_its_end(
    change: impl Future<Output = Result<(), WireError>> + Send + 'static,
) -> Result<(), WireError> {
    let ended = tokio::spawn(change).await;
    ended.unwrap_or_else(|error| Err(WireError::new(ErrorCode::Internal, error.to_string())))
}

/// The answer of a capture, as it comes.
fn pcap(captured: Captured) -> Response {
    ([(header::CONTENT_TYPE, PCAP)], Body::from_stream(captured)).into_response()
}

pub(crate) fn routes(overview: Arc<Overview>, refusals: Refusals) -> Routes {
    type S = Arc<Overview>;
    let put = handle::<DocumentPut, S, _, _>(|overview, _, (), document| {
        to_its_end(async move { overview.router.put(document).await })
    });
    let patch = handle::<DocumentPatch, S, _, _>(|overview, _, (), delta| {
        to_its_end(async move { overview.router.patch(delta).await })
    });
    let status = handle::<StatusGet, S, _, _>(|overview, _, (), ()| async move { overview.status().await });
    let logs = handle::<LogsGet, S, _, _>(|overview, _, (), ()| async move { Ok(overview.log.logs()) });
    let diagnosis =
        handle::<DiagnosisGet, S, _, _>(|overview, _, (), ()| async move { overview.diagnosis().await });
    let capture = handle_raw::<CaptureMake, S, _, _>(|overview, _, (), capture| async move {
        overview.capture(&capture).map(pcap)
    });
    Routes::new()
        .route(DocumentPut::ROUTE, put.merge(patch))
        .route(StatusGet::ROUTE, status)
        .route(LogsGet::ROUTE, logs)
        .route(DiagnosisGet::ROUTE, diagnosis)
        .route(CaptureMake::ROUTE, capture)
        .with_state(overview)
        // Last, so that it stands before every route above.
        .layer(from_fn_with_state(refusals, management_alone))
}
