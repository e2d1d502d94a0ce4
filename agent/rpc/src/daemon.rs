//! What every daemon does around its work: it ends on a signal, joins with a token, and finds out where it is.

use std::fs::Permissions;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::identity::Identity;
use crate::join::{JoinError, JoinToken, join};
use crate::peer::PeerId;

/// Cancels on SIGTERM and SIGINT.
///
/// # Errors
/// What the operating system says.
pub fn stop_on_signal(stop: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// The own address on the way to another (`host:port`): connecting a UDP socket sends nothing, but chooses the route.
/// None while there is no way.
pub async fn address_towards(other: &str) -> Option<IpAddr> {
    let target = tokio::net::lookup_host(other).await.ok()?.next()?;
    let any: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = tokio::net::UdpSocket::bind(any).await.ok()?;
    socket.connect(target).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Why a daemon could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoiningError {
    /// Standard input could not be read.
    #[error("cannot read the token from standard input")]
    Input(#[source] std::io::Error),
    /// What was read is no token.
    #[error("the token {0}")]
    Token(podzol_vocab::Invalid),
    /// The management service gave no certificate.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The identity could not be written.
    #[error(transparent)]
    Store(#[from] crate::identity::IdentityError),
    /// The folder for it could not be made.
    #[error("cannot make a folder for the identity")]
    Folder(#[source] std::io::Error),
}

/// Joins with a token from standard input, where no process list shows it, and writes the identity into the folder
/// `identity` below `state_dir`, which gets these permissions. That it can be written is found out before the token is
/// shown to anybody: it works only once.
///
/// # Errors
/// See [`JoiningError`].
pub async fn join_from_stdin(management: &str, state_dir: &Path, mode: u32) -> Result<PeerId, JoiningError> {
    let text = std::io::read_to_string(std::io::stdin()).map_err(JoiningError::Input)?;
    let token: JoinToken = text.parse().map_err(JoiningError::Token)?;
    make_state_folder(state_dir, mode).map_err(JoiningError::Folder)?;
    let folder = state_dir.join("identity");
    Identity::prepare(&folder)?;
    let identity = join(management, &token).await?;
    identity.store(&folder)?;
    Ok(token.peer)
}

fn make_state_folder(folder: &Path, mode: u32) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::set_permissions(folder, Permissions::from_mode(mode))
}
