//! Operations: what is to be done, who does it, and how it ended.
//!
//! ```text
//!              claim                    done
//!   queued ------------> running ----------------> succeeded
//!     ^  ^                 |  |
//!     |  |   again later   |  |  gave up, deadline
//!     |  +-----------------+  +-------------------> failed ---+
//!     |                       |  cancelled, overtaken         |
//!     |                       +-------------------> cancelled |
//!     |                              retry                    |
//!     +-------------------------------------------------------+
//! ```
//! - *claim*: one engine takes it for the length of a lease, and renews the lease while it works. A lease that ran out
//!   belongs to an engine that is dead, and the operation can be claimed again.
//! - *again later*: the attempt did not get to the end; `due_at` says when the next one may begin.

use std::collections::HashSet;

use podzol_mgmt_api::operation::OperationState;
use podzol_vocab::{AccountId, Generation, OperationId};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait, SelectStatement};
use sea_orm::{Condition, QueryFilter, QueryOrder, QuerySelect, QueryTrait};

use crate::fetch::Fetch;
use crate::zone::PageOf;
use crate::{Col, DbError, FORGOTTEN_AT_ONCE, JsonCol, Reader, Tx};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "operations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Col<OperationId>,
    pub kind: String,
    pub account_id: Option<Col<AccountId>>,
    pub subject_kind: String,
    pub subject: String,
    /// The generation of its subject for which it was begun, where the subject has generations.
    pub goal: Option<i64>,
    /// The generation that a router had in force when it was done.
    pub generation: Option<i64>,
    /// What it loads: operations with the same queue share a limit, such as those of one host.
    pub queue: String,
    pub state: JsonCol<OperationState>,
    pub step: Option<String>,
    pub attempts: i64,
    pub cancel_requested: bool,
    pub error_code: Option<String>,
    pub error_detail: Option<String>,
    /// When the next attempt may begin, in milliseconds since 1970, as all times here.
    pub due_at: i64,
    /// When it fails if it has not ended; none for work that must be done however long it takes.
    pub deadline_at: Option<i64>,
    pub lease_owner: Option<String>,
    pub lease_until: Option<i64>,
    pub created_at: i64,
    pub finished_at: Option<i64>,
}

crate::no_relations!();

/// What a list of operations is narrowed by.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub account: Option<AccountId>,
    pub subject: Option<String>,
    pub state: Option<OperationState>,
}

/// A page of operations.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(db: &impl Reader, filter: &Filter, page: &PageOf) -> Result<Vec<Model>, DbError> {
    let which = Condition::all()
        .add_option(filter.account.map(|account| Column::AccountId.eq(Col(account))))
        .add_option(filter.subject.as_deref().map(|subject| Column::Subject.eq(subject)))
        .add_option(filter.state.map(|state| Column::State.eq(JsonCol(state))));
    Ok(page.of(Entity::find().filter(which), Column::Id, None).fetch(db).await?)
}

/// The operations on a thing that have not ended, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn open_of(db: &impl Reader, subject: &str) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find()
        .filter(Column::Subject.eq(subject))
        .filter(Column::FinishedAt.is_null())
        .order_by_asc(Column::Id)
        .fetch(db)
        .await?)
}

/// The subjects of operations that have not ended.
///
/// # Errors
/// When the database cannot be read.
pub async fn all_open_subjects(db: &impl Reader) -> Result<HashSet<String>, DbError> {
    let open = Entity::find().select_only().column(Column::Subject).filter(Column::FinishedAt.is_null());
    Ok(open.into_tuple::<String>().all(db).await?.into_iter().collect())
}

/// The operations of a kind that were begun before then and have not ended.
///
/// # Errors
/// When the database cannot be read.
pub async fn open_since(db: &impl Reader, kind: &str, then: i64) -> Result<Vec<Model>, DbError> {
    let open = Entity::find().filter(Column::FinishedAt.is_null()).filter(Column::Kind.eq(kind));
    Ok(open.filter(Column::CreatedAt.lte(then)).fetch(db).await?)
}

/// Operations whose engine has not renewed its lease since then: nobody works on them.
///
/// # Errors
/// When the database cannot be read.
pub async fn abandoned_since(db: &impl Reader, then: i64) -> Result<Vec<Model>, DbError> {
    let held = Entity::find().filter(Column::FinishedAt.is_null()).filter(Column::LeaseUntil.lte(then));
    Ok(held.fetch(db).await?)
}

/// The newest operation on a thing.
///
/// # Errors
/// When the database cannot be read.
pub async fn last_of(db: &impl Reader, subject: &str) -> Result<Option<Model>, DbError> {
    Ok(Entity::find().filter(Column::Subject.eq(subject)).order_by_desc(Column::Id).fetch_one(db).await?)
}

/// The newest operation of a kind on a thing.
///
/// # Errors
/// When the database cannot be read.
pub async fn last_of_kind(db: &impl Reader, subject: &str, kind: &str) -> Result<Option<Model>, DbError> {
    let of_kind = Entity::find().filter(Column::Subject.eq(subject)).filter(Column::Kind.eq(kind));
    Ok(of_kind.order_by_desc(Column::Id).fetch_one(db).await?)
}

/// The subjects of operations that have not ended, as a subquery.
pub(crate) fn open_subjects() -> SelectStatement {
    let open = Entity::find().select_only().column(Column::Subject).filter(Column::FinishedAt.is_null());
    open.into_query()
}

/// Operations that are due and that nobody holds, the longest waiting first; without those of the queues that are full.
///
/// # Errors
/// When the database cannot be read.
pub async fn due(db: &impl Reader, now: i64, full: &[String], limit: u64) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find()
        .filter(Column::FinishedAt.is_null())
        .filter(Column::DueAt.lte(now))
        .filter(Column::Queue.is_not_in(full))
        .filter(Condition::any().add(Column::LeaseUntil.is_null()).add(Column::LeaseUntil.lte(now)))
        .order_by_asc(Column::DueAt)
        .order_by_asc(Column::Id)
        .limit(limit)
        .fetch(db)
        .await?)
}

/// When, after now, the next operation is due that nobody holds, or the first lease runs out.
///
/// # Errors
/// When the database cannot be read.
pub async fn next_due(db: &impl Reader, now: i64) -> Result<Option<i64>, DbError> {
    let unheld = Entity::find()
        .filter(Column::FinishedAt.is_null())
        .filter(Column::LeaseUntil.is_null())
        .filter(Column::DueAt.gt(now))
        .order_by_asc(Column::DueAt)
        .fetch_one(db)
        .await?
        .map(|operation| operation.due_at);
    let held = Entity::find()
        .filter(Column::FinishedAt.is_null())
        .filter(Column::LeaseUntil.gt(now))
        .order_by_asc(Column::LeaseUntil)
        .fetch_one(db)
        .await?
        .and_then(|operation| operation.lease_until);
    Ok(unheld.into_iter().chain(held).min())
}

impl Tx {
    /// Adds an operation.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn operation_create(&self, row: Model) -> Result<(), DbError> {
        self.operation_changed(&row);
        self.insert::<Entity>(row)
    }

    /// Writes an operation as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn operation_update(&self, row: Model) -> Result<(), DbError> {
        self.operation_changed(&row);
        self.update::<Entity>(row)
    }

    /// Takes the leases of some operations, of those that are still to be had, and gives these as they are now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn operation_claim(
        &self,
        ids: &[Col<OperationId>],
        owner: &str,
        now: i64,
        until: i64,
    ) -> Result<Vec<Model>, DbError> {
        let claimed = Entity::update_many()
            .col_expr(Column::State, Expr::value(JsonCol(OperationState::Running)))
            .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
            .col_expr(Column::LeaseOwner, Expr::value(owner))
            .col_expr(Column::LeaseUntil, Expr::value(until))
            .filter(Column::Id.is_in(ids.iter().copied()))
            .filter(Column::FinishedAt.is_null())
            .filter(Condition::any().add(Column::LeaseUntil.is_null()).add(Column::LeaseUntil.lte(now)))
            .exec_with_returning(self.reader())
            .await?;
        claimed.iter().for_each(|row| self.operation_changed(row));
        Ok(claimed)
    }

    /// Ends an operation that has got to its goal.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn operation_succeeded(&self, row: &Model) -> Result<(), DbError> {
        self.operation_changed(row);
        let ended = Entity::update_many()
            .col_expr(Column::State, Expr::value(JsonCol(OperationState::Succeeded)))
            .col_expr(Column::FinishedAt, Expr::value(crate::now().0))
            .col_expr(Column::ErrorCode, Expr::value(None::<String>))
            .col_expr(Column::ErrorDetail, Expr::value(None::<String>))
            .col_expr(Column::LeaseOwner, Expr::value(None::<String>))
            .col_expr(Column::LeaseUntil, Expr::value(None::<i64>))
            .filter(Column::Id.eq(row.id));
        self.run(&ended)
    }

    /// Ends an operation that has told a router what it should do, and says which generation is in force there now.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn operation_in_force(&self, row: &Model, generation: Generation) -> Result<(), DbError> {
        self.operation_succeeded(row)?;
        let said = Entity::update_many()
            .col_expr(Column::Step, Expr::value(format!("generation {} is in force", generation.0)))
            .col_expr(Column::Generation, Expr::value(generation.0.cast_signed()));
        self.run(&said.filter(Column::Id.eq(row.id)))
    }

    /// Renews the leases that an owner holds. This is no change that anybody is told.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn operation_renew(&self, owner: &str, until: i64) -> Result<u64, DbError> {
        let renewed = Entity::update_many()
            .col_expr(Column::LeaseUntil, Expr::value(until))
            .filter(Column::LeaseOwner.eq(owner))
            .filter(Column::FinishedAt.is_null());
        Ok(renewed.exec(self.reader()).await?.rows_affected)
    }

    /// Has open operations be due now that are held, or wait, beyond times, in milliseconds since 1970, that nobody can
    /// have set by this clock. Says how many.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn operation_from_ahead(&self, held_until: i64, due_at: i64) -> Result<u64, DbError> {
        let held = Entity::update_many()
            .col_expr(Column::LeaseOwner, Expr::value(None::<String>))
            .col_expr(Column::LeaseUntil, Expr::value(None::<i64>))
            .filter(Column::FinishedAt.is_null())
            .filter(Column::LeaseUntil.gt(held_until));
        let waiting = Entity::update_many()
            .col_expr(Column::DueAt, Expr::value(crate::now().0))
            .filter(Column::FinishedAt.is_null())
            .filter(Column::DueAt.gt(due_at));
        let held = held.exec(self.reader()).await?.rows_affected;
        Ok(held + waiting.exec(self.reader()).await?.rows_affected)
    }

    /// Forgets some operations that ended before a time, in milliseconds since 1970. Says how many; none when there are no
    /// more.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn operation_forget_before(&self, at: i64) -> Result<u64, DbError> {
        let few = Entity::find().select_only().column(Column::Id).filter(Column::FinishedAt.lt(at));
        let few = few.limit(FORGOTTEN_AT_ONCE).into_query();
        Ok(Entity::delete_many().filter(Column::Id.in_subquery(few)).exec(self.reader()).await?.rows_affected)
    }

    fn operation_changed(&self, row: &Model) {
        self.changed("operation", row.id.0, row.account_id.map(|account| account.0));
    }
}
