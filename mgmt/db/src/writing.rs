//! The statements of one transaction that writes. Behind whoever wrote before in the same transaction of the database, they
//! stand behind a savepoint.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sea_orm::prelude::async_trait;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement, Value};

use crate::ledger::{self, Ledger};
use crate::rows::Rows;
use crate::sqlite::{Column, Connection};
use crate::{DbError, Reader};

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

    pub(crate) fn execute(&self, statement: &Statement) -> Result<ExecResult, DbErr> {
        self.run(&statement.sql, |connection| connection.execute(statement))
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
        statement: &Statement,
        mut make: impl FnMut(Vec<Value>) -> Result<T, DbErr> + Send,
    ) -> Result<Vec<T>, DbErr> {
        let make = |_: &[Column], values| make(values);
        self.run(&statement.sql, |connection| connection.read(statement, usize::MAX, make))
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
        self.execute(&statement)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute(&Statement::from_string(DbBackend::Sqlite, sql))
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.query(&statement, 1)?.pop())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.query(&statement, usize::MAX)
    }
}
