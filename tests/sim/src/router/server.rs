//! The appliance's control API, on a port of this machine.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router as Routes;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::header;
use podzol_appliance_api::{
    CaptureMake, DiagnosisGet, DocumentPatch, DocumentPut, LogsGet, PCAP, RouterSeed, StatusGet,
};
use podzol_rpc::endpoint::refuse;
use podzol_rpc::refusals::management_alone;
use podzol_rpc::tls::{self, Clients};
use podzol_rpc::{Endpoint, Identity, Refusals, elsewhere, handle, handle_raw};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::appliance::Appliance;
use super::lock;
use crate::console_proxy::{self, SimulatedConsoleProxy};

/// Boots, unless that is done, and answers until it is killed.
pub(super) async fn serve(
    seed: RouterSeed,
    appliance: Arc<Appliance>,
    console_proxy: Option<Arc<SimulatedConsoleProxy>>,
    boot: Duration,
) -> anyhow::Result<()> {
    if !appliance.is_up() {
        tokio::time::sleep(boot).await;
        appliance.comes_up(boot);
    }
    let RouterSeed { ca, certificate, key, console_proxy: identity, .. } = seed;
    let proxy_serves = async {
        match (identity, console_proxy) {
            (Some(identity), Some(proxy)) => console_proxy::serve(ca.clone(), identity, proxy).await,
            _ => Ok(()),
        }
    };
    let identity = Identity { ca_pem: ca.clone(), certificate_pem: certificate, key_pem: key };
    let tls = Arc::new(tls::server_config(&identity, Clients::MustShowCertificate)?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let refusals = Refusals::default();
    let routes = routes(appliance, refusals.clone());
    let _answers = elsewhere::answers(identity.peer()?, listener.local_addr()?);
    // It is killed and not stopped: a machine that stands still says no farewell.
    let stop = CancellationToken::new();
    let serves = podzol_rpc::server::serve(listener, tls, routes, refusals.of_connections(), stop);
    let ((), done) = tokio::join!(serves, proxy_serves);
    done
}

fn routes(appliance: Arc<Appliance>, refusals: Refusals) -> Routes {
    type S = Arc<Appliance>;
    let put =
        handle::<DocumentPut, S, _, _>(|appliance, _, (), document| async move { appliance.put(document) });
    let patch =
        handle::<DocumentPatch, S, _, _>(|appliance, _, (), delta| async move { appliance.patch(&delta) });
    let status = handle::<StatusGet, S, _, _>(|appliance, _, (), ()| async move { Ok(appliance.status()) });
    let logs = handle::<LogsGet, S, _, _>(|appliance, _, (), ()| async move { Ok(appliance.logs()) });
    let diagnosis =
        handle::<DiagnosisGet, S, _, _>(|appliance, _, (), ()| async move { Ok(appliance.diagnosis()) });
    let capture = handle_raw::<CaptureMake, S, _, _>(|appliance, _, (), capture| async move {
        let captured = Body::from_stream(appliance.capture(&capture)?);
        Ok(([(header::CONTENT_TYPE, PCAP)], captured).into_response())
    });
    Routes::new()
        .route(DocumentPut::ROUTE, put.merge(patch))
        .route(StatusGet::ROUTE, status)
        .route(LogsGet::ROUTE, logs)
        .route(DiagnosisGet::ROUTE, diagnosis)
        .route(CaptureMake::ROUTE, capture)
        .layer(from_fn_with_state(Arc::clone(&appliance), stumble))
        .with_state(appliance)
        // Last, so that it stands before every route above.
        .layer(from_fn_with_state(refusals, management_alone))
}

/// Counts calls, and lets happen to them what a test wants.
async fn stumble(State(appliance): State<Arc<Appliance>>, request: Request, next: Next) -> Response {
    let around = appliance.around();
    let is_put = *request.method() == DocumentPut::METHOD;
    let is_patch = *request.method() == DocumentPatch::METHOD;
    {
        let mut calls = lock(&around.calls);
        calls.puts += u64::from(is_put);
        calls.patches += u64::from(is_patch);
    }
    // The sender is with the appliance, so it does not go before.
    let _ = around.hangs.subscribe().wait_for(|hangs| !hangs).await;
    if is_put || is_patch {
        let refusal = lock(&around.refusals).pop_front();
        if let Some(error) = refusal {
            return refuse(&error);
        }
    }
    next.run(request).await
}
