//! The agent of a storage server: pools, templates and volumes in folders that it exports.
//!
//! It keeps nothing of its own but its identity and the list of its pools: a pool's folder says what is in it.
//! Everything is made under another name first and renamed when it is whole, so what a crash leaves is known by its name
//! and removed when the pool is opened next.
//! It answers the management service alone, and knows neither VMs nor accounts.

pub mod config;
mod detached;
pub mod export;
mod import;
mod imports;
mod iso;
pub mod pool;
mod qcow2;
mod report;
mod restore;
mod server;
mod store;
mod template_keys;
#[cfg(test)]
mod testing;
mod troubles;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use podzol_rpc::tls::{self, Clients};
use podzol_rpc::{AddressBook, Client, Identity, PeerId, Refusals};
use podzol_vocab::StorageServerId;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::export::Exporter;
pub use crate::store::Store;

/// Runs the agent until `stop` is cancelled.
///
/// # Errors
/// When the identity, the address or the list of pools cannot be used.
pub async fn serve(
    config: Config,
    identity: Identity,
    exporter: impl Exporter,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let id = own_id(&identity)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let port = listener.local_addr()?.port();
    let book = AddressBook::default();
    book.set(PeerId::Management, config.management.clone());
    let client = Client::new(&identity, book)?;
    let tls = Arc::new(tls::server_config(&identity, Clients::MustShowCertificate)?);
    let store = Store::open(&config, client.clone(), exporter)?;
    let every = Duration::from_secs(config.report_secs);
    let refusals = Refusals::default();
    let router = server::router(store.clone(), refusals.clone());
    tokio::join!(
        podzol_rpc::server::serve(listener, tls, router, refusals.of_connections(), stop.clone()),
        restore::run(store.clone(), every, stop.clone()),
        report::run(store, client, id, config, port, refusals, stop),
    );
    Ok(())
}

/// Which storage server a certificate says that this is.
fn own_id(identity: &Identity) -> anyhow::Result<StorageServerId> {
    match identity.peer()? {
        PeerId::StorageServer(id) => Ok(id),
        other => anyhow::bail!("the certificate is of {other}, which is no storage server"),
    }
}
