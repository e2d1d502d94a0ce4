//! Routers, and the VMs that they are.

use podzol_vocab::{AccountId, RouterId, VmId, ZoneId};
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, QueryFilter};

use crate::fetch::Fetch;
use crate::zone::PageOf;
use crate::{Col, DbError, Reader, Tx};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "routers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Col<RouterId>,
    /// Whose networks it connects. There is one in each zone.
    pub account_id: Col<AccountId>,
    pub zone_id: Col<ZoneId>,
    /// The VM that it is.
    pub vm_id: Col<VmId>,
    /// The VM that is to take its place.
    pub next_vm_id: Option<Col<VmId>>,
    /// Since when no VM needs it, in milliseconds since 1970.
    pub idle_since: Option<i64>,
    /// Why it could not be replaced.
    pub error: Option<String>,
    pub created_at: i64,
}

crate::no_relations!(kept);

/// A page of routers, of one account or all.
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
    Ok(page.of(query, Column::Id, None).fetch(db).await?)
}

/// All routers.
///
/// # Errors
/// When the database cannot be read.
pub async fn all(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().fetch(db).await?)
}

/// The routers of an account.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_account(db: &impl Reader, account: AccountId) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::AccountId.eq(Col(account))).fetch(db).await?)
}

/// The routers of some accounts.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_accounts(
    db: &impl Reader,
    accounts: impl IntoIterator<Item = AccountId>,
) -> Result<Vec<Model>, DbError> {
    let accounts: Vec<_> = accounts.into_iter().map(Col).collect();
    if accounts.is_empty() {
        return Ok(vec![]);
    }
    Ok(Entity::find().filter(Column::AccountId.is_in(accounts)).fetch(db).await?)
}

/// The router of an account in a zone.
///
/// # Errors
/// When the database cannot be read.
pub async fn of(db: &impl Reader, account: AccountId, zone: ZoneId) -> Result<Option<Model>, DbError> {
    let of_account = Entity::find().filter(Column::AccountId.eq(Col(account)));
    Ok(of_account.filter(Column::ZoneId.eq(Col(zone))).fetch_one(db).await?)
}

/// The router that a VM is, or is to be.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_vm(db: &impl Reader, vm: VmId) -> Result<Option<Model>, DbError> {
    let either = Condition::any().add(Column::VmId.eq(Col(vm))).add(Column::NextVmId.eq(Col(vm)));
    Ok(Entity::find().filter(either).fetch_one(db).await?)
}

impl Tx {
    /// Adds a router.
    ///
    /// # Errors
    /// [`DbError::Taken`] when its account has one in that zone.
    pub async fn router_create(&self, row: Model) -> Result<(), DbError> {
        self.changed("router", row.id.0, Some(row.account_id.0));
        self.insert::<Entity>(row)
    }

    /// Writes a router as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn router_update(&self, row: Model) -> Result<(), DbError> {
        self.changed("router", row.id.0, Some(row.account_id.0));
        self.update::<Entity>(row)
    }

    /// Removes a router. Its VM is removed after it.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn router_delete(&self, row: &Model) -> Result<(), DbError> {
        self.changed("router", row.id.0, Some(row.account_id.0));
        Entity::delete_by_id(row.id).exec(self.reader()).await?;
        Ok(())
    }
}
