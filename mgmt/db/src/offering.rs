//! Offerings.

use std::collections::BTreeSet;

use podzol_vocab::{Name, OfferingId};
use sea_orm::entity::prelude::*;

use crate::fetch::Fetch;
use crate::zone::PageOf;
use crate::{Col, DbError, JsonCol, Reader, Tx};
use podzol_mgmt_api::offering::Size;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "offerings")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Col<OfferingId>,
    pub name: Col<Name>,
    pub size: JsonCol<Size>,
    pub tags: Option<JsonCol<BTreeSet<Name>>>,
    pub created_at: i64,
}

crate::no_relations!(kept);

/// A page of offerings.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(db: &impl Reader, page: &PageOf) -> Result<Vec<Model>, DbError> {
    Ok(page.of(Entity::find(), Column::Id, Some(Column::Name)).fetch(db).await?)
}

/// The offering with that name.
///
/// # Errors
/// When the database cannot be read.
pub async fn named(db: &impl Reader, name: &str) -> Result<Option<Model>, DbError> {
    Ok(Entity::find().filter(Column::Name.eq(name)).fetch_one(db).await?)
}

impl Tx {
    /// Adds an offering.
    ///
    /// # Errors
    /// [`DbError::Taken`] when there is one with that name.
    pub async fn offering_create(&self, row: Model) -> Result<(), DbError> {
        self.changed("offering", row.id.0, None);
        self.insert::<Entity>(row)
    }

    /// Writes an offering as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn offering_update(&self, row: Model) -> Result<(), DbError> {
        self.changed("offering", row.id.0, None);
        self.update::<Entity>(row)
    }

    /// Removes an offering.
    ///
    /// # Errors
    /// [`DbError::Referred`] when there are VMs of it.
    pub async fn offering_delete(&self, id: OfferingId) -> Result<(), DbError> {
        self.changed("offering", id, None);
        Entity::delete_by_id(Col(id)).exec(self.reader()).await?;
        Ok(())
    }
}
