//! The statements of one transaction that writes. Those without an answer are run with the next one; behind whoever wrote
//! before in the same transaction of the database, they stand behind a savepoint.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sea_orm::prelude::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement, Values,
};

use crate::ledger::{self, Ledger};
use crate::rows::Rows;
use crate::{DbError, Reader};

/// The most statements that go to the database together. Each sequence of them is prepared once and kept.
const TOGETHER: usize = 8;

/// What to read and write with, in a transaction.
#[derive(Debug)]
pub struct Writing {
    pub(crate) transaction: Arc<DatabaseTransaction>,
    pub(crate) rows: Arc<Rows>,
    pub(crate) ledger: ledger::Shared,
    /// The ids of the rows that it has written, or those before it that are not durable yet.
    pub(crate) written: Arc<Mutex<HashSet<String>>>,
    /// What is to be run with the next statement.
    pub(crate) later: Mutex<Vec<Statement>>,
    /// Whether nobody before it has written in the same transaction of the database, so that it needs no savepoint.
    pub(crate) is_first: bool,
    pub(crate) savepoint: Arc<AtomicBool>,
    /// Why a statement failed, if for want of a disk that works: the database may have ended the transaction by itself.
    pub(crate) failed: Arc<OnceLock<DbError>>,
}

impl Writing {
    pub(crate) fn written(&self) -> MutexGuard<'_, HashSet<String>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn later(&self) -> MutexGuard<'_, Vec<Statement>> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be run before a statement, and that statement, as one.
    fn with_later(&self, statement: Option<Statement>) -> Option<Statement> {
        let mut all = std::mem::take(&mut *self.later());
        let is_read = |statement: &Statement| statement.sql.starts_with("SELECT");
        let writes = !all.is_empty() || statement.as_ref().is_some_and(|statement| !is_read(statement));
        if writes && let Some(savepoint) = self.savepoint() {
            all.insert(0, savepoint);
        }
        all.extend(statement);
        all.into_iter().reduce(|mut all, next| {
            all.sql.push(';');
            all.sql.push_str(&next.sql);
            if let Some(values) = next.values {
                all.values.get_or_insert_with(|| Values(vec![])).0.extend(values.0);
            }
            all
        })
    }

    /// What opens the savepoint, if it is needed and not open yet.
    fn savepoint(&self) -> Option<Statement> {
        let opens = !self.is_first && !self.savepoint.swap(true, Ordering::Relaxed);
        opens.then(|| plain("SAVEPOINT podzol"))
    }

    pub(crate) async fn run_all(&self) -> Result<(), DbErr> {
        self.must_go_on()?;
        self.run_but(0).await?;
        match self.with_later(None) {
            Some(all) => self.look_at(self.transaction.execute_raw(all).await).map(drop),
            None => Ok(()),
        }
    }

    /// Runs what is to be run later, until what is left can go along with so many more.
    async fn run_but(&self, more: usize) -> Result<(), DbErr> {
        loop {
            let rest = {
                let mut later = self.later();
                if later.len() + more <= TOGETHER {
                    return Ok(());
                }
                later.split_off(TOGETHER)
            };
            let some = self.with_later(None);
            *self.later() = rest;
            if let Some(some) = some {
                self.look_at(self.transaction.execute_raw(some).await)?;
            }
        }
    }

    /// Runs what is to be run later, and closes the savepoint.
    pub(crate) async fn run_all_and_release(&self) -> Result<(), DbErr> {
        let opens = !self.is_first && (self.savepoint.load(Ordering::Relaxed) || !self.later().is_empty());
        if opens {
            self.later().push(plain("RELEASE podzol"));
        }
        self.run_all().await?;
        self.savepoint.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn must_go_on(&self) -> Result<(), DbErr> {
        match self.failed.get() {
            Some(error) => Err(DbErr::Custom(format!("the transaction has failed: {error}"))),
            None => Ok(()),
        }
    }

    fn look_at<T>(&self, result: Result<T, DbErr>) -> Result<T, DbErr> {
        if let Err(error) = &result
            && let failed @ (DbError::Full | DbError::Failed(_)) = DbError::from(error.clone())
        {
            let _ = self.failed.set(failed);
        }
        result
    }
}

/// A statement without values.
fn plain(sql: &str) -> Statement {
    Statement::from_string(DbBackend::Sqlite, sql)
}

impl Reader for Writing {
    fn rows(&self, id: &str) -> Option<&Rows> {
        (!self.written().contains(id)).then_some(&*self.rows)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.get()
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Writing {
    fn get_database_backend(&self) -> DbBackend {
        self.transaction.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        // By itself, as the rows are counted that it changes.
        if let Some(savepoint) = self.savepoint() {
            self.later().insert(0, savepoint);
        }
        self.run_all().await?;
        self.must_go_on()?;
        self.look_at(self.transaction.execute_raw(statement).await)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(plain(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.must_go_on()?;
        self.run_but(1).await?;
        match self.with_later(Some(statement)) {
            Some(all) => self.look_at(self.transaction.query_one_raw(all).await),
            None => Ok(None),
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.must_go_on()?;
        self.run_but(1).await?;
        match self.with_later(Some(statement)) {
            Some(all) => self.look_at(self.transaction.query_all_raw(all).await),
            None => Ok(vec![]),
        }
    }
}
