//! The statements of one transaction that writes. Behind whoever wrote before in the same transaction of the database, they
//! stand behind a savepoint.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sea_orm::prelude::async_trait;
use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, ExecResult, IntoActiveModel, QueryResult, Statement, Value,
};

use crate::ledger::{self, Ledger};
use crate::rows::Rows;
use crate::sqlite::{Connection, values_of};
use crate::texts::{self, Selection};
use crate::{DbError, Reader, Table};

/// What to read and write with, in a transaction.
#[derive(Debug)]
pub struct Writing {
    pub(crate) connection: Arc<Connection>,
    pub(crate) rows: Arc<Rows>,
    pub(crate) ledger: ledger::Shared,
    /// The ids of the rows that it has written, or those before it that are not durable yet.
    pub(crate) written: Arc<Mutex<HashSet<String>>>,
    /// Whether nobody before it has written in the same transaction of the database, so that it needs no savepoint.
    pub(crate) is_first: bool,
    /// Whether the savepoint is open.
    pub(crate) savepoint: Arc<AtomicBool>,
    /// Why the database has ended the transaction by itself, if it has.
    pub(crate) failed: Arc<OnceLock<DbError>>,
}

impl Writing {
    pub(crate) fn written(&self) -> MutexGuard<'_, HashSet<String>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn execute(&self, sql: &str, values: &[Value]) -> Result<ExecResult, DbErr> {
        self.run(sql, |connection| connection.execute(sql, values))
    }

    fn query(&self, statement: &Statement, most: usize) -> Result<Vec<QueryResult>, DbErr> {
        self.run(&statement.sql, |connection| connection.query(statement, most))
    }

    fn run<T>(&self, sql: &str, does: impl FnOnce(&Connection) -> Result<T, DbErr>) -> Result<T, DbErr> {
        if !self.connection.is_in_transaction() {
            // It must not write outside of one.
            let why = self.failed.get().map(DbError::to_string).unwrap_or_default();
            return Err(DbErr::Custom(format!("the transaction has failed: {why}")));
        }
        let needs_savepoint =
            !self.is_first && !sql.starts_with("SELECT") && !self.savepoint.load(Ordering::Relaxed);
        let is_open = if needs_savepoint { self.connection.run("SAVEPOINT podzol") } else { Ok(()) };
        if needs_savepoint && is_open.is_ok() {
            self.savepoint.store(true, Ordering::Relaxed);
        }
        let done = is_open.and_then(|()| does(&self.connection));
        if let Err(error) = &done
            && !self.connection.is_in_transaction()
        {
            let _ = self.failed.set(error.clone().into());
        }
        done
    }

    /// Makes something of each row of a selection.
    pub(crate) fn select<T>(
        &self,
        selection: Selection<'_>,
        make: impl FnMut(Vec<Value>) -> Result<T, DbErr>,
    ) -> Result<Vec<T>, DbErr> {
        self.run(selection.sql, |connection| connection.select(selection, make))
    }

    /// Adds some rows.
    pub(crate) fn insert_all<E: Table>(&self, rows: impl IntoIterator<Item = E::Model>) -> Result<(), DbErr>
    where
        E::Model: IntoActiveModel<E::ActiveModel>,
    {
        let (mut values, mut count) = (vec![], 0);
        for row in rows {
            texts::values_of::<E>(row, &mut values)?;
            count += 1;
        }
        if count > 0 {
            self.execute(&E::texts().insert(count), &values)?;
        }
        Ok(())
    }

    /// Closes the savepoint: what was written stays, if the rest does.
    pub(crate) fn release(&self) -> Result<(), DbErr> {
        if self.savepoint.load(Ordering::Relaxed) {
            self.run("RELEASE", |connection| connection.run("RELEASE podzol"))?;
            self.savepoint.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Reader for Writing {
    fn rows(&self, id: &str) -> Option<&Rows> {
        (!self.written().contains(id)).then_some(&*self.rows)
    }

    async fn read<T: Send>(
        &self,
        selection: Selection<'_>,
        make: impl FnMut(Vec<Value>) -> Result<T, DbErr> + Send,
    ) -> Result<Vec<T>, DbErr> {
        self.select(selection, make)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.get()
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Writing {
    fn get_database_backend(&self) -> DbBackend {
        DbBackend::Sqlite
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.execute(&statement.sql, values_of(&statement))
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute(sql, &[])
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.query(&statement, 1)?.pop())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.query(&statement, usize::MAX)
    }
}
