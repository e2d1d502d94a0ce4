//! The statements of one transaction that writes.
//!
//! # Design notes
//! Of those that commit together, one may be given up. What the others wrote is remembered as statements, and done again after
//! the database's transaction was rolled back. That is seldom: most that are refused are so before they write.
//!
//! Refused: a savepoint for each. SQLite copies every page that changes behind one, for nothing nearly always; see
//! tests/bench/README.md.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sea_orm::prelude::async_trait;
use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, ExecResult, IntoActiveModel, QueryResult, Statement, Value, Values,
};

use crate::ledger::{self, Ledger};
use crate::rows::Rows;
use crate::sqlite::Connection;
use crate::texts::{self, Selection};
use crate::{DbError, Reader, Table};

/// A statement that may have changed something.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) sql: Cow<'static, str>,
    pub(crate) values: Vec<Value>,
}

/// What to read and write with, in a transaction.
#[derive(Debug)]
pub struct Writing {
    pub(crate) connection: Arc<Connection>,
    pub(crate) rows: Arc<Rows>,
    pub(crate) ledger: ledger::Shared,
    /// The ids of the rows that it has written, or those before it that are not durable yet.
    pub(crate) written: Arc<Mutex<HashSet<String>>>,
    /// What they wrote.
    pub(crate) done: Arc<Mutex<Vec<Done>>>,
    /// Why the database has ended the transaction by itself, if it has.
    pub(crate) failed: Arc<OnceLock<DbError>>,
}

impl Writing {
    pub(crate) fn written(&self) -> MutexGuard<'_, HashSet<String>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn execute(
        &self,
        sql: impl Into<Cow<'static, str>>,
        values: Vec<Value>,
    ) -> Result<ExecResult, DbErr> {
        let sql = sql.into();
        let result = self.run(|connection| connection.execute(&sql, &values))?;
        self.remember(Done { sql, values });
        Ok(result)
    }

    pub(crate) fn execute_statement(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let (sql, values) = parts(statement);
        self.execute(sql, values)
    }

    fn query(&self, statement: Statement, most: usize) -> Result<Vec<QueryResult>, DbErr> {
        let rows = self.run(|connection| connection.query(&statement, most))?;
        if !statement.sql.starts_with("SELECT") {
            let (sql, values) = parts(statement);
            self.remember(Done { sql: sql.into(), values });
        }
        Ok(rows)
    }

    fn remember(&self, done: Done) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(done);
    }

    fn run<T>(&self, does: impl FnOnce(&Connection) -> Result<T, DbErr>) -> Result<T, DbErr> {
        if !self.connection.is_in_transaction() {
            // It must not write outside of one.
            let why = self.failed.get().map(DbError::to_string).unwrap_or_default();
            return Err(DbErr::Custom(format!("the transaction has failed: {why}")));
        }
        let done = does(&self.connection);
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
        self.run(|connection| connection.select(selection, make))
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
            self.execute(E::texts().insert(count), values)?;
        }
        Ok(())
    }
}

fn parts(statement: Statement) -> (String, Vec<Value>) {
    (statement.sql, statement.values.map(|Values(values)| values).unwrap_or_default())
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
        self.execute_statement(statement)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute(sql.to_owned(), vec![])
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.query(statement, 1)?.pop())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.query(statement, usize::MAX)
    }
}
