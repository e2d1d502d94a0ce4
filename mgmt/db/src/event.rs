//! Events.

use podzol_vocab::AccountId;
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, QueryFilter, QueryOrder, QuerySelect, QueryTrait};

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

/// How many events are forgotten at once: whoever else writes waits meanwhile.
const FORGOTTEN_AT_ONCE: u64 = 1000;

impl Tx {
    /// Records an event.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn event_create(&self, event: NewEvent) -> Result<(), DbError> {
        self.events_create(vec![event]).await
    }

    /// Forgets some events from before a time, in milliseconds since 1970, the oldest first. Says how many; none when there are no
    /// more.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn event_forget_before(&self, at: i64) -> Result<u64, DbError> {
        let by_id = Entity::find().select_only().column(Column::Id);
        let oldest = by_id.order_by_asc(Column::Id).limit(FORGOTTEN_AT_ONCE).into_query();
        let old = Entity::delete_many().filter(Column::At.lt(at)).filter(Column::Id.in_subquery(oldest));
        Ok(old.exec(self.reader()).await?.rows_affected)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    #[tokio::test]
    async fn old_events_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        let tx = db.begin().await.unwrap();
        let event = |subject: u32| NewEvent::of_management("vm.died", None, "vm", subject, "it ended");
        tx.events_create((0..2500).map(event).collect()).await.unwrap();
        let before = now().0;
        assert_eq!(tx.event_forget_before(before - 3_600_000).await.unwrap(), 0);
        let mut forgotten = vec![];
        while forgotten.last() != Some(&0) {
            forgotten.push(tx.event_forget_before(before + 1).await.unwrap());
        }
        assert_eq!(forgotten, [1000, 1000, 500, 0]);
        tx.event_create(event(2500)).await.unwrap();
        let left = list(tx.reader(), None, None, None, 2500, 10).await.unwrap();
        assert_eq!(
            left.iter().map(|event| (event.id, event.subject.as_str())).collect::<Vec<_>>(),
            [(2501, "2500")]
        );
        tx.commit().await.unwrap();
    }
}
