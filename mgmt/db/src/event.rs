//! Events.

use podzol_vocab::AccountId;
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, QueryFilter, QueryOrder, QuerySelect};

use crate::fetch::Fetch;
use crate::{Col, DbError, Reader, Tx, now};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "events")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub at: i64,
    pub action: String,
    pub actor: String,
    pub account_id: Option<Col<AccountId>>,
    pub subject_kind: String,
    pub subject: String,
    pub detail: String,
}

crate::no_relations!();

/// An event to be recorded.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub action: &'static str,
    pub actor: String,
    pub account: Option<AccountId>,
    pub subject_kind: &'static str,
    pub subject: String,
    pub detail: String,
}

impl NewEvent {
    /// Of something that nobody has asked for.
    pub fn of_management(
        action: &'static str,
        account: Option<AccountId>,
        subject_kind: &'static str,
        subject: impl ToString,
        detail: impl Into<String>,
    ) -> Self {
        let (actor, subject, detail) = ("management".into(), subject.to_string(), detail.into());
        Self { action, actor, account, subject_kind, subject, detail }
    }
}

/// Events, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(
    db: &impl Reader,
    account: Option<AccountId>,
    subject: Option<&str>,
    action: Option<&str>,
    after: i64,
    limit: u64,
) -> Result<Vec<Model>, DbError> {
    let which = Condition::all()
        .add(Column::Id.gt(after))
        .add_option(account.map(|account| Column::AccountId.eq(Col(account))))
        .add_option(subject.map(|subject| Column::Subject.eq(subject)))
        .add_option(action.map(|action| Column::Action.eq(action)));
    Ok(Entity::find().filter(which).order_by_asc(Column::Id).limit(limit).fetch(db).await?)
}

/// How many events a statement adds at most: SQLite takes 32,766 values in one.
const AT_ONCE: usize = 1000;

impl Tx {
    /// Records an event.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn event_create(&self, event: NewEvent) -> Result<(), DbError> {
        self.events_create(vec![event]).await
    }

    /// Records some events, in few statements however many there are.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn events_create(&self, events: Vec<NewEvent>) -> Result<(), DbError> {
        let at = now().0;
        let mut rows = events.into_iter().map(|event| Model {
            id: 0,
            at,
            action: event.action.into(),
            actor: event.actor,
            account_id: event.account.map(Col),
            subject_kind: event.subject_kind.into(),
            subject: event.subject,
            detail: event.detail,
        });
        loop {
            let some: Vec<Model> = rows.by_ref().take(AT_ONCE).collect();
            if some.is_empty() {
                return Ok(());
            }
            let accounts: Vec<_> = some.iter().map(|row| row.account_id).collect();
            let ids = self.insert_numbered::<Entity>(some)?;
            for (id, account) in ids.zip(accounts) {
                self.changed("event", id, account.map(|account| account.0));
            }
        }
    }
}
