//! Networks, and the VLAN ids that they hold.

use std::collections::BTreeSet;

use podzol_vocab::{AccountId, Cidr, Name, NetworkId, ZoneId};
use sea_orm::entity::prelude::*;
use sea_orm::{IntoActiveModel, QueryFilter, QuerySelect};

use crate::zone::PageOf;
use crate::{Col, DbError, Reader, Tx};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "networks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Col<NetworkId>,
    pub account_id: Col<AccountId>,
    pub zone_id: Col<ZoneId>,
    pub name: Col<Name>,
    pub cidr: Col<Cidr>,
    /// Unique in the zone.
    pub vlan: i64,
    pub created_at: i64,
}

crate::no_relations!();

/// A page of networks, of one account or all.
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
    Ok(page.of(query, Column::Id, Some(Column::Name)).all(db).await?)
}

/// All networks.
///
/// # Errors
/// When the database cannot be read.
pub async fn all(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().all(db).await?)
}

/// The VLAN ids in use in a zone.
///
/// # Errors
/// When the database cannot be read.
pub async fn vlans_in_use(db: &impl Reader, zone: ZoneId) -> Result<BTreeSet<u16>, DbError> {
    let vlans: Vec<i64> = Entity::find()
        .filter(Column::ZoneId.eq(Col(zone)))
        .select_only()
        .column(Column::Vlan)
        .into_tuple()
        .all(db)
        .await?;
    Ok(vlans.into_iter().filter_map(|vlan| u16::try_from(vlan).ok()).collect())
}

impl Tx {
    /// Adds a network, which takes its VLAN id.
    ///
    /// # Errors
    /// [`DbError::Taken`] when its account has one with that name, or the VLAN id is taken.
    pub async fn network_create(&self, row: Model) -> Result<(), DbError> {
        self.changed("network", row.id.0, Some(row.account_id.0));
        Entity::insert(row.into_active_model()).exec_without_returning(self.reader()).await?;
        Ok(())
    }

    /// Removes a network, which returns its VLAN id.
    ///
    /// # Errors
    /// [`DbError::Referred`] when a VM has an interface in it.
    pub async fn network_delete(&self, row: &Model) -> Result<(), DbError> {
        self.changed("network", row.id.0, Some(row.account_id.0));
        Entity::delete_by_id(row.id).exec(self.reader()).await?;
        Ok(())
    }
}
