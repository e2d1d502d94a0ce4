//! Turns to write, and what is committed when they end.
//!
//! # Group commits
//! Transactions write one after the other, and each commit writes every page that it changed. So one that is ready
//! while another waits for its turn does not commit by itself: the next continues in the same transaction of the database,
//! and the last of them commits for all. Each is told that it is durable when it is, for which nobody's turn waits: see
//! [`durable`](crate::durable). One that is given up takes back what it did and nothing else: see
//! [`writing`](crate::writing).
//! If the commit fails, nothing of any of them has happened, and all are told.
//!
//! # Work behind calls
//! A client waits for its answer; an operation that goes on behind it does not. While many clients ask for much at once, the
//! operations that follow from what they were answered would have most of the turns to write, and all would wait for them. So of
//! the transactions of work, [`Db::behind`], only a few stand in line at a time: calls get the turns that they can use, and
//! work gets at least [`BEHIND`] of as many as wait, so that it goes on however many calls come.
//!
//! Refused: a line for each of the two, calls first. Work would stand still for as long as there are more calls than turns, and
//! what was accepted would miss its deadline.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use sea_orm::DbErr;
use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::Db;
use crate::DbError;
use crate::change;
use crate::durable::Committed;
use crate::sqlite::Connection;
use crate::writing::Done;

/// How many transactions of work stand in line.
pub(super) const BEHIND: usize = 8;

/// The most transactions that commit together.
const MOST: usize = 64;

/// How old a group may be that is left to another one. It waits for that one's work, too.
const PATIENCE: Duration = Duration::from_millis(10);

/// What whoever writes holds.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) connection: Arc<Connection>,
    /// Those that are ready and not committed yet.
    pub(super) group: Option<Group>,
    /// The number of the last change that was committed.
    pub(super) committed: i64,
    /// The number of the last change, of those that are ready too.
    pub(super) last_change: i64,
    /// Whether the ledger is of what is in the database: not after a commit that failed.
    pub(super) ledger_is_right: bool,
}

#[derive(Debug)]
pub(super) struct Group {
    begun: Instant,
    pub(super) members: Vec<oneshot::Sender<Result<(), DbError>>>,
    pub(super) changes: Vec<change::Model>,
    pub(super) written: Arc<Mutex<HashSet<String>>>,
    pub(super) done: Arc<Mutex<Vec<Done>>>,
    /// How many of those statements are of members.
    pub(super) done_by_members: usize,
    /// Why the database has ended the transaction by itself, if it has.
    pub(super) failed: Arc<OnceLock<DbError>>,
}

impl Group {
    pub(super) fn begun_now() -> Self {
        Self {
            begun: Instant::now(),
            members: vec![],
            changes: vec![],
            written: Arc::default(),
            done: Arc::default(),
            done_by_members: 0,
            failed: Arc::default(),
        }
    }

    pub(super) fn done(&self) -> MutexGuard<'_, Vec<Done>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back what was done by somebody who is no member.
    pub(super) fn without_others(&self, connection: &Connection) -> Result<(), DbErr> {
        let mut done = self.done();
        // A transaction that the database has ended cannot be had back.
        if done.len() == self.done_by_members || !connection.is_in_transaction() {
            return Ok(());
        }
        done.truncate(self.done_by_members);
        connection.roll_back();
        connection.begin(Duration::ZERO)?;
        done.iter().try_for_each(|done| connection.execute(&done.sql, &done.values).map(drop))
    }
}

/// Somebody who waits for a turn; dropped before it comes if that is not wanted any more.
struct Waits<'a>(&'a Db);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        // Whoever had the turn before may have left a group to this one.
        let was_last = self.0.waiting.fetch_sub(1, Ordering::SeqCst) == 1;
        let left = LeftBehind(Db { is_behind: false, ..self.0.clone() });
        if let (true, Ok(runtime)) = (was_last, Handle::try_current()) {
            runtime.spawn(async move { drop(left.0.turn().await) });
        }
    }
}

/// A group that may have been left to somebody who went. A runtime that is being ended runs no task for it any more, and the
/// database would stay locked for as long as this process has it open.
struct LeftBehind(Db);

impl Drop for LeftBehind {
    fn drop(&mut self) {
        // Whoever has the turn will find that nobody waits.
        if let Ok(writer) = Arc::clone(&self.0.writer).try_lock_owned() {
            drop(Turn::of(&self.0, writer));
        }
    }
}

/// The turn to write. A group that nobody else continues is committed when it ends.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) writer: Option<OwnedMutexGuard<Writer>>,
    db: Db,
    /// Its place in the line, if it is work's.
    place: Option<OwnedSemaphorePermit>,
}

impl Turn {
    pub(super) fn of(db: &Db, writer: OwnedMutexGuard<Writer>) -> Self {
        Self { writer: Some(writer), db: db.clone(), place: None }
    }

    pub(super) fn writer(&self) -> &Writer {
        self.writer.as_ref().expect("it is taken when the turn ends")
    }

    pub(super) fn writer_mut(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("it is taken when the turn ends")
    }

    /// Whether somebody waits who will continue the group.
    pub(super) fn is_continued(&self) -> bool {
        let has_room = |group: &Group| group.members.len() < MOST && group.begun.elapsed() < PATIENCE;
        self.db.waiting.load(Ordering::SeqCst) > 0 && self.writer().group.as_ref().is_some_and(has_room)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.place.take());
        let Some(mut writer) = self.writer.take() else { return };
        let Some(group) = writer.group.take().filter(|group| !group.members.is_empty()) else {
            writer.connection.roll_back();
            return;
        };
        if let Err(error) = group.without_others(&writer.connection) {
            // Nothing is known of it any more, so nothing is committed, which the commit will find.
            let _ = group.failed.set(error.into());
            writer.connection.roll_back();
        }
        drop(self.db.end(&mut writer, group));
    }
}

impl Db {
    /// Waits until nobody else writes.
    pub(super) async fn turn(&self) -> Turn {
        let place = match self.is_behind {
            true => Arc::clone(&self.places_behind).acquire_owned().await.ok(),
            false => None,
        };
        let waits = Waits(self);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let writer = Arc::clone(&self.writer).lock_owned().await;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        std::mem::forget(waits);
        let mut turn = Turn::of(self, writer);
        turn.place = place;
        turn
    }

    /// Waits until nobody else writes, and commits what is ready.
    pub(super) async fn turn_alone(&self) -> Turn {
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        if let Some(group) = writer.group.take() {
            // Its members are told how it went.
            let _ = self.end(&mut writer, group);
        }
        Turn::of(self, writer)
    }

    /// Commits a group. Its members are told when it is durable, or that it has failed.
    pub(super) fn end(&self, writer: &mut Writer, group: Group) -> Result<(), DbError> {
        writer.ledger_is_right = false;
        let number = self.reading.durable.begin();
        let committed = writer.connection.commit();
        match &committed {
            Ok(pages) => {
                writer.ledger_is_right = true;
                writer.committed = writer.last_change;
                let mut written = group.written.lock().unwrap_or_else(PoisonError::into_inner);
                self.reading.rows.forget(std::mem::take(&mut *written));
                if self.checkpoints.are_due(*pages) {
                    let db = self.clone();
                    self.background.begin(move || db.checkpoint());
                }
            }
            Err(_) => {
                writer.connection.roll_back();
                writer.last_change = writer.committed;
            }
        }
        let why = |error: DbErr| group.failed.get().cloned().unwrap_or_else(|| error.into());
        let outcome = committed.map(drop).map_err(why);
        self.reading.durable.end(Committed {
            number,
            outcome: outcome.clone(),
            members: group.members,
            changes: group.changes,
            last_change: writer.committed,
        });
        outcome
    }
}
