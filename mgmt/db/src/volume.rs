//! Volumes.

use podzol_mgmt_api::vm::Attachment;
use podzol_mgmt_api::volume::VolumeState;
use podzol_vocab::{AccountId, Name, PoolId, VmId, VolumeId, ZoneId};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait, SelectStatement};
use sea_orm::{Condition, QueryFilter, QueryOrder, QuerySelect, QueryTrait};

use crate::fetch::Fetch;
use crate::vm::not_attached;
use crate::zone::PageOf;
use crate::{Col, DbError, JsonCol, Reader, Tx};

/// The kind of a volume that a VM boots from.
pub const ROOT: &str = "root";
/// The kind of every other volume.
pub const DATA: &str = "data";

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "volumes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Col<VolumeId>,
    pub account_id: Col<AccountId>,
    pub zone_id: Col<ZoneId>,
    /// The VM that it belongs to, until that VM has let go of it.
    pub vm_id: Option<Col<VmId>>,
    pub pool_id: Col<PoolId>,
    /// Unique in the account; root volumes have none.
    pub name: Option<Col<Name>>,
    pub kind: String,
    pub size_bytes: i64,
    pub state: JsonCol<VolumeState>,
    /// Its file, relative to the pool's export, once it is made.
    pub file: Option<String>,
    /// Of no meaning without a VM.
    pub attachment: JsonCol<Attachment>,
    /// Its VM's disks are in the order in which they were attached.
    pub attached_at: Option<i64>,
    pub error: Option<String>,
    /// Whether it has been given a larger size than it was made with, or is being given it.
    pub has_grown: bool,
    pub created_at: i64,
}

crate::no_relations!();

impl Model {
    /// Whether its VM boots from it.
    pub fn is_root(&self) -> bool {
        self.kind == ROOT
    }
}

/// What a list of volumes is narrowed by.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub account: Option<AccountId>,
    pub state: Option<VolumeState>,
    pub vm: Option<VmId>,
}

/// A page of volumes.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(db: &impl Reader, filter: &Filter, page: &PageOf) -> Result<Vec<Model>, DbError> {
    let which = Condition::all()
        .add_option(filter.account.map(|account| Column::AccountId.eq(Col(account))))
        .add_option(filter.state.map(|state| Column::State.eq(JsonCol(state))))
        .add_option(filter.vm.map(|vm| Column::VmId.eq(Col(vm))));
    Ok(page.of(Entity::find().filter(which), Column::Id, Some(Column::Name)).fetch(db).await?)
}

/// The volumes of some VMs: the root volume of each first, the others in the order in which they were attached.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_vms(db: &impl Reader, vms: &[Col<VmId>]) -> Result<Vec<Model>, DbError> {
    let mut rows = Entity::find()
        .filter(Column::VmId.is_in(vms.iter().copied()))
        .order_by_asc(Column::AttachedAt)
        .order_by_asc(Column::Id)
        .fetch(db)
        .await?;
    rows.sort_by_key(|row| !row.is_root());
    Ok(rows)
}

/// Volumes that belong to a VM of another account than their own. There is no way to come to one.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_strangers(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    let owner = crate::vm::Entity::find()
        .select_only()
        .column(crate::vm::Column::Id)
        .filter(
            Expr::col((crate::vm::Entity, crate::vm::Column::AccountId)).equals((Entity, Column::AccountId)),
        )
        .into_query();
    let strange =
        Entity::find().filter(Column::VmId.is_not_null()).filter(Column::VmId.not_in_subquery(owner));
    Ok(strange.fetch(db).await?)
}

/// The volumes of a pool.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_pool(db: &impl Reader, pool: PoolId) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::PoolId.eq(Col(pool))).fetch(db).await?)
}

/// Volumes that are on their way to another state, with no operation on them that has not ended. Root volumes are made and
/// destroyed by their VM's operations.
///
/// # Errors
/// When the database cannot be read.
pub async fn passing_without_operation(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    let passing = [VolumeState::Creating, VolumeState::Deleting].map(JsonCol);
    let made_or_destroyed = Condition::all().add(Column::State.is_in(passing)).add(Column::Kind.eq(DATA));
    let resizing = Column::State.eq(JsonCol(VolumeState::Resizing));
    Ok(Entity::find()
        .filter(Condition::any().add(made_or_destroyed).add(resizing))
        .filter(Column::Id.not_in_subquery(crate::operation::open_subjects()))
        .limit(1000)
        .fetch(db)
        .await?)
}

/// The VMs that have volumes in these stages of coming and going, as a subquery.
pub(crate) fn vms_with(stages: [JsonCol<Attachment>; 2]) -> SelectStatement {
    let vms = Entity::find().select_only().column(Column::VmId);
    let passing = not_attached(Column::Attachment).and(Column::Attachment.is_in(stages));
    vms.filter(Column::VmId.is_not_null()).filter(passing).into_query()
}

impl Tx {
    /// Adds a volume.
    ///
    /// # Errors
    /// [`DbError::Taken`] when its account has one with that name.
    pub async fn volume_create(&self, row: Model) -> Result<(), DbError> {
        self.volume_changed(&row);
        self.draft.volume(&row);
        self.insert::<Entity>(row)
    }

    /// Writes a volume as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn volume_update(&self, row: Model) -> Result<(), DbError> {
        self.volume_changed(&row);
        self.draft.volume(&row);
        self.update::<Entity>(row)
    }

    /// Removes a volume; its name is free again.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn volume_delete(&self, row: &Model) -> Result<(), DbError> {
        self.volume_changed(row);
        self.draft.no_volume(row.id.0);
        Entity::delete_by_id(row.id).exec(self.reader()).await?;
        Ok(())
    }

    /// A VM is shown with its volumes, so it has changed too.
    fn volume_changed(&self, row: &Model) {
        self.changed("volume", row.id.0, Some(row.account_id.0));
        if let Some(vm) = row.vm_id {
            self.changed("vm", vm.0, Some(row.account_id.0));
        }
    }
}
