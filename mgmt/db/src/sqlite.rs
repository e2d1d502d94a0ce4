//! SQLite, spoken to on the thread that asks.
//!
//! # Design notes
//! What most statements need is in memory. To hand each to a thread of its own and wait for its answer, as drivers for many
//! databases do, has two threads woken for it. So statements run in place, and only waiting for the disk is left to
//! [a thread](crate::durable); tests/bench/README.md has what that changed. SeaORM makes the statements and reads the rows, as
//! for any database; another one would be another [`ConnectionTrait`](sea_orm::ConnectionTrait) beside this.
//!
//! Refused: sqlx, which has the thread of its own. Half of the CPU time of a VM's creation was the kernel's, for waking.
//!
//! Whole rows are read by position, see [`fetch`](crate::fetch). All others are read by their columns' names: the row that SeaORM
//! takes from drivers it does not know itself is sorted by name, so a position in it is another column.

use std::cell::Cell;
use std::fs::File;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, ffi};
use sea_orm::prelude::async_trait;
use sea_orm::{
    DbErr, ExecResult, ProxyDatabaseTrait, ProxyExecResult, ProxyRow, QueryResult, RuntimeErr, Statement,
    Value, Values,
};

use crate::texts::{Kind, Selection};

/// How many statements a connection keeps prepared.
const PREPARED: usize = 512;

/// The most values of a statement that is kept. Those with more are of lists, as long as they happen to be.
const VALUES: usize = 64;

/// How much of the file a connection keeps in memory at most, in KiB. SQLite's own 2 MiB are a few hundred VMs.
const KEPT_KIB: i64 = 32 << 10;

/// The longest that others may keep the file locked, such as a program that copies it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

thread_local! {
    /// How many pages the write-ahead log has after the last commit on this thread.
    static LOGGED: Cell<u64> = const { Cell::new(0) };
}

/// How far the pages of the write-ahead log are in the database itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checkpoint {
    pub(crate) logged: u64,
    pub(crate) written: u64,
}

/// A connection to the database's file.
#[derive(Debug)]
pub(crate) struct Connection(Mutex<rusqlite::Connection>);

impl Connection {
    /// Opens the file, making it if there is none: with a write-ahead log, and durable at every commit.
    pub(crate) fn open(file: &Path) -> Result<Self, DbErr> {
        let opened = rusqlite::Connection::open(file).and_then(|connection| {
            connection.busy_timeout(PATIENCE)?;
            let mode = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
            let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", mode)?;
            if mode != "wal" {
                return Err(rusqlite::Error::SqliteFailure(
                    ffi::Error::new(ffi::SQLITE_CANTOPEN),
                    Some(format!("its folder cannot have a write-ahead log, only the mode {mode}")),
                ));
            }
            connection.pragma_update(None, "synchronous", "FULL")?;
            Self::of(connection)
        });
        opened.map_err(|error| failed(&error))
    }

    fn of(connection: rusqlite::Connection) -> rusqlite::Result<Self> {
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "cache_size", -KEPT_KIB)?;
        // What is needed to take a statement back would be written to a file else.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        Ok(Self(Mutex::new(connection)))
    }

    fn get(&self) -> MutexGuard<'_, rusqlite::Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a transaction is open. SQLite ends one by itself if its disk is full or fails
    /// (<https://sqlite.org/lang_transaction.html>, 3.1).
    pub(crate) fn is_in_transaction(&self) -> bool {
        !self.get().is_autocommit()
    }

    /// Runs a statement without values and rows.
    pub(crate) fn run(&self, sql: &str) -> Result<(), DbErr> {
        let run = self.get().prepare_cached(sql).and_then(|mut prepared| prepared.raw_execute());
        run.map(drop).map_err(|error| failed(&error))
    }

    /// Begins a transaction that writes, waiting so long for other programs to end theirs.
    pub(crate) fn begin(&self, patience: Duration) -> Result<(), DbErr> {
        let has = |patience| self.get().busy_timeout(patience).map_err(|error| failed(&error));
        has(patience)?;
        let begun = self.run("BEGIN IMMEDIATE");
        has(PATIENCE)?;
        begun
    }

    /// Leaves it to [`crate::durable`] to wait for the disk, and to others to write into the database itself what is in the
    /// log.
    pub(crate) fn leave_waiting(&self) -> Result<(), DbErr> {
        let logged = |_: &Wal, pages: std::ffi::c_int| {
            LOGGED.set(pages.unsigned_abs().into());
            Ok(())
        };
        let connection = self.get();
        // This takes the place of SQLite's own, which does that with each so many pages.
        connection.wal_hook(Some(logged));
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(|error| failed(&error))
    }

    /// Commits, and tells how many pages the log has by then.
    pub(crate) fn commit(&self) -> Result<u64, DbErr> {
        LOGGED.set(0);
        self.run("COMMIT")?;
        Ok(LOGGED.get())
    }

    /// Writes into the database itself what is in the log, as far as nobody reads what was there before. Waits for the disk
    /// twice, and holds up nobody.
    pub(crate) fn checkpoint(&self) -> Result<Checkpoint, DbErr> {
        let made = self.get().query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |row| {
            Ok(Checkpoint {
                logged: row.get::<_, i64>(1)?.unsigned_abs(),
                written: row.get::<_, i64>(2)?.unsigned_abs(),
            })
        });
        made.map_err(|error| failed(&error))
    }

    /// Gives up what is open, if anything is.
    pub(crate) fn roll_back(&self) {
        if self.is_in_transaction()
            && let Err(error) = self.run("ROLLBACK")
        {
            tracing::error!(%error, "a transaction cannot be given up");
        }
    }

    /// Runs a statement, and tells how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, values: &[Value]) -> Result<ExecResult, DbErr> {
        Ok(self.execute_for_proxy(sql, values)?.into())
    }

    fn execute_for_proxy(&self, sql: &str, values: &[Value]) -> Result<ProxyExecResult, DbErr> {
        let connection = self.get();
        let run = || {
            let changed = prepare(&connection, sql, values)?.raw_execute()?;
            let last_insert_id = connection.last_insert_rowid().unsigned_abs();
            Ok(ProxyExecResult { last_insert_id, rows_affected: changed as u64 })
        };
        run().map_err(|error| failed(&error))
    }

    /// Runs a statement that answers with rows, and reads so many of them at most.
    pub(crate) fn query(&self, statement: &Statement, most: usize) -> Result<Vec<QueryResult>, DbErr> {
        Ok(self.query_for_proxy(statement, most)?.into_iter().map(Into::into).collect())
    }

    fn query_for_proxy(&self, statement: &Statement, most: usize) -> Result<Vec<ProxyRow>, DbErr> {
        let connection = self.get();
        let mut prepared =
            prepare(&connection, &statement.sql, values_of(statement)).map_err(|error| failed(&error))?;
        let columns = prepared.columns();
        let names: Vec<String> = columns.iter().map(|column| column.name().to_owned()).collect();
        let kinds: Vec<Kind> = columns.iter().map(kind).collect();
        made_of(&mut prepared, &kinds, most, |values| {
            Ok(ProxyRow::new(names.iter().cloned().zip(values).collect()))
        })
    }

    /// Makes something of each row of a selection.
    pub(crate) fn select<T>(
        &self,
        selection: Selection<'_>,
        make: impl FnMut(Vec<Value>) -> Result<T, DbErr>,
    ) -> Result<Vec<T>, DbErr> {
        let connection = self.get();
        let mut prepared =
            prepare(&connection, selection.sql, selection.values).map_err(|error| failed(&error))?;
        made_of(&mut prepared, selection.kinds, usize::MAX, make)
    }
}

/// For migrations, which want a connection of SeaORM's own.
#[derive(Debug)]
pub(crate) struct OfSeaOrm(pub(crate) Arc<Connection>);

#[async_trait::async_trait]
impl ProxyDatabaseTrait for OfSeaOrm {
    async fn query(&self, statement: Statement) -> Result<Vec<ProxyRow>, DbErr> {
        self.0.query_for_proxy(&statement, usize::MAX)
    }

    async fn execute(&self, statement: Statement) -> Result<ProxyExecResult, DbErr> {
        self.0.execute_for_proxy(&statement.sql, values_of(&statement))
    }
}

/// The write-ahead log of a database that is open.
pub(crate) fn open_log(file: &Path) -> Result<File, DbErr> {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    File::open(&log).map_err(|error| DbErr::Custom(format!("cannot open {}: {error}", log.display())))
}

/// What a column was declared to hold, if it is one of a table.
fn kind(column: &rusqlite::Column<'_>) -> Kind {
    // SQLite writes some of them as it likes.
    match column.decl_type().map(str::to_ascii_lowercase).as_deref() {
        Some("boolean") => Kind::Truth,
        Some("bigint" | "integer") => Kind::Number,
        _ => Kind::Text,
    }
}

/// Makes something of each row that a statement answers with, of so many at most.
fn made_of<T>(
    prepared: &mut rusqlite::Statement<'_>,
    kinds: &[Kind],
    most: usize,
    mut make: impl FnMut(Vec<Value>) -> Result<T, DbErr>,
) -> Result<Vec<T>, DbErr> {
    let failed = |error| failed(&error);
    let mut rows = prepared.raw_query();
    let mut made = Vec::new();
    while made.len() < most
        && let Some(row) = rows.next().map_err(failed)?
    {
        let values = kinds.iter().enumerate().map(|(index, kind)| value(*kind, row.get_ref(index)?));
        made.push(make(values.collect::<rusqlite::Result<_>>().map_err(failed)?)?);
    }
    Ok(made)
}

fn value(kind: Kind, value: ValueRef<'_>) -> rusqlite::Result<Value> {
    Ok(match (value, kind) {
        (ValueRef::Null, Kind::Truth) => Value::Bool(None),
        (ValueRef::Null, Kind::Number) => Value::BigInt(None),
        (ValueRef::Null, Kind::Text) => Value::String(None),
        (ValueRef::Integer(number), Kind::Truth) => Value::Bool(Some(number != 0)),
        (ValueRef::Integer(number), _) => Value::BigInt(Some(number)),
        (ValueRef::Real(number), _) => Value::Double(Some(number)),
        (text @ ValueRef::Text(_), _) => Value::from(text.as_str()?),
        (ValueRef::Blob(bytes), _) => Value::from(bytes.to_vec()),
    })
}

/// The values of a statement.
pub(crate) fn values_of(statement: &Statement) -> &[Value] {
    statement.values.as_ref().map_or(&[], |Values(values)| values)
}

/// A statement that is ready to run: one that is kept for the next time, or not.
enum Prepared<'a> {
    Kept(CachedStatement<'a>),
    Once(rusqlite::Statement<'a>),
}

impl<'a> Deref for Prepared<'a> {
    type Target = rusqlite::Statement<'a>;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Kept(statement) => statement,
            Self::Once(statement) => statement,
        }
    }
}

impl DerefMut for Prepared<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::Kept(statement) => statement,
            Self::Once(statement) => statement,
        }
    }
}

fn prepare<'a>(
    connection: &'a rusqlite::Connection,
    sql: &str,
    values: &[Value],
) -> rusqlite::Result<Prepared<'a>> {
    let mut prepared = if values.len() > VALUES {
        Prepared::Once(connection.prepare(sql)?)
    } else {
        Prepared::Kept(connection.prepare_cached(sql)?)
    };
    for (index, value) in values.iter().enumerate() {
        prepared.raw_bind_parameter(index + 1, bound(value)?)?;
    }
    Ok(prepared)
}

/// A value as SQLite has it.
fn bound(value: &Value) -> rusqlite::Result<ToSqlOutput<'_>> {
    let integer = |number: Option<i64>| number.map_or(ValueRef::Null, ValueRef::Integer);
    let bound = match value {
        Value::Bool(truth) => integer(truth.map(i64::from)),
        Value::TinyInt(number) => integer(number.map(i64::from)),
        Value::SmallInt(number) => integer(number.map(i64::from)),
        Value::Int(number) => integer(number.map(i64::from)),
        Value::BigInt(number) => integer(*number),
        Value::TinyUnsigned(number) => integer(number.map(i64::from)),
        Value::SmallUnsigned(number) => integer(number.map(i64::from)),
        Value::Unsigned(number) => integer(number.map(i64::from)),
        Value::BigUnsigned(Some(number)) => match i64::try_from(*number) {
            Ok(number) => ValueRef::Integer(number),
            Err(error) => return Err(rusqlite::Error::ToSqlConversionFailure(Box::new(error))),
        },
        Value::BigUnsigned(None) => ValueRef::Null,
        Value::Float(number) => number.map_or(ValueRef::Null, |number| ValueRef::Real(number.into())),
        Value::Double(number) => number.map_or(ValueRef::Null, ValueRef::Real),
        Value::String(text) => text.as_ref().map_or(ValueRef::Null, |text| ValueRef::Text(text.as_bytes())),
        Value::Bytes(bytes) => bytes.as_ref().map_or(ValueRef::Null, |bytes| ValueRef::Blob(bytes)),
        other => {
            let error = format!("no column has values such as {other:?}");
            return Err(rusqlite::Error::ToSqlConversionFailure(error.into()));
        }
    };
    Ok(ToSqlOutput::Borrowed(bound))
}

/// What went wrong, with SQLite's extended code if it has one: [`code`] finds that again.
fn failed(error: &rusqlite::Error) -> DbErr {
    let code = error.sqlite_error().map_or(ffi::SQLITE_ERROR, |error| error.extended_code);
    let message = match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    };
    DbErr::Exec(RuntimeErr::Internal(format!("{SQLITE}{code}: {message}")))
}

const SQLITE: &str = "SQLite ";

/// SQLite's extended code of an error and its message (<https://sqlite.org/rescode.html>).
pub(crate) fn code(error: &DbErr) -> Option<(i32, &str)> {
    let DbErr::Exec(RuntimeErr::Internal(text)) = error else { return None };
    let (code, message) = text.strip_prefix(SQLITE)?.split_once(": ")?;
    Some((code.parse().ok()?, message))
}

/// Whether another program has the file locked.
pub(crate) fn is_busy(error: &DbErr) -> bool {
    code(error).is_some_and(|(code, _)| code & 0xff == ffi::SQLITE_BUSY)
}

/// Connections to read with: as many as read at the same time.
#[derive(Debug)]
pub(crate) struct Connections {
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
    reads: AtomicU64,
}

impl Connections {
    pub(crate) fn to(file: &Path) -> Self {
        Self { file: file.to_owned(), idle: Mutex::default(), reads: AtomicU64::new(0) }
    }

    /// How often something was done with one of them: a statement each.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Does something with one of them.
    pub(crate) fn with<T>(&self, does: impl FnOnce(&Connection) -> Result<T, DbErr>) -> Result<T, DbErr> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let connection = kept.map_or_else(|| Connection::open(&self.file), Ok)?;
        let done = does(&connection);
        idle().push(connection);
        done
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::DbBackend;

    use super::*;
    use crate::DbError;

    fn connection() -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(&folder.path().join("db")).unwrap();
        let table = "CREATE TABLE t (id varchar PRIMARY KEY, number integer, truth boolean, other varchar REFERENCES t (id))";
        connection.run(table).unwrap();
        (folder, connection)
    }

    fn add(connection: &Connection, values: [Value; 4]) -> Result<ExecResult, DbErr> {
        connection.execute("INSERT INTO t VALUES (?, ?, ?, ?)", &values)
    }

    #[test]
    fn what_was_written_is_read_as_it_was() {
        let (_folder, connection) = connection();
        add(&connection, ["a".into(), i64::MIN.into(), true.into(), Value::String(None)]).unwrap();
        let none = [Value::BigInt(None), Value::Bool(None), "a".into()];
        let [number, truth, other] = none;
        add(&connection, ["b\0'".into(), number, truth, other]).unwrap();
        let all = Statement::from_string(DbBackend::Sqlite, "SELECT * FROM t ORDER BY id");
        let rows = connection.query(&all, 9).unwrap();
        let read = |row: &QueryResult| {
            (
                row.try_get::<String>("", "id").unwrap(),
                row.try_get::<Option<i64>>("", "number").unwrap(),
                row.try_get::<Option<bool>>("", "truth").unwrap(),
                row.try_get::<Option<String>>("", "other").unwrap(),
            )
        };
        let expected = [
            ("a".to_owned(), Some(i64::MIN), Some(true), None),
            ("b\0'".to_owned(), None, None, Some("a".to_owned())),
        ];
        assert_eq!(rows.iter().map(read).collect::<Vec<_>>(), expected);
        assert_eq!(connection.query(&all, 1).unwrap().len(), 1);
    }

    #[test]
    fn an_error_says_what_it_means() {
        let (_folder, connection) = connection();
        let [number, truth] = [Value::BigInt(None), Value::Bool(None)];
        let row = |id: &str, other: Option<&str>| {
            [id.into(), number.clone(), truth.clone(), other.map(str::to_owned).into()]
        };
        add(&connection, row("a", None)).unwrap();
        let twice = DbError::from(add(&connection, row("a", None)).unwrap_err());
        assert!(
            matches!(&twice, DbError::Taken(what) if what == "UNIQUE constraint failed: t.id"),
            "{twice:?}"
        );
        let nowhere = DbError::from(add(&connection, row("b", Some("c"))).unwrap_err());
        assert!(matches!(nowhere, DbError::Referred), "{nowhere:?}");
        let too_large = add(&connection, ["b".into(), u64::MAX.into(), truth.clone(), Value::String(None)]);
        assert!(matches!(DbError::from(too_large.unwrap_err()), DbError::Failed(_)));
    }
}
