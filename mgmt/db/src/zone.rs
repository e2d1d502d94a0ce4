//! Zones and pods, and pages of any list.

use podzol_mgmt_api::limits::Limits;
use podzol_mgmt_api::zone::{ManagementNetwork, PublicNetwork, VlanRange, VxlanRange};
use podzol_vocab::{Name, PodId, ZoneId};
use sea_orm::entity::prelude::*;
use sea_orm::{QueryFilter, QueryOrder, QuerySelect, Select};

use crate::fetch::Fetch;
use crate::{Col, DbError, JsonCol, Reader, Tx};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "zones")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Col<ZoneId>,
    pub name: Col<Name>,
    pub vlan_ranges: JsonCol<Vec<VlanRange>>,
    pub vxlan_ranges: Option<JsonCol<Vec<VxlanRange>>>,
    pub limits: Option<JsonCol<Limits>>,
    pub spare_hosts: i64,
    pub created_at: i64,
    /// The management network as routers see it.
    pub management: Option<JsonCol<ManagementNetwork>>,
    pub public: Option<JsonCol<PublicNetwork>>,
}

crate::no_relations!(kept);

impl Model {
    /// The networks that routers need in it; none if there can be no routers.
    pub fn of_routers(&self) -> Option<(&ManagementNetwork, &PublicNetwork)> {
        Some((&self.management.as_ref()?.0, &self.public.as_ref()?.0))
    }
}

/// Pods.
pub mod pod {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "pods")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Col<PodId>,
        pub zone_id: Col<ZoneId>,
        pub name: Col<Name>,
        pub created_at: i64,
    }

    crate::no_relations!(kept);
}

/// Which part of a list: by key, so that the last page costs what the first does.
#[derive(Debug, Clone)]
pub struct PageOf {
    /// The most rows.
    pub limit: u64,
    /// The key that the rows come after.
    pub after: Option<String>,
    /// Only the row with this name.
    pub name: Option<String>,
}

impl PageOf {
    /// Narrows a query to this page, in the order of the key column.
    pub(crate) fn of<E: EntityTrait>(
        &self,
        mut query: Select<E>,
        key: E::Column,
        name: Option<E::Column>,
    ) -> Select<E> {
        if let Some(after) = &self.after {
            query = query.filter(key.gt(after.as_str()));
        }
        if let (Some(column), Some(name)) = (name, &self.name) {
            query = query.filter(column.eq(name.as_str()));
        }
        query.order_by_asc(key).limit(self.limit)
    }
}

/// A page of zones.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(db: &impl Reader, page: &PageOf) -> Result<Vec<Model>, DbError> {
    Ok(page.of(Entity::find(), Column::Id, Some(Column::Name)).fetch(db).await?)
}

/// A page of pods.
///
/// # Errors
/// When the database cannot be read.
pub async fn pod_list(db: &impl Reader, page: &PageOf) -> Result<Vec<pod::Model>, DbError> {
    Ok(page.of(pod::Entity::find(), pod::Column::Id, Some(pod::Column::Name)).fetch(db).await?)
}

/// All zones.
///
/// # Errors
/// When the database cannot be read.
pub async fn all(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().fetch(db).await?)
}

impl Tx {
    /// Adds a zone.
    ///
    /// # Errors
    /// [`DbError::Taken`] when there is one with that name.
    pub async fn zone_create(&self, row: Model) -> Result<(), DbError> {
        self.changed("zone", row.id.0, None);
        self.insert::<Entity>(row)
    }

    /// Writes a zone as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn zone_update(&self, row: Model) -> Result<(), DbError> {
        self.changed("zone", row.id.0, None);
        self.update::<Entity>(row)
    }

    /// Removes a zone.
    ///
    /// # Errors
    /// [`DbError::Referred`] when something is in it.
    pub async fn zone_delete(&self, id: ZoneId) -> Result<(), DbError> {
        self.changed("zone", id, None);
        self.console_scan_delete(id).await?;
        Entity::delete_by_id(Col(id)).exec(self.reader()).await?;
        Ok(())
    }

    /// Adds a pod.
    ///
    /// # Errors
    /// [`DbError::Taken`] when its zone has one with that name.
    pub async fn pod_create(&self, row: pod::Model) -> Result<(), DbError> {
        self.changed("pod", row.id.0, None);
        self.insert::<pod::Entity>(row)
    }

    /// Removes a pod.
    ///
    /// # Errors
    /// [`DbError::Referred`] when something is in it.
    pub async fn pod_delete(&self, id: PodId) -> Result<(), DbError> {
        self.changed("pod", id, None);
        pod::Entity::delete_by_id(Col(id)).exec(self.reader()).await?;
        Ok(())
    }
}
