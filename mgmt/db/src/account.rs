//! Accounts, users and API keys.

use podzol_mgmt_api::account::Role;
use podzol_mgmt_api::limits::{InUse, Limits, Quotas};
use podzol_vocab::{AccountId, KeyId, Name, UserId};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::ExprTrait;
use sea_orm::{FromQueryResult, QueryFilter, QuerySelect, QueryTrait};

use crate::console::session;
use crate::fetch::Fetch;
use crate::{Col, DbError, JsonCol, Reader, Tx, network, public_ip, vm, volume, zone::PageOf};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "accounts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Col<AccountId>,
    pub name: Col<Name>,
    pub limits: Option<JsonCol<Limits>>,
    pub quotas: Option<JsonCol<Quotas>>,
    pub created_at: i64,
}

crate::no_relations!(kept);

/// Users.
pub mod user {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "users")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Col<UserId>,
        pub account_id: Col<AccountId>,
        pub name: Col<Name>,
        pub is_admin: bool,
        pub created_at: i64,
    }

    crate::no_relations!(kept);

    impl Model {
        /// What the user may do.
        pub fn role(&self) -> Role {
            if self.is_admin { Role::Admin } else { Role::Customer }
        }
    }
}

/// API keys.
pub mod key {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "keys")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Col<KeyId>,
        pub account_id: Col<AccountId>,
        pub user_id: Col<UserId>,
        pub name: Col<Name>,
        /// SHA-256 of the secret part. The secret is 32 random bytes, so a slow hash would add nothing.
        pub hash: Vec<u8>,
        pub created_at: i64,
    }

    crate::no_relations!(kept);
}

/// A key with its user, for authentication.
///
/// # Errors
/// When the database cannot be read.
pub async fn key_with_user(
    db: &impl Reader,
    id: KeyId,
) -> Result<Option<(key::Model, user::Model)>, DbError> {
    let Some(key) = crate::find::<key::Entity>(db, Col(id)).await? else { return Ok(None) };
    let user = crate::find::<user::Entity>(db, key.user_id).await?;
    Ok(user.map(|user| (key, user)))
}

/// What an account has: the sum of its rows, so that it cannot differ from them.
///
/// # Errors
/// When the database cannot be read.
pub async fn in_use(db: &impl Reader, account: AccountId) -> Result<InUse, DbError> {
    let own = vm::Column::AccountId.eq(Col(account));
    #[derive(Default, FromQueryResult)]
    struct OfVms {
        vms: i64,
        vcpus: i64,
        memory_mib: i64,
    }
    let of_vms = vm::Entity::find()
        .select_only()
        .column_as(vm::Column::Vcpus.count(), "vms")
        .column_as(vm::Column::Vcpus.sum().if_null(0), "vcpus")
        .column_as(vm::Column::MemoryMib.sum().if_null(0), "memory_mib")
        .filter(own.clone())
        .into_model::<OfVms>()
        .one(db)
        .await?
        .unwrap_or_default();
    #[derive(Default, FromQueryResult)]
    struct OfVolumes {
        volumes: i64,
        bytes: i64,
    }
    let of_volumes = volume::Entity::find()
        .select_only()
        .column_as(volume::Column::SizeBytes.count(), "volumes")
        .column_as(volume::Column::SizeBytes.sum().if_null(0), "bytes")
        .filter(volume::Column::AccountId.eq(Col(account)))
        .into_model::<OfVolumes>()
        .one(db)
        .await?
        .unwrap_or_default();
    let networks = network::Entity::find()
        .filter(network::Column::AccountId.eq(Col(account)))
        .filter(network::Column::DeletedAt.is_null())
        .count(db)
        .await?;
    let vms_of = vm::Entity::find().select_only().column(vm::Column::Id).filter(own).into_query();
    let addresses =
        vm::nic::Entity::find().filter(vm::nic::Column::VmId.in_subquery(vms_of)).count(db).await?;
    let public_ips = public_ip::Entity::find()
        .filter(public_ip::Column::AccountId.eq(Col(account)))
        .filter(public_ip::Column::IsSourceNat.eq(false))
        .count(db)
        .await?;
    let console_sessions =
        session::Entity::find().filter(session::Column::AccountId.eq(Col(account))).count(db).await?;
    Ok(InUse {
        vms: of_vms.vms as u64,
        vcpus: of_vms.vcpus as u64,
        memory_mib: of_vms.memory_mib as u64,
        volumes: of_volumes.volumes as u64,
        storage_bytes: of_volumes.bytes as u64,
        networks,
        addresses,
        public_ips,
        console_sessions,
    })
}

/// The account with that name.
///
/// # Errors
/// When the database cannot be read.
pub async fn named(db: &impl Reader, name: &str) -> Result<Option<Model>, DbError> {
    Ok(Entity::find().filter(Column::Name.eq(name)).fetch_one(db).await?)
}

/// Whether there is any user yet.
///
/// # Errors
/// When the database cannot be read.
pub async fn any_user(db: &impl Reader) -> Result<bool, DbError> {
    Ok(user::Entity::find().fetch_one(db).await?.is_some())
}

/// A page of accounts.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(db: &impl Reader, only: Option<AccountId>, page: &PageOf) -> Result<Vec<Model>, DbError> {
    let mut query = Entity::find();
    if let Some(only) = only {
        query = query.filter(Column::Id.eq(Col(only)));
    }
    Ok(page.of(query, Column::Id, Some(Column::Name)).fetch(db).await?)
}

/// A page of users, of one account or all.
///
/// # Errors
/// When the database cannot be read.
pub async fn user_list(
    db: &impl Reader,
    account: Option<AccountId>,
    page: &PageOf,
) -> Result<Vec<user::Model>, DbError> {
    let mut query = user::Entity::find();
    if let Some(account) = account {
        query = query.filter(user::Column::AccountId.eq(Col(account)));
    }
    Ok(page.of(query, user::Column::Id, Some(user::Column::Name)).fetch(db).await?)
}

/// A page of keys, of one account or all.
///
/// # Errors
/// When the database cannot be read.
pub async fn key_list(
    db: &impl Reader,
    account: Option<AccountId>,
    page: &PageOf,
) -> Result<Vec<key::Model>, DbError> {
    let mut query = key::Entity::find();
    if let Some(account) = account {
        query = query.filter(key::Column::AccountId.eq(Col(account)));
    }
    Ok(page.of(query, key::Column::Id, Some(key::Column::Name)).fetch(db).await?)
}

impl Tx {
    /// Writes an account as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn account_update(&self, row: Model) -> Result<(), DbError> {
        self.changed("account", row.id.0, Some(row.id.0));
        self.update::<Entity>(row)
    }

    /// Adds an account.
    ///
    /// # Errors
    /// [`DbError::Taken`] when there is one with that name.
    pub async fn account_create(&self, row: Model) -> Result<(), DbError> {
        self.changed("account", row.id.0, Some(row.id.0));
        self.insert::<Entity>(row)
    }

    /// Removes an account.
    ///
    /// # Errors
    /// [`DbError::Referred`] when something belongs to it.
    pub async fn account_delete(&self, id: AccountId) -> Result<(), DbError> {
        self.changed("account", id, Some(id));
        Entity::delete_by_id(Col(id)).exec(self.reader()).await?;
        Ok(())
    }

    /// Adds a user.
    ///
    /// # Errors
    /// [`DbError::Taken`] when its account has one with that name.
    pub async fn user_create(&self, row: user::Model) -> Result<(), DbError> {
        self.changed("user", row.id.0, Some(row.account_id.0));
        self.insert::<user::Entity>(row)
    }

    /// Removes a user with its keys and its console sessions.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn user_delete(&self, row: &user::Model) -> Result<(), DbError> {
        self.changed("user", row.id.0, Some(row.account_id.0));
        let keys = key::Entity::find().filter(key::Column::UserId.eq(row.id)).fetch(self.reader()).await?;
        keys.iter().for_each(|key| self.writes(key.id));
        self.console_sessions_end_of_user(row.id.0).await?;
        key::Entity::delete_many().filter(key::Column::UserId.eq(row.id)).exec(self.reader()).await?;
        user::Entity::delete_by_id(row.id).exec(self.reader()).await?;
        Ok(())
    }

    /// Adds a key.
    ///
    /// # Errors
    /// [`DbError::Taken`] when its user has one with that name.
    pub async fn key_create(&self, row: key::Model) -> Result<(), DbError> {
        self.changed("key", row.id.0, Some(row.account_id.0));
        self.insert::<key::Entity>(row)
    }

    /// Removes a key with the console sessions that were opened with it.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn key_delete(&self, row: &key::Model) -> Result<(), DbError> {
        self.changed("key", row.id.0, Some(row.account_id.0));
        self.console_sessions_end_of_key(row.id.0).await?;
        key::Entity::delete_by_id(row.id).exec(self.reader()).await?;
        Ok(())
    }
}
