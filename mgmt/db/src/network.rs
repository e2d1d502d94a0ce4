//! Networks, and the VLAN and VXLAN ids that they hold.

use std::collections::BTreeSet;

use podzol_vocab::{AccountId, Cidr, HostId, Name, NetworkId, Tag, VmId, ZoneId};
use sea_orm::entity::prelude::*;
use sea_orm::{FromQueryResult, QueryFilter, QuerySelect, QueryTrait};

use crate::vm::{self, nic};
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
    /// The number of its tag, unique in the zone: a VLAN's or a VXLAN's.
    pub vlan: i64,
    pub created_at: i64,
}

crate::no_relations!(kept);

/// The lowest number of a VXLAN.
const FIRST_VXLAN: i64 = 4096;

impl Model {
    /// What isolates it; nothing if the number is none.
    pub fn tag(&self) -> Option<Tag> {
        u32::try_from(self.vlan).ok().and_then(|number| Tag::try_from(number).ok())
    }
}

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

/// The tags in use in a zone.
///
/// # Errors
/// When the database cannot be read.
pub async fn tags_in_use(db: &impl Reader, zone: ZoneId) -> Result<BTreeSet<Tag>, DbError> {
    let numbers: Vec<i64> = Entity::find()
        .filter(Column::ZoneId.eq(Col(zone)))
        .select_only()
        .column(Column::Vlan)
        .into_tuple()
        .all(db)
        .await?;
    let tag = |number| u32::try_from(number).ok().and_then(|number| Tag::try_from(number).ok());
    Ok(numbers.into_iter().filter_map(tag).collect())
}

/// All networks on VXLANs.
pub(crate) async fn on_vxlans(db: &impl ConnectionTrait) -> Result<Vec<NetworkId>, DbError> {
    let vxlans = Entity::find().select_only().column(Column::Id).filter(Column::Vlan.gte(FIRST_VXLAN));
    let ids: Vec<Col<NetworkId>> = vxlans.into_tuple().all(db).await?;
    Ok(ids.into_iter().map(|id| id.0).collect())
}

/// The networks on VXLANs in which some VMs have an interface, each with such a VM.
///
/// # Errors
/// When the database cannot be read.
pub async fn vxlans_of(
    db: &impl Reader,
    vms: impl IntoIterator<Item = VmId>,
) -> Result<Vec<(VmId, NetworkId)>, DbError> {
    let vxlans = Entity::find().select_only().column(Column::Id).filter(Column::Vlan.gte(FIRST_VXLAN));
    #[derive(FromQueryResult)]
    struct Row {
        vm_id: Col<VmId>,
        network_id: Col<NetworkId>,
    }
    let found = nic::Entity::find()
        .select_only()
        .columns([nic::Column::VmId, nic::Column::NetworkId])
        .filter(nic::Column::VmId.is_in(vms.into_iter().map(Col)))
        .filter(nic::Column::NetworkId.in_subquery(vxlans.into_query()))
        .into_model::<Row>()
        .all(db)
        .await?;
    Ok(found.into_iter().map(|row| (row.vm_id.0, row.network_id.0)).collect())
}

/// The hosts that carry a network: those that hold a VM in it, or to which one is on its way.
///
/// # Errors
/// When the database cannot be read.
pub async fn carriers(db: &impl Reader, network: NetworkId) -> Result<BTreeSet<HostId>, DbError> {
    let inside = nic::Entity::find()
        .select_only()
        .column(nic::Column::VmId)
        .filter(nic::Column::NetworkId.eq(Col(network)));
    #[derive(FromQueryResult)]
    struct Row {
        host_id: Option<Col<HostId>>,
        moving_to: Option<Col<HostId>>,
    }
    let rows = vm::Entity::find()
        .select_only()
        .columns([vm::Column::HostId, vm::Column::MovingTo])
        .distinct()
        .filter(vm::Column::HostId.is_not_null())
        .filter(vm::Column::Id.in_subquery(inside.into_query()))
        .into_model::<Row>()
        .all(db)
        .await?;
    Ok(rows.into_iter().flat_map(|row| [row.host_id, row.moving_to]).flatten().map(|host| host.0).collect())
}

impl Tx {
    /// Adds a network, which takes its tag.
    ///
    /// # Errors
    /// [`DbError::Taken`] when its account has one with that name, or the tag is taken.
    pub async fn network_create(&self, row: Model) -> Result<(), DbError> {
        self.changed("network", row.id.0, Some(row.account_id.0));
        self.draft.network(&row, true);
        self.insert::<Entity>(row)
    }

    /// Removes a network, which returns its tag.
    ///
    /// # Errors
    /// [`DbError::Referred`] when a VM has an interface in it.
    pub async fn network_delete(&self, row: &Model) -> Result<(), DbError> {
        self.changed("network", row.id.0, Some(row.account_id.0));
        Entity::delete_by_id(row.id).exec(self.reader()).await?;
        // Not before: it may be refused.
        self.draft.network(row, false);
        Ok(())
    }
}
