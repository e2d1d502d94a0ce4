//! The agent of a computing server: makes VMs run here as the management service describes them, and reports.
//!
//! It keeps no state on disk but its identity. What runs here stands in libvirt's metadata, and which networks, mounts
//! and files (a seed and a serial log for each VM) there should be follows from that; so after a crash at any point the
//! next start looks, and removes what belongs to no VM. It answers the management service alone, but for the host from
//! which a VM is on its way, and console proxies, which it lets see what the management service has granted. It knows no customer.

pub mod config;
mod files;
pub mod guards;
mod inventory;
pub mod mounts;
mod networks;
mod peers;
mod platform;
mod report;
mod server;
mod traffic;
mod vms;
mod watch;

use std::sync::Arc;

use anyhow::Context;
use podzol_rpc::tls::{self, Clients};
use podzol_rpc::{AddressBook, Client, Identity, PeerId, Refusals};
use podzol_vocab::HostId;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
pub use crate::peers::Peers;
pub use crate::platform::{Platform, Server};
use crate::report::Reporter;
use crate::server::Door;
pub use crate::vms::Vms;

/// Runs the agent on a platform until `stop` is cancelled.
///
/// # Errors
/// When the identity or the address cannot be used.
pub async fn serve<P: Platform>(
    config: Config,
    identity: Identity,
    platform: P,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let host = own_id(&identity)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let port = listener.local_addr()?.port();
    let book = AddressBook::default();
    book.set(PeerId::Management, config.management.clone());
    let client = Client::new(&identity, book.clone())?;
    let tls = Arc::new(tls::server_config(&identity, Clients::MustShowCertificate)?);
    let vms = Vms::new(Arc::new(platform), &config, Peers::new(client.clone(), book));
    let refusals = Refusals::default();
    let reporter = Reporter::new(vms.clone(), config, port, refusals.clone());
    let door = Door::new(host, &identity, refusals.clone())?;
    let router = server::router(vms.clone(), Arc::clone(&reporter), refusals.clone(), door, stop.clone());
    tokio::join!(
        podzol_rpc::server::serve(listener, tls, router, refusals.of_connections(), stop.clone()),
        vms.follow(stop.clone()),
        reporter.run(client, host, stop),
    );
    Ok(())
}

/// The UNIX socket of the serial port of a VM that runs here.
pub fn serial_socket(config: &Config, vm: podzol_vocab::VmId) -> std::path::PathBuf {
    files::Files::new(&config.state_dir).serial_socket(vm)
}

/// Which host a certificate says that this is.
fn own_id(identity: &Identity) -> anyhow::Result<HostId> {
    match identity.peer()? {
        PeerId::Host(host) => Ok(host),
        other => anyhow::bail!("the certificate is of {other}, which is no host"),
    }
}
