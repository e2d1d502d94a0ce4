//! The log of changes, from which the event stream is served.

use podzol_vocab::AccountId;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::entity::prelude::*;
use sea_orm::{DatabaseTransaction, QueryOrder, QuerySelect};

use crate::{Col, DbError, Reader, Tx, now};

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

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) account: Option<AccountId>,
}

pub(crate) async fn append(tx: &DatabaseTransaction, changes: Vec<Noted>) -> Result<Option<i64>, DbError> {
    if changes.is_empty() {
        return Ok(None);
    }
    let at = now().0;
    let rows = changes.into_iter().map(|change| ActiveModel {
        seq: NotSet,
        kind: Set(change.kind.into()),
        object_id: Set(change.id),
        account_id: Set(change.account.map(Col)),
        at: Set(at),
    });
    Entity::insert_many(rows).exec_without_returning(tx).await?;
    Ok(Some(last(tx).await?))
}

/// The number of the last change; 0 if there was none.
///
/// # Errors
/// When the database cannot be read.
pub async fn last(db: &impl Reader) -> Result<i64, DbError> {
    let last = Entity::find().order_by_desc(Column::Seq).one(db).await?;
    Ok(last.map_or(0, |change| change.seq))
}

/// The changes after a number, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn after(db: &impl Reader, seq: i64, limit: u64) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::Seq.gt(seq)).order_by_asc(Column::Seq).limit(limit).all(db).await?)
}

/// The number of the oldest change that is still there, if any.
///
/// # Errors
/// When the database cannot be read.
pub async fn oldest(db: &impl Reader) -> Result<Option<i64>, DbError> {
    Ok(Entity::find().order_by_asc(Column::Seq).one(db).await?.map(|change| change.seq))
}

/// Forgets changes from before a time, in milliseconds since 1970, but never the newest: its number must not come
/// again.
///
/// # Errors
/// When the database refuses.
pub async fn forget_before(tx: &Tx, at: i64) -> Result<u64, DbError> {
    let last = last(tx.reader()).await?;
    let old = Entity::delete_many().filter(Column::At.lt(at)).filter(Column::Seq.lt(last));
    Ok(old.exec(tx.reader()).await?.rows_affected)
}
