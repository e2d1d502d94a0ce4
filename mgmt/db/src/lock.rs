//! Keeps a second service off the database.
//!
//! # Design notes
//! SQLite would let two services write in turns, but each numbers changes and sums up what is given out by itself. The
//! lock is on a file of its own: closing any file that SQLite has open would end SQLite's locks on it, and programs that
//! copy the database stay welcome. The kernel ends it with the process that holds it.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::DbError;

/// How long a service that is ending may keep it.
const ENDS: Duration = Duration::from_secs(3);

/// How often to try.
const AGAIN: Duration = Duration::from_millis(20);

/// Held for as long as the database is open.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "it is held, not read")] File);

impl Lock {
    /// Takes the lock of a database's file.
    ///
    /// # Errors
    /// When another service keeps it, or there can be no such file.
    pub(crate) async fn take(database: &Path) -> Result<Self, DbError> {
        let path = beside(database);
        let failed = |source: std::io::Error| DbError::Lock { path: path.clone(), source: Arc::new(source) };
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        let until = Instant::now() + ENDS;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(AGAIN).await,
                Err(TryLockError::WouldBlock) => return Err(DbError::InUse(path.clone())),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }
}

fn beside(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(".lock");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_has_the_database_and_the_next_when_it_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("db");
        let first = Lock::take(&database).await.unwrap();
        assert!(matches!(Lock::take(&database).await, Err(DbError::InUse(_))));
        let path = database.clone();
        let second = tokio::spawn(async move { Lock::take(&path).await });
        sleep(Duration::from_secs(1)).await;
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap().unwrap();
    }
}
