//! Opening the database, and its transactions.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use podzol_vocab::AccountId;
use sea_orm::sqlx::sqlite::{SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{self, Connection};
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DatabaseTransaction, DbErr, SqlErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;
use tokio::sync::{OwnedMutexGuard, watch};

use crate::change;
use crate::migration::Migrator;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// A value that must be there once is there already.
    #[error("already exists: {0}")]
    Taken(String),
    /// Something else still refers to the row.
    #[error("something still refers to it")]
    Referred,
    /// There is no room left on the database's disk. Nothing was changed.
    #[error("the database's disk is full")]
    Full,
    /// Anything else: the file is damaged, and the like.
    #[error("the database failed: {0}")]
    Failed(DbErr),
}

impl From<DbErr> for DbError {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(what)) => Self::Taken(what),
            Some(SqlErr::ForeignKeyConstraintViolation(_)) => Self::Referred,
            _ => match sqlite_code(&error).as_deref() {
                Some(RESTRICTED) => Self::Referred,
                Some(FULL) => Self::Full,
                _ => Self::Failed(error),
            },
        }
    }
}

/// SQLite's code for a row that `ON DELETE RESTRICT` keeps (SQLITE_CONSTRAINT_TRIGGER), which SeaORM does not know.
const RESTRICTED: &str = "1811";

/// SQLite's code for a write that found no room (SQLITE_FULL).
const FULL: &str = "13";

fn sqlite_code(error: &DbErr) -> Option<String> {
    let (DbErr::Exec(sea_orm::RuntimeErr::SqlxError(error))
    | DbErr::Query(sea_orm::RuntimeErr::SqlxError(error))) = error
    else {
        return None;
    };
    error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
}

/// Whether a connection that comes back to the pool is in no transaction any more. One that is must be closed, not used
/// again: SQLite ends a transaction by itself when its disk is full or fails (<https://sqlite.org/lang_transaction.html>,
/// 3.1), but sqlx counts transactions on its own, does not hear of that, and would open a savepoint where a transaction is
/// asked for. That holds its lock, and what is read on it stays as it was.
async fn is_outside_transactions(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if !connection.is_in_transaction() {
        return Ok(true);
    }
    // A rollback that was asked for before is done before this.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// The database. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Db {
    connections: DatabaseConnection,
    writer: Arc<tokio::sync::Mutex<()>>,
    last_change: Arc<watch::Sender<i64>>,
}

impl Db {
    /// Opens the database file, making it if there is none, and brings its tables up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, or was written by a newer version.
    pub async fn open(file: &Path) -> Result<Self, DbError> {
        let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", file.display()));
        options
            // One writes at a time anyway; the others read.
            .max_connections(6)
            .acquire_timeout(Duration::from_secs(10))
            .idle_timeout(None::<Duration>)
            .max_lifetime(None::<Duration>)
            .test_before_acquire(false)
            .sqlx_logging(false)
            .map_sqlx_sqlite_pool_opts(|options| {
                options.after_release(|connection, _| Box::pin(is_outside_transactions(connection)))
            })
            .map_sqlx_sqlite_opts(|options| {
                options
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(Duration::from_secs(10))
                    .foreign_keys(true)
            });
        let connections = Database::connect(options).await?;
        Migrator::up(&connections, None).await?;
        let last = change::last(&connections).await?;
        Ok(Self { connections, writer: Arc::default(), last_change: Arc::new(watch::Sender::new(last)) })
    }

    /// A connection to read with.
    pub fn reader(&self) -> &DatabaseConnection {
        &self.connections
    }

    /// Begins a transaction that writes. Dropped without [`Tx::commit`], it changes nothing.
    ///
    /// # Errors
    /// When the database is not usable.
    pub async fn begin(&self) -> Result<Tx, DbError> {
        let turn = Arc::clone(&self.writer).lock_owned().await;
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        let inner = self.connections.begin_with_options(options).await?;
        Ok(Tx { inner, changes: Mutex::default(), last_change: Arc::clone(&self.last_change), _turn: turn })
    }

    /// The number of the last change, followed as it grows.
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.last_change.subscribe()
    }

    /// Closes all connections, after what is under way has ended.
    ///
    /// # Errors
    /// When the last writes cannot be finished.
    pub async fn close(self) -> Result<(), DbError> {
        Ok(self.connections.close().await?)
    }
}

/// One transaction that writes.
#[derive(Debug)]
pub struct Tx {
    inner: DatabaseTransaction,
    changes: Mutex<Vec<change::Noted>>,
    last_change: Arc<watch::Sender<i64>>,
    _turn: OwnedMutexGuard<()>,
}

impl Tx {
    /// The connection of this transaction.
    pub fn reader(&self) -> &DatabaseTransaction {
        &self.inner
    }

    /// Notes that an object changed, for the event stream.
    pub(crate) fn changed(&self, kind: &'static str, id: impl ToString, account: Option<AccountId>) {
        let noted = change::Noted { kind, id: id.to_string(), account };
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if !changes.contains(&noted) {
            changes.push(noted);
        }
    }

    /// Makes it all durable.
    ///
    /// # Errors
    /// When the database refuses; then nothing has changed.
    pub async fn commit(self) -> Result<(), DbError> {
        let changes = self.changes.into_inner().unwrap_or_else(PoisonError::into_inner);
        let last = change::append(&self.inner, changes).await?;
        self.inner.commit().await?;
        if let Some(last) = last {
            self.last_change.send_replace(last);
        }
        Ok(())
    }
}
