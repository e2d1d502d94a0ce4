//! VMs and their network interfaces.

use std::net::Ipv4Addr;

use podzol_mgmt_api::limits::VmLimits;
use podzol_mgmt_api::offering::Size;
use podzol_mgmt_api::template::TemplateRole;
use podzol_mgmt_api::vm::{Attachment, Step, VmState};
use podzol_vocab::{
    AccountId, AffinityGroupId, HostId, MacAddr, Name, NetworkId, NicId, OfferingId, Secret, TemplateId,
    VmId, ZoneId,
};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait, SelectStatement, SimpleExpr};
use sea_orm::{Condition, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, QueryTrait};

use crate::fetch::Fetch;
use crate::zone::PageOf;
use crate::{Col, DbError, JsonCol, Reader, SOUGHT_AT_ONCE, Tx, network};

/// What a VM should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    Running,
    Stopped,
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "vms")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Col<VmId>,
    pub account_id: Col<AccountId>,
    pub zone_id: Col<ZoneId>,
    pub name: Col<Name>,
    pub offering_id: Col<OfferingId>,
    pub template_id: Col<TemplateId>,
    /// The host on which it runs, or may run: it holds the VM's share of the host until the host says it is gone.
    pub host_id: Option<Col<HostId>>,
    /// The host to which it is on its way, or was: it holds room there too, until that host says that nothing of it is
    /// there, or it runs there.
    pub moving_to: Option<Col<HostId>>,
    pub desired: JsonCol<Desired>,
    pub state: JsonCol<VmState>,
    pub generation: i64,
    /// The generation with which its last reboot was asked for; 0 if that was given up.
    pub reboots: i64,
    /// Whether it should stand still while it runs.
    pub paused: bool,
    /// The ISO in its CD drive, until its host has taken it out.
    pub iso_id: Option<Col<TemplateId>>,
    /// Whether it boots from that; of no meaning without one, as the next.
    pub iso_boots: bool,
    pub iso_attachment: JsonCol<Attachment>,
    /// What it may do at most in this generation. None for one that was made before accounts and zones had limits: then
    /// its offering's hold.
    pub limits: Option<JsonCol<VmLimits>>,
    /// Whether the limits of its offering, account or zone have changed since.
    pub limits_are_stale: bool,
    /// When it goes for good, if it was deleted.
    pub expunge_at: Option<i64>,
    /// The affinity group that it is in.
    pub group_id: Option<Col<AffinityGroupId>>,
    /// How long it may take to shut down when it is next stopped.
    pub grace_secs: i64,
    pub size: JsonCol<Size>,
    pub vcpus: i64,
    pub memory_mib: i64,
    pub ssh_keys: JsonCol<Vec<String>>,
    pub user_data: Option<String>,
    pub error: Option<String>,
    pub timing: JsonCol<Vec<Step>>,
    pub created_at: i64,
    pub started_at: Option<i64>,
    /// What it is for, if that is a part of Podzol: then it is no customer's.
    pub role: Option<JsonCol<TemplateRole>>,
    /// The password that it should set, until its router says that it has.
    pub password: Option<JsonCol<Secret<String>>>,
    /// How many bytes its user data and its keys have together, which its router keeps in memory.
    pub texts_bytes: i64,
}

crate::no_relations!();

/// Whose limits are those of its VMs.
#[derive(Debug, Clone, Copy)]
pub enum LimitsOf {
    Account(AccountId),
    Offering(OfferingId),
    Zone(ZoneId),
    /// What a network is, which is no limit, but a running VM's host is told of it in the same way.
    Network(NetworkId),
    /// What a host can do for networks with IPv6, likewise.
    Host(HostId),
}

/// Network interfaces.
pub mod nic {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "nics")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Col<NicId>,
        pub vm_id: Col<VmId>,
        /// Its place among the VM's interfaces.
        pub slot: i64,
        /// Unique with the address.
        pub network_id: Col<NetworkId>,
        pub address: Col<Ipv4Addr>,
        /// Unique in the installation.
        pub mac: Col<MacAddr>,
        pub attachment: JsonCol<Attachment>,
        /// Whether it may send what is not from its own addresses.
        pub may_route: bool,
    }

    crate::no_relations!();
}

/// What a list of VMs is narrowed by.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub account: Option<AccountId>,
    pub state: Option<VmState>,
    pub host: Option<HostId>,
    pub network: Option<NetworkId>,
}

/// A page of customers' VMs.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(db: &impl Reader, filter: &Filter, page: &PageOf) -> Result<Vec<Model>, DbError> {
    let mut which = Condition::all()
        .add(Column::Role.is_null())
        .add_option(filter.account.map(|account| Column::AccountId.eq(Col(account))))
        .add_option(filter.state.map(|state| Column::State.eq(JsonCol(state))))
        .add_option(filter.host.map(|host| Column::HostId.eq(Col(host))));
    if let Some(network) = filter.network {
        let inside = nic::Entity::find()
            .select_only()
            .column(nic::Column::VmId)
            .filter(nic::Column::NetworkId.eq(Col(network)));
        which = which.add(Column::Id.in_subquery(inside.into_query()));
    }
    Ok(page.of(Entity::find().filter(which), Column::Id, Some(Column::Name)).fetch(db).await?)
}

/// Those of some VMs that are there.
///
/// # Errors
/// When the database cannot be read.
pub async fn by_ids(db: &impl Reader, ids: impl IntoIterator<Item = VmId>) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::Id.is_in(ids.into_iter().map(Col))).fetch(db).await?)
}

/// The VMs that a host holds, those on their way to it included.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_host(db: &impl Reader, host: HostId) -> Result<Vec<Model>, DbError> {
    let here = Condition::any().add(Column::HostId.eq(Col(host))).add(Column::MovingTo.eq(Col(host)));
    Ok(Entity::find().filter(here).fetch(db).await?)
}

/// The VMs in a network, or on their way into it or out of it.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_network(db: &impl Reader, network: NetworkId) -> Result<Vec<Model>, DbError> {
    let inside = nic::Entity::find()
        .select_only()
        .column(nic::Column::VmId)
        .filter(nic::Column::NetworkId.eq(Col(network)));
    Ok(Entity::find().filter(Column::Id.in_subquery(inside.into_query())).fetch(db).await?)
}

/// The interfaces in some networks.
///
/// # Errors
/// When the database cannot be read.
pub async fn nics_in(db: &impl Reader, networks: &[NetworkId]) -> Result<Vec<nic::Model>, DbError> {
    let networks = networks.iter().copied().map(Col);
    Ok(nic::Entity::find().filter(nic::Column::NetworkId.is_in(networks)).fetch(db).await?)
}

/// Those of some interfaces that there are, and that customers' VMs of an account in a zone have, with their VMs.
///
/// # Errors
/// When the database cannot be read.
pub async fn nics_there(
    db: &impl Reader,
    (account, zone): (AccountId, ZoneId),
    ids: &[NicId],
) -> Result<Vec<(NicId, VmId)>, DbError> {
    let mut found = Vec::with_capacity(ids.len());
    for some in ids.chunks(SOUGHT_AT_ONCE) {
        let own = Entity::find().filter(Column::AccountId.eq(Col(account)));
        let own = own.filter(Column::ZoneId.eq(Col(zone))).filter(Column::Role.is_null());
        let own = own.select_only().column(Column::Id).into_query();
        let there = nic::Entity::find().select_only().columns([nic::Column::Id, nic::Column::VmId]);
        let there = there.filter(nic::Column::VmId.in_subquery(own));
        let there = there.filter(nic::Column::Id.is_in(some.iter().copied().map(Col)));
        let some: Vec<(Col<NicId>, Col<VmId>)> = there.into_tuple().all(db).await?;
        found.extend(some.into_iter().map(|(nic, vm)| (nic.0, vm.0)));
    }
    Ok(found)
}

/// The customers' VMs of an account in a zone.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_account(db: &impl Reader, account: AccountId, zone: ZoneId) -> Result<Vec<Model>, DbError> {
    let of_account = Entity::find().filter(Column::AccountId.eq(Col(account)));
    let of_zone = of_account.filter(Column::ZoneId.eq(Col(zone)));
    Ok(of_zone.filter(Column::Role.is_null()).fetch(db).await?)
}

/// Whether a VM in one of some networks runs, or may, or is to.
///
/// # Errors
/// When the database cannot be read.
pub async fn any_needs(db: &impl Reader, networks: &[NetworkId]) -> Result<bool, DbError> {
    let inside = nic::Entity::find()
        .select_only()
        .column(nic::Column::VmId)
        .filter(nic::Column::NetworkId.is_in(networks.iter().copied().map(Col)));
    let on_host = Entity::find()
        .filter(Column::Id.in_subquery(inside.into_query()))
        .filter(Column::Role.is_null())
        .filter(Column::HostId.is_not_null());
    Ok(on_host.fetch_one(db).await?.is_some())
}

/// The VMs of an affinity group.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_group(db: &impl Reader, group: AffinityGroupId) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::GroupId.eq(Col(group))).order_by_asc(Column::Id).fetch(db).await?)
}

/// The interfaces of some VMs, in the order of their slots.
///
/// # Errors
/// When the database cannot be read.
pub async fn nics(db: &impl Reader, vms: &[Col<VmId>]) -> Result<Vec<nic::Model>, DbError> {
    Ok(nic::Entity::find()
        .filter(nic::Column::VmId.is_in(vms.iter().copied()))
        .order_by_asc(nic::Column::Slot)
        .fetch(db)
        .await?)
}

/// VMs that are on their way to another state, with no operation that has not ended.
///
/// # Errors
/// When the database cannot be read.
pub async fn passing_without_operation(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    let passing = [VmState::Starting, VmState::Stopping, VmState::Migrating, VmState::Deleting].map(JsonCol);
    Ok(Entity::find()
        .filter(Column::State.is_in(passing))
        .filter(Column::Id.not_in_subquery(crate::operation::open_subjects()))
        .limit(1000)
        .fetch(db)
        .await?)
}

/// VMs that have disks, network interfaces or ISOs on their way, or did not get to another host and may have left something
/// there, with no operation that has not ended.
///
/// # Errors
/// When the database cannot be read.
pub async fn changing_without_operation(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    let idle = Column::Id.not_in_subquery(crate::operation::open_subjects());
    Ok(changing().filter(idle).limit(1000).fetch(db).await?)
}

fn changing() -> Select<Entity> {
    let passing = || [Attachment::Attaching, Attachment::Detaching].map(JsonCol);
    let nics = nic::Entity::find().select_only().column(nic::Column::VmId);
    let of_nics = nic::Column::Attachment;
    let nics = nics.filter(not_attached(of_nics).and(of_nics.is_in(passing()))).into_query();
    let with_volumes = crate::volume::vms_with(passing());
    let which = Condition::any()
        .add(Column::Id.in_subquery(nics))
        .add(Column::Id.in_subquery(with_volumes))
        .add(not_attached(Column::IsoAttachment).and(Column::IsoAttachment.is_in(passing())))
        // Any id is more than nothing. SQLite does not look by an index for what is just not null, beside others.
        .add(Column::MovingTo.gt(""));
    Entity::find().filter(which)
}

/// That something is not attached, in the words of the index of what is not.
pub(crate) fn not_attached(attachment: impl ColumnTrait) -> SimpleExpr {
    Expr::col(attachment.as_column_ref()).ne(Expr::cust(r#"'"attached"'"#))
}

/// VMs whose rows contradict themselves: one that runs or is on its way has no host, or one that is stopped has one.
///
/// # Errors
/// When the database cannot be read.
pub async fn contradictory(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    let with_host = [VmState::Running, VmState::Paused, VmState::Migrating, VmState::Starting].map(JsonCol);
    let without = [VmState::Stopped, VmState::Failed, VmState::Deleted].map(JsonCol);
    let homeless = Condition::all().add(Column::State.is_in(with_host)).add(Column::HostId.is_null());
    let held = Condition::all().add(Column::State.is_in(without)).add(Column::HostId.is_not_null());
    Ok(Entity::find().filter(Condition::any().add(homeless).add(held)).fetch(db).await?)
}

/// VMs that run with limits which have changed, and nothing else is being done with; at most so many.
///
/// # Errors
/// When the database cannot be read.
pub async fn with_stale_limits(db: &impl Reader, most: u64) -> Result<Vec<Model>, DbError> {
    Ok(stale(most).fetch(db).await?)
}

fn stale(most: u64) -> Select<Entity> {
    let settled = [VmState::Running, VmState::Paused].map(JsonCol);
    let stale = Entity::find().filter(Expr::col((Entity, Column::LimitsAreStale)));
    stale.filter(Column::State.is_in(settled)).limit(most)
}

/// Deleted VMs whose time to be recovered is up; at most so many.
///
/// # Errors
/// When the database cannot be read.
pub async fn to_expunge(db: &impl Reader, now: i64, most: u64) -> Result<Vec<Model>, DbError> {
    Ok(expunged_by(now, most).all(db).await?)
}

fn expunged_by(now: i64, most: u64) -> Select<Entity> {
    // With a plus, SQLite does not look for it by that, which all stopped VMs would answer.
    let on_no_host = Expr::cust(r#"+"host_id" IS NULL"#);
    let due = Entity::find().filter(Column::ExpungeAt.lte(now)).filter(on_no_host);
    let due = due.filter(Column::Desired.ne(JsonCol(Desired::Deleted)));
    due.order_by_asc(Column::ExpungeAt).limit(most)
}

/// How many customers' VMs are in each state.
///
/// # Errors
/// When the database cannot be read.
pub async fn count_by_state(db: &impl Reader) -> Result<Vec<(VmState, i64)>, DbError> {
    #[derive(FromQueryResult)]
    struct Row {
        state: JsonCol<VmState>,
        vms: i64,
    }
    let rows = Entity::find()
        .select_only()
        .column(Column::State)
        .column_as(Column::Id.count(), "vms")
        .filter(Column::Role.is_null())
        .group_by(Column::State)
        .into_model::<Row>()
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.state.0, row.vms)).collect())
}

/// How many VMs on a host have an interface in a network with IPv6.
///
/// # Errors
/// When the database cannot be read.
pub async fn count_with_ipv6(db: &impl Reader, host: HostId) -> Result<u64, DbError> {
    Ok(Entity::find().filter(on_with_ipv6(host)).filter(Column::Role.is_null()).count(db).await?)
}

/// The VMs on a host that have an interface in a network with IPv6.
fn on_with_ipv6(host: HostId) -> SimpleExpr {
    let with = network::with_ipv6().select_only().column(network::Column::Id);
    let theirs = inside(nic::Column::NetworkId.in_subquery(with.into_query()));
    Column::HostId.eq(Col(host)).and(Column::Id.in_subquery(theirs))
}

/// The VMs of some network interfaces.
fn inside(nics: SimpleExpr) -> SelectStatement {
    nic::Entity::find().select_only().column(nic::Column::VmId).filter(nics).into_query()
}

impl Tx {
    /// Adds a VM with its interfaces.
    ///
    /// # Errors
    /// [`DbError::Taken`] when its account has one with that name, or an address is taken.
    pub async fn vm_create(&self, row: Model, nics: Vec<nic::Model>) -> Result<(), DbError> {
        self.changed("vm", row.id.0, Some(row.account_id.0));
        self.draft.vm(&row);
        nics.iter().for_each(|nic| self.draft.nic(nic));
        self.insert::<Entity>(row)?;
        self.insert_all::<nic::Entity>(nics)
    }

    /// Notes that the limits of an account's or a zone's VMs have changed.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn vm_limits_changed(&self, of: LimitsOf) -> Result<(), DbError> {
        Entity::update_many()
            .col_expr(Column::LimitsAreStale, Expr::value(true))
            .filter(match of {
                LimitsOf::Account(account) => Column::AccountId.eq(Col(account)),
                LimitsOf::Offering(offering) => Column::OfferingId.eq(Col(offering)),
                LimitsOf::Zone(zone) => Column::ZoneId.eq(Col(zone)),
                LimitsOf::Network(network) => {
                    Column::Id.in_subquery(inside(nic::Column::NetworkId.eq(Col(network))))
                }
                LimitsOf::Host(host) => on_with_ipv6(host),
            })
            .filter(Column::HostId.is_not_null())
            .exec(self.reader())
            .await?;
        Ok(())
    }

    /// Writes a VM as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn vm_update(&self, row: Model) -> Result<(), DbError> {
        self.changed("vm", row.id.0, Some(row.account_id.0));
        self.draft.vm(&row);
        self.update::<Entity>(row)
    }

    /// Removes a VM with its interfaces; their addresses and its name are free again. Its volumes must be gone before.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn vm_delete(&self, row: &Model) -> Result<(), DbError> {
        self.changed("vm", row.id.0, Some(row.account_id.0));
        let nics = nics(self.reader(), &[row.id]).await?;
        nics.iter().for_each(|nic| self.draft.no_nic(nic.id.0));
        self.draft.no_vm(row.id.0);
        let gone: Vec<NicId> = nics.iter().map(|nic| nic.id.0).collect();
        self.traffic_end_of_nics(row, &gone).await?;
        self.console_sessions_end_of_vm(row.id.0).await?;
        nic::Entity::delete_many().filter(nic::Column::VmId.eq(row.id)).exec(self.reader()).await?;
        Entity::delete_by_id(row.id).exec(self.reader()).await?;
        Ok(())
    }

    /// Adds a network interface.
    ///
    /// # Errors
    /// [`DbError::Taken`] when its address is taken.
    pub async fn nic_create(&self, row: nic::Model) -> Result<(), DbError> {
        self.draft.nic(&row);
        self.insert::<nic::Entity>(row)
    }

    /// Writes a network interface as it is now. Its VM is written with it, which tells of the change.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn nic_update(&self, row: nic::Model) -> Result<(), DbError> {
        self.update::<nic::Entity>(row)
    }

    /// Removes a network interface; its address is free again.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn nic_delete(&self, id: Col<NicId>) -> Result<(), DbError> {
        self.draft.no_nic(id.0);
        if let Some(nic) = crate::find::<nic::Entity>(self.reader(), id).await?
            && let Some(vm) = crate::find::<Entity>(self.reader(), nic.vm_id).await?
        {
            self.traffic_end_of_nics(&vm, &[id.0]).await?;
        }
        nic::Entity::delete_by_id(id).exec(self.reader()).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::DbBackend;

    use super::*;
    use crate::sqlite::Connection;

    #[tokio::test]
    async fn what_is_rare_is_found_without_a_look_at_all_vms() {
        let folder = tempfile::tempdir().unwrap();
        let connection = std::sync::Arc::new(Connection::open(&folder.path().join("db")).unwrap());
        crate::migration::bring_up_to_date(&connection).await.unwrap();
        let group = Entity::find().filter(Column::GroupId.eq(Col(AffinityGroupId::new())));
        let host = Col(HostId::new());
        let of_host = Condition::any().add(Column::HostId.eq(host)).add(Column::MovingTo.eq(host));
        for (query, indexes) in [
            (stale(9), vec!["vms_by_stale_limits"]),
            (expunged_by(7, 9), vec!["vms_by_expunge_at"]),
            (group, vec!["vms_by_group"]),
            (Entity::find().filter(of_host), vec!["vms_by_host", "vms_by_moving_to"]),
            (
                changing(),
                vec![
                    "nics_by_attachment",
                    "volumes_by_attachment",
                    "vms_by_iso_attachment",
                    "vms_by_moving_to",
                ],
            ),
        ] {
            let mut statement = query.build(DbBackend::Sqlite);
            statement.sql.insert_str(0, "EXPLAIN QUERY PLAN ");
            let steps = connection.query(&statement, usize::MAX).unwrap();
            let steps: Vec<String> = steps.iter().map(|step| step.try_get("", "detail").unwrap()).collect();
            assert!(!steps.iter().any(|step| step == "SCAN vms"), "{steps:#?}");
            for index in indexes {
                assert!(steps.iter().any(|step| step.contains(index)), "{index}: {steps:#?}");
            }
        }
    }

    #[tokio::test]
    async fn more_interfaces_can_be_asked_for_than_a_statement_takes() {
        let folder = tempfile::tempdir().unwrap();
        let db = crate::Db::open(&folder.path().join("db")).await.unwrap();
        let ids: Vec<NicId> = (0..33_000).map(|_| NicId::new()).collect();
        let there = nics_there(db.reader(), (AccountId::new(), ZoneId::new()), &ids).await.unwrap();
        assert_eq!(there, []);
    }
}
