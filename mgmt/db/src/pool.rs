//! Pools.

use std::sync::Arc;

use podzol_mgmt_api::pool::PoolState;
use podzol_vocab::{Name, PoolId, ZoneId};
use sea_orm::QueryFilter;
use sea_orm::entity::prelude::*;

use crate::fetch::Fetch;
use crate::zone::PageOf;
use crate::{Col, DbError, JsonCol, Reader, Tx};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "pools")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Col<PoolId>,
    pub name: Col<Name>,
    pub storage_server_id: String,
    pub zone_id: Col<ZoneId>,
    pub path: String,
    pub state: JsonCol<PoolState>,
    /// Where hosts mount it from, once it is exported: the server's address.
    pub server: Option<String>,
    /// And the exported folder.
    pub export: Option<String>,
    /// The addresses of the hosts that may mount it, as its storage server has confirmed.
    pub exported_to: JsonCol<Arc<Vec<String>>>,
    pub capacity_bytes: i64,
    pub used_bytes: i64,
    pub error: Option<String>,
    pub created_at: i64,
}

crate::no_relations!(kept);

/// A page of pools.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(db: &impl Reader, page: &PageOf) -> Result<Vec<Model>, DbError> {
    Ok(page.of(Entity::find(), Column::Id, Some(Column::Name)).fetch(db).await?)
}

/// The pools of a zone, or of all, that volumes can be made in.
///
/// # Errors
/// When the database cannot be read.
pub async fn ready(db: &impl Reader, zone: Option<ZoneId>) -> Result<Vec<Model>, DbError> {
    let mut query = Entity::find().filter(Column::State.eq(JsonCol(PoolState::Ready)));
    if let Some(zone) = zone {
        query = query.filter(Column::ZoneId.eq(Col(zone)));
    }
    Ok(query.fetch(db).await?)
}

/// The pools that could not be made.
///
/// # Errors
/// When the database cannot be read.
pub async fn failed(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::State.eq(JsonCol(PoolState::Failed))).fetch(db).await?)
}

/// The pools of a zone that are exported, or are about to be.
///
/// # Errors
/// When the database cannot be read.
pub async fn exported(db: &impl Reader, zone: ZoneId) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find()
        .filter(Column::ZoneId.eq(Col(zone)))
        .filter(Column::State.is_in([JsonCol(PoolState::Ready), JsonCol(PoolState::Creating)]))
        .fetch(db)
        .await?)
}

/// Pools that are being made or removed, with no operation that has not ended.
///
/// # Errors
/// When the database cannot be read.
pub async fn passing_without_operation(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find()
        .filter(Column::State.is_in([PoolState::Creating, PoolState::Deleting].map(JsonCol)))
        .filter(Column::Id.not_in_subquery(crate::operation::open_subjects()))
        .fetch(db)
        .await?)
}

/// The pools of a storage server.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_server(db: &impl Reader, server: &str) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::StorageServerId.eq(server)).fetch(db).await?)
}

impl Tx {
    /// Adds a pool.
    ///
    /// # Errors
    /// [`DbError::Taken`] when there is one with that name.
    pub async fn pool_create(&self, row: Model) -> Result<(), DbError> {
        self.changed("pool", row.id.0, None);
        self.draft.pool(&row);
        self.insert::<Entity>(row)
    }

    /// Writes a pool as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn pool_update(&self, row: Model) -> Result<(), DbError> {
        self.changed("pool", row.id.0, None);
        self.draft.pool(&row);
        self.update::<Entity>(row)
    }

    /// Removes a pool.
    ///
    /// # Errors
    /// [`DbError::Referred`] when it has volumes.
    pub async fn pool_delete(&self, id: PoolId) -> Result<(), DbError> {
        self.changed("pool", id, None);
        self.draft.no_pool(id);
        Entity::delete_by_id(Col(id)).exec(self.reader()).await?;
        Ok(())
    }
}
