//! Reading outside of transactions: what is durable. If something was read that is not, this waits until it is.
//!
//! Nothing in a statement waits, so a task that runs many lets others go on now and then. One in a transaction does not:
//! who waits for its turn would wait for all of those.

use std::sync::{Arc, MutexGuard};

use sea_orm::prelude::async_trait;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement, Value};
use tokio::task::coop::consume_budget;

use crate::Reader;
use crate::durable::Durable;
use crate::ledger::{self, Ledger};
use crate::rows::Rows;
use crate::sqlite::{Connection, Connections, values_of};
use crate::texts::Selection;

/// What to read with, outside of transactions.
#[derive(Debug, Clone)]
pub struct Reading {
    pub(crate) connections: Arc<Connections>,
    pub(crate) rows: Arc<Rows>,
    pub(crate) ledger: ledger::Shared,
    pub(crate) durable: Durable,
}

impl Reading {
    async fn with<T>(&self, does: impl FnOnce(&Connection) -> Result<T, DbErr>) -> Result<T, DbErr> {
        consume_budget().await;
        let done = self.connections.with(does);
        self.durable.wait().await;
        done
    }
}

impl Reader for Reading {
    fn rows(&self, _: &str) -> Option<&Rows> {
        Some(&self.rows)
    }

    async fn read<T: Send>(
        &self,
        selection: Selection<'_>,
        make: impl FnMut(Vec<Value>) -> Result<T, DbErr> + Send,
    ) -> Result<Vec<T>, DbErr> {
        self.with(|connection| connection.select(selection, make)).await
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.get()
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Reading {
    fn get_database_backend(&self) -> DbBackend {
        DbBackend::Sqlite
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.with(|connection| connection.execute(&statement.sql, values_of(&statement))).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(DbBackend::Sqlite, sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.with(|connection| Ok(connection.query(&statement, 1)?.pop())).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.with(|connection| connection.query(&statement, usize::MAX)).await
    }
}
