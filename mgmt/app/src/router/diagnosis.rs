//! What operators see inside of a router: what there is in it, and packets that go through it.
//!
//! Both are for admins only: packets are what customers say to one another, and rules name the addresses of others. Each
//! capture is an event of the account before it begins, so that none can be made unseen.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use podzol_appliance_api::limits::{MAX_CAPTURE_BYTES, MAX_SNAP_BYTES};
use podzol_appliance_api::{Capture, CaptureMake, CapturedLink, DiagnosisGet, LeaseEvent, Tracked};
use podzol_mgmt_api::router::{
    CaptureProtocol, RouterCapture, RouterConnections, RouterDiagnosis, RouterLease, RouterLink, RouterTalker,
};
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_db::{Reader, find, router, vm};
use podzol_rpc::client::CallError;
use podzol_rpc::{Endpoint, PeerId};
use podzol_vocab::{ErrorCode, NetworkId, RouterId};
use tokio::sync::mpsc;

use super::make::is_of_guests;
use super::router_row;
use crate::{Actor, App, AppError};

/// How long a router may take to look at itself: at its rules, and at all its connections.
const LOOK: Duration = Duration::from_secs(40);

/// How much longer than it goes on a capture may be on its way.
const ON_THE_WAY: Duration = Duration::from_secs(15);

/// What is captured, as it comes.
#[derive(Debug)]
pub struct Captured(mpsc::UnboundedReceiver<io::Result<Vec<u8>>>);

impl Stream for Captured {
    type Item = io::Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

impl App {
    /// What there is in a router.
    ///
    /// # Errors
    /// When the caller is no admin, or the router does not run or answer.
    pub async fn router_diagnosis(&self, actor: &Actor, id: RouterId) -> Result<RouterDiagnosis, AppError> {
        actor.must_be_admin()?;
        let peer = running(self.db.reader(), &router_row(self.db.reader(), actor, id).await?).await?;
        let found = self.peers.call::<DiagnosisGet>(peer, &(), &(), LOOK).await;
        let found = found.map_err(|error| refusal::<DiagnosisGet>(id, &error))?;
        let (memory_free_kib, memory_kib) = found.memory_kib;
        let leases = found.leases.into_iter().map(|lease| RouterLease {
            network: lease.network,
            vm: lease.vm,
            mac: lease.mac,
            address: lease.address,
            acked_secs_ago: lease.acked_secs_ago,
            last: lease.last.map(|said| word(said.what).to_owned()),
            last_secs_ago: lease.last.map(|said| said.secs_ago),
        });
        let limit = found.connections.1;
        Ok(RouterDiagnosis {
            links: found.links,
            routes: found.routes,
            rules: found.rules,
            memory_free_kib,
            memory_kib,
            leases: leases.collect(),
            connections: found.tracked.map(|tracked| connections(tracked, limit)),
        })
    }

    /// Captures packets of a router: what it answers, as it comes. It is taken from the router whether or not somebody reads it here,
    /// so that the router is done with it in time; what waits then is at most [`MAX_CAPTURE_BYTES`].
    ///
    /// # Errors
    /// When the caller is no admin, a field breaks a rule, the router does not run or answer, or another capture goes on.
    pub async fn router_capture(
        &self,
        actor: &Actor,
        id: RouterId,
        asked: &RouterCapture,
    ) -> Result<Captured, AppError> {
        actor.must_be_admin()?;
        let tx = self.db.begin().await?;
        let row = router_row(tx.reader(), actor, id).await?;
        let capture = capture(asked, link(tx.reader(), &row, asked).await?)?;
        let peer = running(tx.reader(), &row).await?;
        self.record(&tx, actor, "router.capture", Some(row.account_id.0), "router", id, &capture).await?;
        tx.commit().await?;
        let time = Duration::from_secs(capture.seconds.into()) + ON_THE_WAY;
        let answer = self.peers.call_raw::<CaptureMake>(peer, &(), &capture, time).await;
        let mut answer = answer.map_err(|error| refusal::<CaptureMake>(id, &error))?;
        let (parts, captured) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let taken = async {
                while let Some(part) = answer.chunk().await.transpose() {
                    let is_read = parts.send(part.map(|part| part.to_vec()).map_err(io::Error::other));
                    if is_read.is_err() {
                        break;
                    }
                }
            };
            tokio::select! {
                () = taken => {}
                () = parts.closed() => {}
            }
        });
        Ok(Captured(captured))
    }
}

fn connections(tracked: Tracked, limit: u64) -> RouterConnections {
    let talkers = tracked.talkers.into_iter();
    let talkers =
        talkers.map(|talker| RouterTalker { address: talker.address, connections: talker.connections });
    RouterConnections {
        entries: tracked.entries,
        limit,
        states: tracked.states,
        networks: tracked.networks,
        elsewhere: tracked.elsewhere,
        talkers: talkers.collect(),
        talkers_short: tracked.talkers_short,
    }
}

const fn word(event: LeaseEvent) -> &'static str {
    match event {
        LeaseEvent::Offered => "offered",
        LeaseEvent::Acked => "acked",
        LeaseEvent::Refused => "refused",
        LeaseEvent::Released => "released",
        LeaseEvent::Declined => "declined",
    }
}

/// The capture that a router is asked for.
fn capture(asked: &RouterCapture, link: CapturedLink) -> Result<Capture, AppError> {
    use podzol_appliance_api::CaptureProtocol as Protocol;
    let capture = Capture {
        link,
        seconds: asked.seconds,
        bytes: asked.bytes.unwrap_or(MAX_CAPTURE_BYTES),
        snap_bytes: asked.snap_bytes.unwrap_or(MAX_SNAP_BYTES),
        host: asked.host,
        protocol: asked.protocol.map(|protocol| match protocol {
            CaptureProtocol::Tcp => Protocol::Tcp,
            CaptureProtocol::Udp => Protocol::Udp,
            CaptureProtocol::Icmp => Protocol::Icmp,
            CaptureProtocol::Icmp6 => Protocol::Icmp6,
            CaptureProtocol::Arp => Protocol::Arp,
        }),
        port: asked.port,
    };
    let Some(problem) = capture.problem() else { return Ok(capture) };
    // Both have the same names for what can break a rule.
    const FIELDS: [&str; 5] = ["seconds", "bytes", "snap_bytes", "protocol", "port"];
    let Some(field) = FIELDS.into_iter().find(|field| *field == problem.field) else {
        return Err(AppError::Internal(format!("a capture breaks a rule of no field of its own: {problem}")));
    };
    Err(AppError::invalid(field, problem.rule))
}

/// The link of a router that is meant.
async fn link(
    db: &impl Reader,
    row: &router::Model,
    asked: &RouterCapture,
) -> Result<CapturedLink, AppError> {
    let other = match asked.link {
        RouterLink::Guest => None,
        RouterLink::Public => Some(CapturedLink::Public),
        RouterLink::Management => Some(CapturedLink::Management),
    };
    let Some(other) = other else {
        let nics = vm::nics(db, &[row.vm_id]).await?;
        let guests = nics.iter().filter(|nic| is_of_guests(nic));
        let networks: Vec<NetworkId> = guests.map(|nic| nic.network_id.0).collect();
        return match (asked.network, networks.as_slice()) {
            (Some(network), all) if all.contains(&network) => Ok(CapturedLink::Guest(network)),
            (Some(_), _) => Err(AppError::invalid("network", "must be one of the router's networks")),
            (None, [one]) => Ok(CapturedLink::Guest(*one)),
            (None, _) => {
                Err(AppError::invalid("network", "must be given, as the router has not one network only"))
            }
        };
    };
    match asked.network {
        Some(_) => Err(AppError::invalid("network", "only the link `guest` is to one")),
        None => Ok(other),
    }
}

/// Whom to ask, if the router's VM runs.
async fn running(db: &impl Reader, row: &router::Model) -> Result<PeerId, AppError> {
    let vm = find::<vm::Entity>(db, row.vm_id).await?;
    match vm.map(|vm| vm.state.0) {
        Some(VmState::Running | VmState::Migrating) => Ok(PeerId::Router(row.vm_id.0)),
        _ => Err(AppError::Conflict {
            code: "router_not_running",
            detail: "the router does not run now".into(),
        }),
    }
}

/// Why a router has not done what it was asked, as the caller should know it.
fn refusal<E: Endpoint>(id: RouterId, error: &CallError) -> AppError {
    let call = E::ROUTE;
    match error.refusal() {
        Some(refusal) if refusal.code == ErrorCode::Conflict => AppError::Conflict {
            code: "capture_goes_on",
            detail: "another capture of the router goes on".into(),
        },
        Some(refusal) if refusal.code == ErrorCode::NotFound => AppError::Conflict {
            code: "router_without_link",
            detail: "the router has no such link now".into(),
        },
        _ => {
            tracing::warn!(error = error as &dyn std::error::Error, router = %id, call, "cannot look into a router");
            AppError::Unavailable("the router does not answer now, or its image is too old for this".into())
        }
    }
}
