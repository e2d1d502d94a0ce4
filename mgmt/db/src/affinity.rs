//! Affinity groups.

use podzol_mgmt_api::affinity::Policy;
use podzol_vocab::{AccountId, AffinityGroupId, Name};
use sea_orm::entity::prelude::*;

use crate::fetch::Fetch;
use crate::zone::PageOf;
use crate::{Col, DbError, JsonCol, Reader, Tx};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "affinity_groups")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Col<AffinityGroupId>,
    pub account_id: Col<AccountId>,
    /// Unique in the account.
    pub name: Col<Name>,
    pub policy: JsonCol<Policy>,
    pub created_at: i64,
}

crate::no_relations!(kept);

/// A page of groups, of one account or all.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(
    db: &impl Reader,
    account: Option<AccountId>,
    page: &PageOf,
) -> Result<Vec<Model>, DbError> {
    let mut query = Entity::find();
    if let Some(account) = account {
        query = query.filter(Column::AccountId.eq(Col(account)));
    }
    Ok(page.of(query, Column::Id, Some(Column::Name)).fetch(db).await?)
}

impl Tx {
    /// Adds a group.
    ///
    /// # Errors
    /// [`DbError::Taken`] when its account has one with that name.
    pub async fn affinity_group_create(&self, row: Model) -> Result<(), DbError> {
        self.changed("affinity-group", row.id.0, Some(row.account_id.0));
        self.insert::<Entity>(row)
    }

    /// Removes a group. No VM may be in it.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn affinity_group_delete(&self, row: &Model) -> Result<(), DbError> {
        self.changed("affinity-group", row.id.0, Some(row.account_id.0));
        Entity::delete_by_id(row.id).exec(self.reader()).await?;
        Ok(())
    }
}
