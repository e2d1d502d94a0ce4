//! The agent's API: the management service asks, and nobody else, but for a host from which a VM is on its way, and for
//! console proxies, which see the consoles of VMs that they were granted.

mod consoles;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use podzol_agent_api::host::{HostConverge, HostGet, HostInventoryGet, NetworkPeersPut};
use podzol_agent_api::vm::{
    ConsoleLog, MoveStream, VmArrive, VmConsoleLog, VmDelete, VmGet, VmLeave, VmPut, VmStay,
};
use podzol_rpc::refusals::management_alone;
use podzol_rpc::{Endpoint, PeerId, Refusals, StreamEndpoint, handle, handle_stream};
use podzol_vocab::{ErrorCode, WireError};
use tokio_util::sync::CancellationToken;

pub(crate) use self::consoles::Door;
use crate::platform::Platform;
use crate::report::Reporter;
use crate::vms::Vms;

/// The longest that a call is kept open.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The most of a console log in one answer.
const LONGEST_LOG: u64 = 1 << 20;

pub(crate) fn router<P: Platform>(
    vms: Vms<P>,
    reporter: Arc<Reporter<P>>,
    refusals: Refusals,
    door: Door,
    stop: CancellationToken,
) -> Router {
    let consoles = consoles::routes(door, &stop);
    let put = handle::<VmPut, Vms<P>, _, _>(|vms, _, vm, mut request| async move {
        request.wait_ms = request.wait_ms.min(LONGEST_WAIT.as_millis() as u64);
        vms.put(vm, request).await
    });
    let delete = handle::<VmDelete, Vms<P>, _, _>(|vms, _, vm, request| async move {
        let (grace, wait) = (Duration::from_secs(request.grace_secs), Duration::from_millis(request.wait_ms));
        vms.delete(vm, request.generation, grace.min(Duration::from_secs(3600)), wait.min(LONGEST_WAIT)).await
    });
    let get = handle::<VmGet, Vms<P>, _, _>(|vms, _, vm, ()| async move { vms.look_at(vm).await });
    let arrive = handle::<VmArrive, Vms<P>, _, _>(|vms, _, vm, mut request| async move {
        request.wait_ms = request.wait_ms.min(LONGEST_WAIT.as_millis() as u64);
        vms.arrive(vm, request).await
    });
    let leave = handle::<VmLeave, Vms<P>, _, _>(|vms, _, vm, mut request| async move {
        request.wait_ms = request.wait_ms.min(LONGEST_WAIT.as_millis() as u64);
        vms.depart(vm, request).await
    });
    let stay = handle::<VmStay, Vms<P>, _, _>(|vms, _, vm, mut request| async move {
        request.wait_ms = request.wait_ms.min(LONGEST_WAIT.as_millis() as u64);
        vms.keep(vm, request).await
    });
    let stream = handle_stream::<MoveStream, Vms<P>, _, _, _, _>(move |vms, caller, asked| {
        let (vm, channel) = asked.path;
        let stop = stop.clone();
        async move {
            let Some(PeerId::Host(from)) = caller.peer() else {
                return Err(WireError::new(ErrorCode::Refused, "only a host may ask"));
            };
            let to = vms.let_in(vm, from, channel).await?;
            Ok(move |stream| async move {
                let carried = vms.carry_in(vm, from, stream, to);
                stop.run_until_cancelled(carried).await;
            })
        }
    });
    let log = handle::<VmConsoleLog, Vms<P>, _, _>(|vms, _, (vm, bytes), ()| async move {
        let files = vms.files().clone();
        let read = tokio::task::spawn_blocking(move || files.read_log(vm, bytes.min(LONGEST_LOG))).await;
        match read {
            Ok(Ok(text)) => Ok(ConsoleLog { text }),
            _ => Err(WireError::new(ErrorCode::Unavailable, "cannot read the log now")),
        }
    });
    let cannot = |error: anyhow::Error| WireError::new(ErrorCode::Unavailable, format!("{error:#}"));
    let inventory = handle::<HostInventoryGet, Vms<P>, _, _>(move |vms, _, (), ()| async move {
        vms.inventory().await.map_err(cannot)
    });
    let converge = handle::<HostConverge, Vms<P>, _, _>(move |vms, _, (), ()| async move {
        vms.mend().await.map_err(cannot)
    });
    let peers = handle::<NetworkPeersPut, Vms<P>, _, _>(|vms, _, network, peers| async move {
        vms.tell_peers(network, peers).await
    });
    let host = handle::<HostGet, Vms<P>, _, _>(move |_, _, (), ()| {
        let reporter = Arc::clone(&reporter);
        async move {
            let not_yet = || WireError::new(ErrorCode::Unavailable, "not enough is known of this host yet");
            reporter.make().await.ok_or_else(not_yet)
        }
    });
    Router::new()
        .route(VmPut::ROUTE, put.merge(delete).merge(get))
        .route(VmArrive::ROUTE, arrive)
        .route(VmLeave::ROUTE, leave.merge(stay))
        .route(VmConsoleLog::ROUTE, log)
        .route(HostGet::ROUTE, host)
        .route(HostInventoryGet::ROUTE, inventory)
        .route(HostConverge::ROUTE, converge)
        .route(NetworkPeersPut::ROUTE, peers)
        .route_layer(from_fn_with_state(refusals, management_alone))
        // Behind the layer: the first is for hosts, the others are for console proxies.
        .route(MoveStream::ROUTE, stream)
        .merge(consoles)
        .with_state(vms)
}
