//! Networks, and the VLAN and VXLAN ids that they hold.

use std::collections::BTreeSet;

use podzol_mgmt_api::firewall::EgressPolicy;
use podzol_vocab::{AccountId, Cidr, HostId, Name, NetworkId, Tag, TrafficType, VmId, ZoneId};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, SimpleExpr};
use sea_orm::{FromQueryResult, QueryFilter, QuerySelect, QueryTrait};

use crate::fetch::Fetch;
use crate::vm::{self, nic};
use crate::zone::PageOf;
use crate::{Col, DbError, JsonCol, Reader, Tx};

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
    /// Whether its VMs have a router.
    pub has_router: bool,
    pub egress: JsonCol<EgressPolicy>,
    /// When it was deleted: it goes once its router has let go of it.
    pub deleted_at: Option<i64>,
    /// Which /64 of its zone's IPv6 prefix is its own, unique in the zone, until the row goes; none if it has no IPv6.
    pub prefix6: Option<i64>,
}

crate::no_relations!(kept);

/// The lowest number of a VXLAN.
const FIRST_VXLAN: i64 = 4096;

/// The lowest number of a network of the hosts themselves.
const FIRST_TRAFFIC: i64 = 0x100_0000;

impl Model {
    /// What isolates it; nothing if the number is none.
    pub fn tag(&self) -> Option<Tag> {
        u32::try_from(self.vlan).ok().and_then(|number| Tag::try_from(number).ok())
    }

    /// Whether it is a customer's, and not on its way out.
    pub fn is_there(&self) -> bool {
        self.vlan < FIRST_TRAFFIC && self.deleted_at.is_none()
    }
}

/// A page of customers' networks, of one account or all.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(
    db: &impl Reader,
    account: Option<AccountId>,
    page: &PageOf,
) -> Result<Vec<Model>, DbError> {
    let mut query = Entity::find().filter(Column::Vlan.lt(FIRST_TRAFFIC)).filter(Column::DeletedAt.is_null());
    if let Some(account) = account {
        query = query.filter(Column::AccountId.eq(Col(account)));
    }
    Ok(page.of(query, Column::Id, Some(Column::Name)).all(db).await?)
}

/// Some networks.
///
/// # Errors
/// When the database cannot be read.
pub async fn by_ids(
    db: &impl Reader,
    ids: impl IntoIterator<Item = NetworkId>,
) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::Id.is_in(ids.into_iter().map(Col))).fetch(db).await?)
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

/// The network of a zone that its hosts themselves are on.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_traffic(
    db: &impl Reader,
    zone: ZoneId,
    traffic: TrafficType,
) -> Result<Option<Model>, DbError> {
    let number = i64::from(u32::from(Tag::Traffic(traffic)));
    let of_zone = Entity::find().filter(Column::ZoneId.eq(Col(zone)));
    Ok(of_zone.filter(Column::Vlan.eq(number)).fetch_one(db).await?)
}

/// Networks that were deleted and that nothing has an interface in any more.
///
/// # Errors
/// When the database cannot be read.
pub async fn deleted_and_empty(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    let inside = nic::Entity::find().select_only().column(nic::Column::NetworkId).into_query();
    let deleted = Entity::find().filter(Column::DeletedAt.is_not_null());
    Ok(deleted.filter(Column::Id.not_in_subquery(inside)).fetch(db).await?)
}

/// Networks that were deleted.
///
/// # Errors
/// When the database cannot be read.
pub async fn deleted(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::DeletedAt.is_not_null()).fetch(db).await?)
}

/// The customers' networks of an account in a zone that have a router.
///
/// # Errors
/// When the database cannot be read.
pub async fn with_router(db: &impl Reader, account: AccountId, zone: ZoneId) -> Result<Vec<Model>, DbError> {
    let of_account = Entity::find().filter(Column::AccountId.eq(Col(account)));
    let mut rows = of_account.filter(Column::ZoneId.eq(Col(zone))).fetch(db).await?;
    rows.retain(|row| row.has_router && row.is_there());
    Ok(rows)
}

/// Which /64 of a zone's IPv6 prefix networks have, with whose these are; those that were deleted too, as long as their
/// routers have not let go of them.
///
/// # Errors
/// When the database cannot be read.
pub async fn prefixes_in_use(db: &impl Reader, zone: ZoneId) -> Result<Vec<(AccountId, i64)>, DbError> {
    let found: Vec<(Col<AccountId>, i64)> = Entity::find()
        .filter(Column::ZoneId.eq(Col(zone)))
        .filter(Column::Prefix6.is_not_null())
        .select_only()
        .columns([Column::AccountId, Column::Prefix6])
        .into_tuple()
        .all(db)
        .await?;
    Ok(found.into_iter().map(|(account, number)| (account.0, number)).collect())
}

/// Whether an account has a network with IPv6 in a zone.
///
/// # Errors
/// When the database cannot be read.
pub async fn has_ipv6(db: &impl Reader, account: AccountId, zone: ZoneId) -> Result<bool, DbError> {
    Ok(with_router(db, account, zone).await?.iter().any(|row| row.prefix6.is_some()))
}

/// Whether a VM has an interface in a network with IPv6.
///
/// # Errors
/// When the database cannot be read.
pub async fn any_with_ipv6(db: &impl Reader, vm: VmId) -> Result<bool, DbError> {
    let inside = nic::Entity::find()
        .select_only()
        .column(nic::Column::NetworkId)
        .filter(nic::Column::VmId.eq(Col(vm)));
    Ok(with_ipv6().filter(Column::Id.in_subquery(inside.into_query())).fetch_one(db).await?.is_some())
}

/// The networks with IPv6.
pub(crate) fn with_ipv6() -> Select<Entity> {
    Entity::find().filter(Column::Prefix6.is_not_null())
}

/// Those numbers that are VXLANs'.
fn is_vxlan() -> SimpleExpr {
    Column::Vlan.gte(FIRST_VXLAN).and(Column::Vlan.lt(FIRST_TRAFFIC))
}

/// All networks on VXLANs.
pub(crate) async fn on_vxlans(db: &impl ConnectionTrait) -> Result<Vec<NetworkId>, DbError> {
    let vxlans = Entity::find().select_only().column(Column::Id).filter(is_vxlan());
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
    let vxlans = Entity::find().select_only().column(Column::Id).filter(is_vxlan());
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

    /// Writes a network as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn network_update(&self, row: Model) -> Result<(), DbError> {
        self.changed("network", row.id.0, Some(row.account_id.0));
        self.update::<Entity>(row)
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
