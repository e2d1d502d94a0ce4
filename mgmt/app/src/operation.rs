//! Operations: starting, following, cancelling and retrying them.

use std::time::Duration;

use podzol_mgmt_api::operation::{Operation, OperationFilter, OperationState};
use podzol_mgmt_api::{Created, Page, PageQuery};
use podzol_mgmt_db::{JsonCol, Tx, find, now, operation};
use podzol_vocab::{AccountId, OperationId};

use crate::once::Secretive;
use crate::{Actor, App, AppError, view};

impl<T> Secretive for Created<T> {}

/// An operation to be started.
#[derive(Debug, Clone)]
pub(crate) struct NewOperation {
    pub(crate) kind: &'static str,
    pub(crate) account: Option<AccountId>,
    pub(crate) subject_kind: &'static str,
    pub(crate) subject: String,
    /// The generation of the subject that it is to reach, if it has generations.
    pub(crate) goal: Option<i64>,
    /// What it loads, such as a host's id.
    pub(crate) queue: String,
    /// When it fails; none for what must be done however long it takes.
    pub(crate) deadline: Option<Duration>,
}

/// Writes a new operation. The engine finds it once the transaction is committed.
pub(crate) async fn start(tx: &Tx, new: NewOperation) -> Result<operation::Model, AppError> {
    let at = now().0;
    let row = operation::Model {
        id: OperationId::new().into(),
        kind: new.kind.into(),
        account_id: new.account.map(Into::into),
        subject_kind: new.subject_kind.into(),
        subject: new.subject,
        goal: new.goal,
        generation: None,
        queue: new.queue,
        state: JsonCol(OperationState::Queued),
        step: None,
        attempts: 0,
        cancel_requested: false,
        error_code: None,
        error_detail: None,
        due_at: at,
        deadline_at: new.deadline.map(|deadline| at + deadline.as_millis() as i64),
        lease_owner: None,
        lease_until: None,
        created_at: at,
        finished_at: None,
    };
    tx.operation_create(row.clone()).await?;
    Ok(row)
}

impl App {
    /// The operations that the caller may see.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn operation_list(
        &self,
        actor: &Actor,
        filter: &OperationFilter,
        query: &PageQuery,
    ) -> Result<Page<Operation>, AppError> {
        let page = view::page_of(query)?;
        let filter = operation::Filter {
            account: actor.scope(None),
            subject: filter.subject.clone(),
            state: filter.state,
        };
        let rows = operation::list(self.db.reader(), &filter, &page).await?;
        Ok(view::page(&page, rows.into_iter().map(view::operation).collect(), |operation| {
            operation.id.to_string()
        }))
    }

    /// An operation.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn operation_show(&self, actor: &Actor, id: OperationId) -> Result<Operation, AppError> {
        Ok(view::operation(self.operation_row(self.db.reader(), actor, id).await?))
    }

    /// Asks to cancel an operation. It ends at its next attempt; what it made by then is removed.
    ///
    /// # Errors
    /// When it has ended already, or must get done: half a deletion is nothing that anybody could want.
    pub async fn operation_cancel(&self, actor: &Actor, id: OperationId) -> Result<Operation, AppError> {
        let tx = self.db.begin().await?;
        let mut row = self.operation_row(tx.reader(), actor, id).await?;
        if row.finished_at.is_some() {
            return Err(AppError::Conflict {
                code: "operation_ended",
                detail: "it has ended already".into(),
            });
        }
        if row.deadline_at.is_none() {
            let detail = format!("a {} cannot be cancelled: it must get done", row.kind);
            return Err(AppError::Conflict { code: "operation_not_cancellable", detail });
        }
        row.cancel_requested = true;
        row.due_at = now().0;
        tx.operation_update(row.clone()).await?;
        self.record_operation(&tx, actor, "operation.cancel", &row).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(view::operation(row))
    }

    /// Tries a failed operation again, with its whole time anew.
    ///
    /// # Errors
    /// When it has not failed, or its goal is no longer wanted.
    pub async fn operation_retry(&self, actor: &Actor, id: OperationId) -> Result<Operation, AppError> {
        let tx = self.db.begin().await?;
        let mut row = self.operation_row(tx.reader(), actor, id).await?;
        if row.state.0 != OperationState::Failed {
            return Err(AppError::Conflict {
                code: "operation_not_failed",
                detail: "it has not failed".into(),
            });
        }
        let anew = self.work_retried(&tx, &row).await?;
        // A move that failed with its VM is a start by now.
        (row.kind, row.queue, row.goal) = (anew.kind.into(), anew.queue, anew.goal);
        row.state = JsonCol(OperationState::Queued);
        row.finished_at = None;
        row.cancel_requested = false;
        row.due_at = now().0;
        row.deadline_at = anew.deadline.map(|deadline| now().0 + deadline.as_millis() as i64);
        tx.operation_update(row.clone()).await?;
        self.record_operation(&tx, actor, "operation.retry", &row).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(view::operation(row))
    }

    async fn operation_row(
        &self,
        db: &impl podzol_mgmt_db::Reader,
        actor: &Actor,
        id: OperationId,
    ) -> Result<operation::Model, AppError> {
        let row = find::<operation::Entity>(db, id).await?;
        let seen = |row: &operation::Model| match row.account_id {
            Some(account) => actor.sees(account.0),
            None => actor.is_admin(),
        };
        row.filter(seen).ok_or(AppError::NotFound("operation"))
    }

    async fn record_operation(
        &self,
        tx: &Tx,
        actor: &Actor,
        action: &'static str,
        row: &operation::Model,
    ) -> Result<(), AppError> {
        let account = row.account_id.map(|account| account.0);
        self.record(tx, actor, action, account, "operation", row.id.0, &row.kind).await
    }
}
