//! Writing into the database itself what is in its log.
//!
//! What is committed is in SQLite's write-ahead log, from where a thread writes it into the database itself, with each
//! [`PAGES`] that come. Nobody is held up by that, but the log can be begun anew only when all of it was written: so while
//! commits go on without a pause it grows, and with [`MOST_PAGES`] what has come meanwhile is written by whoever has the
//! turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Db;
use crate::sqlite::Connection;

/// How many pages, of 4 KiB, the log has anew when they are written into the database itself.
const PAGES: u64 = if cfg!(test) { 16 } else { 4 << 10 };

/// How many pages the log may have before whoever writes waits until all of it is written: 128 MiB. Tests, here too, come to
/// it soon.
pub(super) const MOST_PAGES: u64 = if cfg!(test) { 256 } else { 32 << 10 };

/// What writes the log into the database itself.
#[derive(Debug)]
pub(super) struct Checkpoints {
    connection: Connection,
    is_running: AtomicBool,
    /// How many pages of the log it had written by the last time.
    until: AtomicU64,
}

impl Checkpoints {
    /// With a connection of their own.
    pub(super) fn with(connection: Connection) -> Self {
        Self { connection, is_running: AtomicBool::new(false), until: AtomicU64::new(0) }
    }

    /// Whether it is to begin, now that the log has so many pages; then whoever asked begins it.
    pub(super) fn are_due(&self, pages: u64) -> bool {
        let until = self.until.load(Ordering::SeqCst);
        // A log that has fewer was begun anew.
        let new = if pages < until { pages } else { pages - until };
        new >= PAGES && !self.is_running.swap(true, Ordering::SeqCst)
    }
}

impl Db {
    /// Writes the log into the database itself.
    pub(super) fn checkpoint(&self) {
        let Checkpoints { connection, is_running, until } = &*self.checkpoints;
        let made = connection.checkpoint().and_then(|made| {
            if made.logged < MOST_PAGES {
                return Ok(made);
            }
            // What has come since this one began was not written. Once all is, the next to write begins the log anew.
            let mut writer = Arc::clone(&self.writer).blocking_lock_owned();
            if let Some(group) = writer.group.take() {
                let _ = self.end(&mut writer, group);
            }
            connection.checkpoint()
        });
        match made {
            Ok(made) => until.store(made.written, Ordering::SeqCst),
            Err(error) => tracing::warn!(%error, "the database's log cannot be written into it, and grows"),
        }
        is_running.store(false, Ordering::SeqCst);
    }
}
