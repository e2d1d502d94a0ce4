//! Opening the database, and its transactions. How they take turns and commit together, [`turn`] says.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use podzol_vocab::AccountId;
use sea_orm::{DbBackend, DbErr, IntoActiveModel, QueryTrait, StatementBuilder, Value};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::background::Background;
use crate::change::{self, Recent};
use crate::durable::{Counts, Durable};
use crate::ledger::{self, Draft, Drift, Ledger};
use crate::lock::Lock;
use crate::reading::Reading;
use crate::sqlite::{self, Connection, Connections};
use crate::texts::{Selection, values_of};
use crate::writing::Writing;
use crate::{DbError, Table, migration};

mod checkpoints;
#[cfg(test)]
mod tests;
mod turn;

use checkpoints::Checkpoints;
use turn::{BEHIND, Group, Turn, Writer};

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
            checkpoints: Arc::new(Checkpoints::with(Connection::open(file)?)),
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

    /// How much was written and read since it was opened.
    pub fn counts(&self) -> Counted {
        Counted {
            transactions: self.counts.transactions.load(Ordering::Relaxed),
            commits: self.counts.commits.load(Ordering::Relaxed),
            waits: self.counts.waits.load(Ordering::Relaxed),
            reads: self.reading.connections.reads(),
        }
    }

    /// What of all that is given out is not counted as the tables have it: nothing, if the ledger is right.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn drift(&self) -> Result<Vec<Drift>, DbError> {
        let look = async || {
            let tables = Ledger::load(&self.reading).await?;
            Ok::<_, DbError>(self.reading.ledger.get().drift_from(&tables))
        };
        let mut found = look().await?;
        if !found.is_empty() {
            // What was being written is in the tables after this, or given up.
            drop(self.begin_alone().await?);
            let still = look().await?;
            found.retain(|drift| still.contains(drift));
        }
        Ok(found.into_iter().collect())
    }

    /// Counts anew what is given out; whoever writes waits meanwhile.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn count_anew(&self) -> Result<(), DbError> {
        // What is not committed would not be counted.
        let mut turn = self.turn_alone().await;
        turn.writer_mut().ledger_is_right = false;
        self.begin_in(turn).await.map(drop)
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
        let turn = self.turn_alone().await;
        self.begin_in(turn).await
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
}

/// What a database has written and read since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Transactions that are durable.
    pub transactions: u64,
    /// Commits of the database, of one or several transactions.
    pub commits: u64,
    /// Waits for the disk, for one or several commits.
    pub waits: u64,
    /// Statements outside of transactions that write.
    pub reads: u64,
}

/// One transaction that writes.
#[derive(Debug)]
pub struct Tx {
    // Before the turn: what it did is taken back before another's turn begins.
    writing: Writing,
    changes: Mutex<change::Notes>,
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
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).add(noted);
    }

    /// The number that the first of its changes gets: who is told something of that number or a later one is told of all that
    /// it writes.
    pub fn next_change(&self) -> i64 {
        self.turn.writer().last_change + 1
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

    /// Adds some rows to a table whose key, its first column, is a number that the database gives. Says which: nobody else
    /// writes meanwhile, so they follow one another.
    pub(crate) fn insert_numbered<E: Table>(&self, rows: Vec<E::Model>) -> Result<Range<u64>, DbError>
    where
        E::Model: IntoActiveModel<E::ActiveModel>,
    {
        let (mut values, count) = (vec![], rows.len());
        for row in rows {
            let key = values.len();
            values_of::<E>(row, &mut values)?;
            values[key] = Value::BigInt(None);
        }
        let end = self.writing.execute(E::texts().insert(count), values)?.last_insert_id() + 1;
        Ok(end - count as u64..end)
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
        let changes = change::numbered(noted.in_order(), turn.writer().last_change);
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
