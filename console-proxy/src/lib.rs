//! The console proxy: shows the displays of VMs in browsers.
//!
//! ```text
//!   management ── control API ──▶ hub ──▶ worker, a thread for each proxy server
//!   browsers ── HTTPS ─────────────────▶ worker ─ sessions ─ viewers ─┐
//!   agents, RFB servers ◀── one line ──── worker ─ VMs ───────────────┘
//! ```
//! It keeps nothing on disk but its identity. What it should do, it is told: a document with its servers, certificate and keys, and
//! sessions. After a restart it knows none of that, and the management service, which sees another `boot_id`, tells it again; pages
//! come back by themselves with a new ticket.
//!
//! It knows no user, no password and no database, and it decides nothing about rights: a ticket's signature and a session that was
//! put are all that lets a browser in.
//!
//! # Design notes
//! - A thread for each server, and nothing shared between them: a worker's state needs no locks, a VM's pixels stay in one
//!   processor's caches, and one that panics or hangs takes no other server's sessions with it.
//! - HTTP is served with hyper alone: there are a dozen routes, all with their own rules about time and size.
//! - Refused: a process for each session, as of websockify and guacd, which takes 28 MB each; WebSockets alone, which many
//!   firewalls and proxies break.

mod addresses;
mod certificate;
pub mod config;
mod control;
mod cookie;
mod http;
mod hub;
mod input;
mod limits;
mod net;
mod pace;
mod ring;
mod serial;
mod session;
mod share;
mod told;
mod upstream;
mod viewer;
mod vm;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use podzol_rpc::tls::{self, Clients};
use podzol_rpc::{Identity, PeerId, Refusals};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;

/// Serves the control API, and what it is told there, until `stop` is cancelled.
///
/// # Errors
/// When the identity or the address cannot be used.
pub async fn serve(listen: SocketAddr, identity: Identity, stop: CancellationToken) -> anyhow::Result<()> {
    match identity.peer()? {
        PeerId::ConsoleProxy(_) => {}
        other => anyhow::bail!("the certificate is of {other}, which is no console proxy"),
    }
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    tracing::info!(address = %listener.local_addr()?, "control API");
    let tls = Arc::new(tls::server_config(&identity, Clients::MustShowCertificate)?);
    let hub = Arc::new(Hub::new(identity));
    let refusals = Refusals::default();
    let routes = control::routes(Arc::clone(&hub), refusals.clone());
    tokio::join!(
        podzol_rpc::server::serve(listener, tls, routes, refusals.of_connections(), stop.clone()),
        hub.follow(stop),
    );
    Ok(())
}
