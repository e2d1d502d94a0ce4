//! The streams of VMs' consoles, and who may open them: the management service, and console proxies with its
//! [grant](podzol_agent_api::grant) for the VM. A stream that was granted ends when the grant does.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::MethodRouter;
use podzol_agent_api::console::{DisplayStream, SerialStream};
use podzol_agent_api::grant::{ConsoleAsk, ConsoleGrant, ConsoleStream};
use podzol_rpc::identity::IdentityError;
use podzol_rpc::statement::Verifier;
use podzol_rpc::{Caller, Identity, PeerId, Refusals, StreamEndpoint, handle_stream};
use podzol_vocab::{ErrorCode, HostId, VmId, WireError};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::platform::Platform;
use crate::vms::{Vms, console};

/// Who may see the consoles of a host's VMs.
#[derive(Debug)]
pub(crate) struct Door {
    host: HostId,
    verifier: Verifier,
    refusals: Refusals,
}

impl Door {
    /// The door of a host, which believes whom its identity's authority has certified.
    ///
    /// # Errors
    /// When the authority's certificate cannot be used.
    pub(crate) fn new(host: HostId, identity: &Identity, refusals: Refusals) -> Result<Self, IdentityError> {
        Ok(Self { host, verifier: Verifier::new(identity)?, refusals })
    }

    /// For how long a caller may have a stream; who may not is told of.
    ///
    /// # Errors
    /// When it may not.
    fn open(
        &self,
        caller: &Caller,
        (vm, stream): (VmId, ConsoleStream),
        grant: Option<&str>,
        now: u64,
    ) -> Result<Duration, WireError> {
        self.look_at(caller.peer(), (vm, stream), grant, now).map_err(|why| {
            let who = caller.peer().map_or("somebody without a certificate".into(), |peer| peer.to_string());
            self.refusals.note(caller.address, &format!("{who} asked for a console: {why}"));
            WireError::new(ErrorCode::Refused, why)
        })
    }

    /// The same; what is said of a refusal is one of few texts, and none of the caller's.
    fn look_at(
        &self,
        peer: Option<PeerId>,
        (vm, stream): (VmId, ConsoleStream),
        grant: Option<&str>,
        now: u64,
    ) -> Result<Duration, String> {
        let proxy = match peer {
            Some(PeerId::Management) => return Ok(Duration::MAX),
            Some(PeerId::ConsoleProxy(proxy)) => proxy,
            _ => return Err("only a console proxy may ask".into()),
        };
        let text = grant.ok_or("a grant must be shown")?;
        let (who, grant) =
            self.verifier.verify::<ConsoleGrant>(text, now).map_err(|error| format!("the grant {error}"))?;
        if who != PeerId::Management {
            return Err("the grant must be the management service's".into());
        }
        let asked = ConsoleAsk { proxy, vm, host: self.host, stream };
        grant.covers(&asked, now).map_err(|rule| format!("the grant {rule}"))?;
        Ok(Duration::from_secs(grant.expires_unix.saturating_sub(now)))
    }
}

/// The routes of the streams.
pub(crate) fn routes<P: Platform>(door: Door, stop: &CancellationToken) -> Router<Vms<P>> {
    let door = Arc::new(door);
    Router::new()
        .route(
            DisplayStream::ROUTE,
            route::<DisplayStream, P>(ConsoleStream::Display, Arc::clone(&door), stop.clone()),
        )
        .route(SerialStream::ROUTE, route::<SerialStream, P>(ConsoleStream::Serial, door, stop.clone()))
}

fn route<E: StreamEndpoint<Path = VmId> + 'static, P: Platform>(
    stream: ConsoleStream,
    door: Arc<Door>,
    stop: CancellationToken,
) -> MethodRouter<Vms<P>> {
    handle_stream::<E, Vms<P>, _, _, _, _>(move |vms, caller, asked| {
        let (door, stop) = (Arc::clone(&door), stop.clone());
        async move {
            let lasts = door.open(&caller, (asked.path, stream), asked.grant.as_deref(), unix())?;
            let to = match stream {
                ConsoleStream::Display => vms.display(asked.path).await?,
                ConsoleStream::Serial => vms.serial(asked.path).await?,
            };
            Ok(move |stream| async move {
                let carried = timeout(lasts, console::carry(stream, to));
                let _ = stop.run_until_cancelled(carried).await;
            })
        }
    })
}

/// Unix seconds.
fn unix() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
