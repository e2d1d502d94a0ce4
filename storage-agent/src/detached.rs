//! Work that goes on to its end when its caller goes away: half of it must not meet the next call.

use std::future::Future;

use podzol_vocab::{ErrorCode, WireError};
use tokio::task::JoinError;

/// Work on disks, away from the threads that serve connections.
pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WireError> + Send + 'static,
) -> Result<T, WireError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(broke_off(&error)))
}

/// Work that waits.
pub(crate) async fn task<T: Send + 'static>(
    work: impl Future<Output = Result<T, WireError>> + Send + 'static,
) -> Result<T, WireError> {
    tokio::spawn(work).await.unwrap_or_else(|error| Err(broke_off(&error)))
}

fn broke_off(error: &JoinError) -> WireError {
    tracing::error!(%error, "work broke off");
    WireError::new(ErrorCode::Internal, "the work broke off")
}
