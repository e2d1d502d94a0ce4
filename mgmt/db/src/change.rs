//! The log of changes, from which the event stream is served.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use podzol_vocab::AccountId;
use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, QuerySelect, QueryTrait};
use tokio::sync::watch;

use crate::fetch::Fetch;
use crate::{Col, DbError, FORGOTTEN_AT_ONCE, Reader, Tx, now};

/// A change of an object.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "changes")]
pub struct Model {
    /// Its number, growing.
    #[sea_orm(primary_key)]
    pub seq: i64,
    /// What kind of object.
    pub kind: String,
    /// The object's id.
    pub object_id: String,
    /// The account whose users may see it; none for admins only.
    pub account_id: Option<Col<AccountId>>,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

crate::no_relations!();

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Noted {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) account: Option<AccountId>,
}

/// What has changed in a transaction: each object once, however many there are.
#[derive(Debug, Default)]
pub(crate) struct Notes(HashMap<Noted, usize>);

impl Notes {
    pub(crate) fn add(&mut self, noted: Noted) {
        let place = self.0.len();
        self.0.entry(noted).or_insert(place);
    }

    /// In the order in which they were first noted.
    pub(crate) fn in_order(self) -> Vec<Noted> {
        let mut noted: Vec<(Noted, usize)> = self.0.into_iter().collect();
        noted.sort_unstable_by_key(|(_, place)| *place);
        noted.into_iter().map(|(noted, _)| noted).collect()
    }
}

/// Changes with their numbers, from the one after the last.
pub(crate) fn numbered(changes: Vec<Noted>, last: i64) -> Vec<Model> {
    let at = now().0;
    let number = |(change, seq): (Noted, i64)| Model {
        seq,
        kind: change.kind.into(),
        object_id: change.id,
        account_id: change.account.map(Col),
        at,
    };
    changes.into_iter().zip(last + 1..).map(number).collect()
}

/// How many changes a statement adds at most: SQLite takes 32,766 values in one.
pub(crate) const AT_ONCE: usize = 1000;

/// The most recent changes, in memory: whoever follows them asks at every commit.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    changes: Mutex<VecDeque<Model>>,
    last: watch::Sender<i64>,
}

/// How many changes are recent.
const RECENT: usize = 8192;

impl Recent {
    /// Says that changes up to this number were there before.
    pub(crate) fn begin_after(&self, last: i64) {
        self.last.send_replace(last);
    }

    pub(crate) fn last(&self) -> i64 {
        *self.last.borrow()
    }

    pub(crate) fn follow(&self) -> watch::Receiver<i64> {
        self.last.subscribe()
    }

    /// Adds what was committed, of which the last has this number.
    pub(crate) fn add(&self, committed: Vec<Model>, last: i64) {
        if committed.is_empty() {
            return;
        }
        let mut changes = self.changes();
        changes.extend(committed);
        let old = changes.len().saturating_sub(RECENT);
        changes.drain(..old);
        drop(changes);
        self.last.send_replace(last);
    }

    /// Those after a number; none if not all of them are recent.
    pub(crate) fn after(&self, seq: i64, limit: usize) -> Option<Vec<Model>> {
        if seq >= self.last() {
            return Some(vec![]);
        }
        let changes = self.changes();
        changes.front().filter(|oldest| oldest.seq <= seq + 1)?;
        let from = changes.partition_point(|change| change.seq <= seq);
        Some(changes.iter().skip(from).take(limit).cloned().collect())
    }

    fn changes(&self) -> MutexGuard<'_, VecDeque<Model>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of the last change; 0 if there was none.
pub(crate) async fn last(db: &impl Reader) -> Result<i64, DbError> {
    let last = Entity::find().order_by_desc(Column::Seq).fetch_one(db).await?;
    Ok(last.map_or(0, |change| change.seq))
}

/// The changes after a number, oldest first.
pub(crate) async fn after(db: &impl Reader, seq: i64, limit: u64) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::Seq.gt(seq)).order_by_asc(Column::Seq).limit(limit).fetch(db).await?)
}

/// The number of the oldest change that is still there, if any.
///
/// # Errors
/// When the database cannot be read.
pub async fn oldest(db: &impl Reader) -> Result<Option<i64>, DbError> {
    Ok(Entity::find().order_by_asc(Column::Seq).fetch_one(db).await?.map(|change| change.seq))
}

/// Forgets some changes from before a time, in milliseconds since 1970, but never the newest: its number must not come
/// again. Says how many; none when there are no more.
///
/// # Errors
/// When the database refuses.
pub async fn forget_before(tx: &Tx, at: i64) -> Result<u64, DbError> {
    let last = last(tx.reader()).await?;
    let first =
        Entity::find().select_only().column(Column::Seq).order_by_asc(Column::Seq).limit(FORGOTTEN_AT_ONCE);
    let old = Entity::delete_many().filter(Column::At.lt(at)).filter(Column::Seq.lt(last));
    let few = old.filter(Column::Seq.in_subquery(first.into_query()));
    Ok(few.exec(tx.reader()).await?.rows_affected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(seqs: std::ops::RangeInclusive<i64>) -> Vec<Model> {
        let change =
            |seq| Model { seq, kind: "vm".into(), object_id: String::new(), account_id: None, at: 0 };
        seqs.map(change).collect()
    }

    #[test]
    fn what_is_not_recent_any_more_or_was_before_the_start_is_read_from_the_database() {
        let recent = Recent::default();
        recent.begin_after(10);
        assert_eq!(recent.after(10, 5), Some(vec![]));
        assert_eq!(recent.after(9, 5), None);
        recent.add(changes(11..=14), 14);
        assert_eq!(recent.after(10, 2), Some(changes(11..=12)));
        assert_eq!(recent.after(13, 5), Some(changes(14..=14)));
        assert_eq!((recent.after(9, 5), recent.last()), (None, 14));
        let last = 14 + RECENT as i64;
        recent.add(changes(15..=last), last);
        assert_eq!((recent.after(13, 5), recent.after(14, 1)), (None, Some(changes(15..=15))));
    }
}
