//! Opening the database, and its transactions.
//!
//! # Group commits
//! Transactions write one after the other, and each commit writes every page that it changed. So one that is ready
//! while another waits for its turn does not commit by itself: the next continues in the same transaction of the database,
//! and the last of them commits for all. Each is told that it is durable when it is, for which nobody's turn waits: see
//! [`durable`](crate::durable). One that is given up takes back what it did and nothing else: see
//! [`writing`](crate::writing).
//! If the commit fails, nothing of any of them has happened, and all are told.
//!
//! # The log
//! What is committed is in SQLite's write-ahead log, from where a thread writes it into the database itself, with each
//! [`PAGES`] that come. Nobody is held up by that, but the log can be begun anew only when all of it was written: so while
//! commits go on without a pause it grows, and with [`MOST_PAGES`] what has come meanwhile is written by whoever has the
//! turn.
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
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use podzol_vocab::AccountId;
use sea_orm::{DbBackend, DbErr, IntoActiveModel, QueryTrait, StatementBuilder, Value};
use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;

use crate::background::Background;
use crate::change::{self, Recent};
use crate::durable::{Committed, Counts, Durable};
use crate::ledger::{self, Draft, Ledger};
use crate::lock::Lock;
use crate::reading::Reading;
use crate::sqlite::{self, Connection, Connections};
use crate::texts::{Selection, values_of};
use crate::writing::{Done, Writing};
use crate::{DbError, Table, migration};

/// The database. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Db {
    reading: Reading,
    background: Background,
    writer: Arc<tokio::sync::Mutex<Writer>>,
    /// How many wait for their turn to write.
    waiting: Arc<AtomicUsize>,
    changes: Arc<Recent>,
    counts: Arc<Counts>,
    checkpoints: Arc<Checkpoints>,
    /// The places in line for a turn that work behind calls has.
    places_behind: Arc<Semaphore>,
    is_behind: bool,
    _lock: Arc<Lock>,
}

impl Db {
    /// Opens the database file, making it if there is none, and brings its tables up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, another service has it open, or it was written by a newer version.
    pub async fn open(file: &Path) -> Result<Self, DbError> {
        let lock = Lock::take(file).await?;
        let connection = Arc::new(Connection::open(file)?);
        migration::bring_up_to_date(&connection).await?;
        connection.leave_waiting()?;
        let (changes, counts) = (Arc::<Recent>::default(), Arc::<Counts>::default());
        let log = sqlite::open_log(file)?;
        let reading = Reading {
            connections: Arc::new(Connections::to(file)),
            rows: Arc::default(),
            ledger: ledger::Shared::new(Ledger::default()),
            durable: Durable::start(move || log.sync_data(), Arc::clone(&changes), Arc::clone(&counts))?,
        };
        let last = change::last(&reading).await?;
        changes.begin_after(last);
        let writer =
            Writer { connection, group: None, committed: last, last_change: last, ledger_is_right: false };
        let db = Self {
            reading,
            background: Background::start()?,
            writer: Arc::new(tokio::sync::Mutex::new(writer)),
            waiting: Arc::default(),
            changes,
            counts,
            checkpoints: Arc::new(Checkpoints {
                connection: Connection::open(file)?,
                is_running: AtomicBool::new(false),
                until: AtomicU64::new(0),
            }),
            places_behind: Arc::new(Semaphore::new(BEHIND)),
            is_behind: false,
            _lock: Arc::new(lock),
        };
        // Makes the ledger.
        drop(db.begin().await?);
        Ok(db)
    }

    /// The same database for work that goes on behind the calls of clients. Transactions take turns; of those that are begun
    /// with this one, only a few stand in line at a time, however many there are. So while many calls come, they get most of
    /// the turns, and work gets the rest.
    #[must_use]
    pub fn behind(&self) -> Self {
        Self { is_behind: true, ..self.clone() }
    }

    /// How much was written since it was opened.
    pub fn counts(&self) -> Counted {
        Counted {
            transactions: self.counts.transactions.load(Ordering::Relaxed),
            commits: self.counts.commits.load(Ordering::Relaxed),
            waits: self.counts.waits.load(Ordering::Relaxed),
        }
    }

    /// What to read with.
    pub fn reader(&self) -> &Reading {
        &self.reading
    }

    /// Begins a transaction that writes. Dropped without [`Tx::commit`], it changes nothing.
    ///
    /// # Errors
    /// When the database is not usable.
    pub async fn begin(&self) -> Result<Tx, DbError> {
        let turn = self.turn().await;
        self.begin_in(turn).await
    }

    /// As [`Db::begin`], for what takes long: nobody's commit waits for it.
    ///
    /// # Errors
    /// When the database is not usable.
    pub async fn begin_alone(&self) -> Result<Tx, DbError> {
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        if let Some(group) = writer.group.take() {
            // Its members are told how it went.
            let _ = self.end(&mut writer, group);
        }
        self.begin_in(Turn::of(self, writer)).await
    }

    async fn begin_in(&self, mut turn: Turn) -> Result<Tx, DbError> {
        if !turn.writer().ledger_is_right {
            self.reading.ledger.replace(Ledger::load(&self.reading).await?);
            turn.writer_mut().ledger_is_right = true;
        }
        let connection = Arc::clone(&turn.writer().connection);
        if turn.writer().group.is_none() {
            // What was under way if its end broke off.
            connection.roll_back();
            turn.writer_mut().last_change = turn.writer().committed;
            let is_open = connection.begin(Duration::ZERO);
            if is_open.as_ref().is_err_and(sqlite::is_busy) {
                // Some other program has it. The turn goes along, for what it is if nobody waits any more.
                let waits = move |turn: Turn| (turn.writer().connection.begin(sqlite::PATIENCE), turn);
                let (is_open, back) = self.background.run(move || waits(turn)).await?;
                turn = back;
                is_open?;
            } else {
                is_open?;
            }
            turn.writer_mut().group = Some(Group::begun_now());
        }
        let group = turn.writer().group.as_ref().expect("it is there by now");
        let writing = Writing {
            connection,
            rows: Arc::clone(&self.reading.rows),
            ledger: self.reading.ledger.clone(),
            written: Arc::clone(&group.written),
            done: Arc::clone(&group.done),
            failed: Arc::clone(&group.failed),
        };
        let draft = Draft::new(self.reading.ledger.clone());
        Ok(Tx { writing, changes: Mutex::default(), draft, turn })
    }

    /// Waits until nobody else writes.
    async fn turn(&self) -> Turn {
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

    /// The number of the last change, followed as it grows.
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.changes.follow()
    }

    /// The changes after a number, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn changes_after(&self, seq: i64, limit: usize) -> Result<Vec<change::Model>, DbError> {
        match self.changes.after(seq, limit) {
            Some(recent) => Ok(recent),
            None => change::after(self.reader(), seq, limit as u64).await,
        }
    }

    /// Waits until what is under way has ended.
    ///
    /// # Errors
    /// When the last writes cannot be finished.
    pub async fn close(self) -> Result<(), DbError> {
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        let committed = writer.group.take().map_or(Ok(()), |group| self.end(&mut writer, group));
        self.reading.durable.wait().await;
        committed
    }

    /// Commits a group. Its members are told when it is durable, or that it has failed.
    fn end(&self, writer: &mut Writer, group: Group) -> Result<(), DbError> {
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

    /// Writes the log into the database itself.
    fn checkpoint(&self) {
        let Checkpoints { connection, is_running, until } = &*self.checkpoints;
        let made = connection.checkpoint().and_then(|made| {
            if made.logged < MOST_PAGES || made.written == made.logged {
                return Ok(made);
            }
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

/// What writes the log into the database itself.
#[derive(Debug)]
struct Checkpoints {
    connection: Connection,
    is_running: AtomicBool,
    /// How many pages of the log it had written by the last time.
    until: AtomicU64,
}

impl Checkpoints {
    /// Whether it is to begin, now that the log has so many pages; then whoever asked begins it.
    fn are_due(&self, pages: u64) -> bool {
        let until = self.until.load(Ordering::SeqCst);
        // A log that has fewer was begun anew.
        let new = if pages < until { pages } else { pages - until };
        new >= PAGES && !self.is_running.swap(true, Ordering::SeqCst)
    }
}

/// What a database has written since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Transactions that are durable.
    pub transactions: u64,
    /// Commits of the database, of one or several transactions.
    pub commits: u64,
    /// Waits for the disk, for one or several commits.
    pub waits: u64,
}

/// How many pages, of 4 KiB, the log has anew when they are written into the database itself.
const PAGES: u64 = 4 << 10;

/// How many pages the log may have before whoever writes waits until all of it is written: 128 MiB.
const MOST_PAGES: u64 = 32 << 10;

/// How many transactions of work stand in line.
const BEHIND: usize = 8;

/// The most transactions that commit together.
const MOST: usize = 64;

/// How old a group may be that is left to another one. It waits for that one's work, too.
const PATIENCE: Duration = Duration::from_millis(10);

/// What whoever writes holds.
#[derive(Debug)]
struct Writer {
    connection: Arc<Connection>,
    /// Those that are ready and not committed yet.
    group: Option<Group>,
    /// The number of the last change that was committed.
    committed: i64,
    /// The number of the last change, of those that are ready too.
    last_change: i64,
    /// Whether the ledger is of what is in the database: not after a commit that failed.
    ledger_is_right: bool,
}

#[derive(Debug)]
struct Group {
    begun: Instant,
    members: Vec<oneshot::Sender<Result<(), DbError>>>,
    changes: Vec<change::Model>,
    written: Arc<Mutex<HashSet<String>>>,
    done: Arc<Mutex<Vec<Done>>>,
    /// How many of those statements are of members.
    done_by_members: usize,
    /// Why the database has ended the transaction by itself, if it has.
    failed: Arc<OnceLock<DbError>>,
}

impl Group {
    fn begun_now() -> Self {
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

    fn done(&self) -> MutexGuard<'_, Vec<Done>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back what was done by somebody who is no member.
    fn without_others(&self, connection: &Connection) -> Result<(), DbErr> {
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
struct Turn {
    writer: Option<OwnedMutexGuard<Writer>>,
    db: Db,
    /// Its place in the line, if it is work's.
    place: Option<OwnedSemaphorePermit>,
}

impl Turn {
    fn of(db: &Db, writer: OwnedMutexGuard<Writer>) -> Self {
        Self { writer: Some(writer), db: db.clone(), place: None }
    }

    fn writer(&self) -> &Writer {
        self.writer.as_ref().expect("it is taken when the turn ends")
    }

    fn writer_mut(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("it is taken when the turn ends")
    }

    /// Whether somebody waits who will continue the group.
    fn is_continued(&self) -> bool {
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

/// One transaction that writes.
#[derive(Debug)]
pub struct Tx {
    // Before the turn: what it did is taken back before another's turn begins.
    writing: Writing,
    changes: Mutex<Vec<change::Noted>>,
    pub(crate) draft: Draft,
    turn: Turn,
}

impl Tx {
    /// The connection of this transaction.
    pub fn reader(&self) -> &Writing {
        &self.writing
    }

    /// Notes that an object changed, for the event stream.
    pub(crate) fn changed(&self, kind: &'static str, id: impl ToString, account: Option<AccountId>) {
        let noted = change::Noted { kind, id: id.to_string(), account };
        self.writes(&noted.id);
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if !changes.contains(&noted) {
            changes.push(noted);
        }
    }

    /// Notes that a row is written, of which nobody is told.
    pub(crate) fn writes(&self, id: impl ToString) {
        self.writing.written().insert(id.to_string());
    }

    /// Runs a statement that has no answer.
    pub(crate) fn run(
        &self,
        statement: &impl QueryTrait<QueryStatement: StatementBuilder>,
    ) -> Result<(), DbError> {
        let statement = statement.build(DbBackend::Sqlite);
        self.writing.execute_statement(statement)?;
        Ok(())
    }

    /// Adds a row.
    pub(crate) fn insert<E: Table>(&self, row: E::Model) -> Result<(), DbError>
    where
        E::Model: IntoActiveModel<E::ActiveModel>,
    {
        self.insert_all::<E>([row])
    }

    /// Adds some rows.
    pub(crate) fn insert_all<E: Table>(&self, rows: impl IntoIterator<Item = E::Model>) -> Result<(), DbError>
    where
        E::Model: IntoActiveModel<E::ActiveModel>,
    {
        Ok(self.writing.insert_all::<E>(rows)?)
    }

    /// Adds a row to a table whose key, its first column, is a number that the database gives. Says which.
    pub(crate) fn insert_numbered<E: Table>(&self, row: E::Model) -> Result<u64, DbError>
    where
        E::Model: IntoActiveModel<E::ActiveModel>,
    {
        let mut values = vec![];
        values_of::<E>(row, &mut values)?;
        values[0] = Value::BigInt(None);
        Ok(self.writing.execute(E::texts().insert(1), values)?.last_insert_id())
    }

    /// Writes a row as it is now: the columns that differ, so that no index is written of which none does.
    pub(crate) fn update<E: Table>(&self, row: E::Model) -> Result<(), DbError>
    where
        E::Model: IntoActiveModel<E::ActiveModel>,
    {
        let (texts, mut values) = (E::texts(), vec![]);
        values_of::<E>(row, &mut values)?;
        let key: Vec<Value> = texts.key.iter().map(|column| values[*column].clone()).collect();
        let found = Selection { sql: &texts.find, values: &key, kinds: &texts.kinds };
        let before = self.writing.select(found, Ok)?.pop().ok_or(DbErr::RecordNotUpdated)?;
        let differs = |column: &usize| values[*column] != before[*column];
        let changed: Vec<usize> = (0..values.len()).filter(differs).collect();
        if !changed.is_empty() {
            let changes = changed.iter().map(|column| values[*column].clone());
            let changes: Vec<Value> = changes.chain(key.iter().cloned()).collect();
            self.writing.execute(texts.update(&changed), changes)?;
        }
        Ok(())
    }

    /// Makes it all durable.
    ///
    /// # Errors
    /// When the database refuses; then nothing has changed.
    pub async fn commit(self) -> Result<(), DbError> {
        // From here on it goes its way, whether anybody waits or not.
        let is_durable = self.make_ready()?;
        is_durable.await.unwrap_or_else(|_| Err(DbError::Failed(DbErr::Custom("it is being closed".into()))))
    }

    /// Ends it, and leaves its commit to whoever waits for a turn, or does that too. Tells when it is durable.
    fn make_ready(self) -> Result<oneshot::Receiver<Result<(), DbError>>, DbError> {
        // Whatever fails here: the turn ends last.
        let Self { mut turn, draft, changes, writing } = self;
        let noted = changes.into_inner().unwrap_or_else(PoisonError::into_inner);
        let changes = change::numbered(noted, turn.writer().last_change);
        for some in changes.chunks(change::AT_ONCE) {
            writing.insert_all::<change::Entity>(some.iter().cloned())?;
        }
        draft.keep();
        let (durable, is_durable) = oneshot::channel();
        let writer = turn.writer_mut();
        writer.last_change = changes.last().map_or(writer.last_change, |change| change.seq);
        if let Some(group) = &mut writer.group {
            group.changes.extend(changes);
            let done = group.done().len();
            group.done_by_members = done;
            group.members.push(durable);
        }
        if turn.is_continued() {
            turn.writer = None;
        }
        Ok(is_durable)
    }
}

#[cfg(test)]
mod tests;
