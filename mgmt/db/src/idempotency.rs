//! Answers that were given to requests with an `Idempotency-Key`.

use podzol_vocab::{Sha256, UserId};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{QueryFilter, QuerySelect, QueryTrait};

use crate::{Col, DbError, FORGOTTEN_AT_ONCE, Reader, Tx};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Col<UserId>,
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// SHA-256 of the method, the path and the body.
    pub request: Col<Sha256>,
    pub status: i64,
    /// The answer. A secret in it has been left out.
    pub body: String,
    pub created_at: i64,
}

crate::no_relations!();

/// The answer that a user's key was given, if it was used before.
///
/// # Errors
/// When the database cannot be read.
pub async fn find(db: &impl Reader, user: UserId, key: &str) -> Result<Option<Model>, DbError> {
    crate::find::<Entity>(db, (Col(user), key.to_owned())).await
}

impl Tx {
    /// Keeps an answer.
    ///
    /// # Errors
    /// [`DbError::Taken`] when the key was used in the meantime.
    pub async fn idempotency_create(&self, row: Model) -> Result<(), DbError> {
        self.insert::<Entity>(row)
    }

    /// Forgets some answers from before a time, in milliseconds since 1970. Says how many; none when there are no more.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn idempotency_forget_before(&self, at: i64) -> Result<u64, DbError> {
        let old = Entity::find()
            .select_only()
            .columns([Column::UserId, Column::Key])
            .filter(Column::CreatedAt.lt(at));
        let few = old.limit(FORGOTTEN_AT_ONCE).into_query();
        let old = Expr::tuple([Expr::col(Column::UserId), Expr::col(Column::Key)]).in_subquery(few);
        Ok(Entity::delete_many().filter(old).exec(self.reader()).await?.rows_affected)
    }
}
