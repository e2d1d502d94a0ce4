//! Public addresses that accounts have.

use std::net::Ipv4Addr;

use podzol_vocab::{AccountId, AddressRange, PublicIpId, ZoneId};
use sea_orm::QuerySelect;
use sea_orm::entity::prelude::*;

use crate::fetch::Fetch;
use crate::runs::Runs;
use crate::zone::PageOf;
use crate::{Col, DbError, Reader, Tx};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "public_ips")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Col<PublicIpId>,
    pub account_id: Col<AccountId>,
    pub zone_id: Col<ZoneId>,
    /// Unique in the zone.
    pub address: Col<Ipv4Addr>,
    /// Whether connections of the account's VMs come from it.
    pub is_source_nat: bool,
    pub created_at: i64,
}

crate::no_relations!(kept);

/// A page of public addresses, of one account or all. Their names are the addresses.
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
    Ok(page.of(query, Column::Id, Some(Column::Address)).fetch(db).await?)
}

/// The public addresses of an account in a zone.
///
/// # Errors
/// When the database cannot be read.
pub async fn of(db: &impl Reader, account: AccountId, zone: ZoneId) -> Result<Vec<Model>, DbError> {
    let of_account = Entity::find().filter(Column::AccountId.eq(Col(account)));
    Ok(of_account.filter(Column::ZoneId.eq(Col(zone))).fetch(db).await?)
}

/// The addresses that connections of some accounts to the outside come from, in all zones.
///
/// # Errors
/// When the database cannot be read.
pub async fn source_nats(
    db: &impl Reader,
    accounts: impl IntoIterator<Item = AccountId>,
) -> Result<Vec<Model>, DbError> {
    let of_accounts = Entity::find().filter(Column::AccountId.is_in(accounts.into_iter().map(Col)));
    Ok(of_accounts.filter(Column::IsSourceNat.eq(true)).fetch(db).await?)
}

/// The addresses that accounts have in a zone.
///
/// # Errors
/// When the database cannot be read.
pub async fn in_use(db: &impl Reader, zone: ZoneId) -> Result<Vec<Ipv4Addr>, DbError> {
    let of_zone = Entity::find().select_only().column(Column::Address).filter(Column::ZoneId.eq(Col(zone)));
    let addresses: Vec<Col<Ipv4Addr>> = of_zone.into_tuple().all(db).await?;
    Ok(addresses.into_iter().map(|address| address.0).collect())
}

/// The first address of some ranges that nobody has in a zone, and that is none of those that are held.
///
/// # Errors
/// When the database cannot be read.
pub async fn free(
    db: &impl Reader,
    zone: ZoneId,
    ranges: &[AddressRange],
    held: &[Ipv4Addr],
) -> Result<Option<Ipv4Addr>, DbError> {
    let mut taken = Runs::default();
    let others = held.iter().copied();
    in_use(db, zone).await?.into_iter().chain(others).for_each(|address| taken.insert(address.to_bits()));
    let free = |range: &AddressRange| taken.first_missing(range.first().to_bits(), range.last().to_bits());
    Ok(ranges.iter().find_map(free).map(Ipv4Addr::from_bits))
}

impl Tx {
    /// Adds a public address.
    ///
    /// # Errors
    /// [`DbError::Taken`] when somebody has it in its zone.
    pub async fn public_ip_create(&self, row: Model) -> Result<(), DbError> {
        self.changed("public-ip", row.id.0, Some(row.account_id.0));
        self.traffic_begin(&row).await?;
        self.insert::<Entity>(row)
    }

    /// Writes a public address as it is now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn public_ip_update(&self, row: Model) -> Result<(), DbError> {
        self.changed("public-ip", row.id.0, Some(row.account_id.0));
        self.update::<Entity>(row)
    }

    /// Removes a public address; anybody can get it then.
    ///
    /// # Errors
    /// [`DbError::Referred`] when a rule names it.
    pub async fn public_ip_delete(&self, row: &Model) -> Result<(), DbError> {
        self.changed("public-ip", row.id.0, Some(row.account_id.0));
        self.traffic_end_of_address(row).await?;
        Entity::delete_by_id(row.id).exec(self.reader()).await?;
        Ok(())
    }
}
