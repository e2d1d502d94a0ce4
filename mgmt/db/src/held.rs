//! Public addresses that were given back, or moved to another VM, while a router's VM may still have them in force.
//!
//! ```text
//!   given back -> held: nobody else gets it -> its router has a generation without it in force ─┐
//!   another VM took its router's place, and the old one may still run -> held ─ that is gone ───┴─> anybody's
//! ```
//! A row holds as long as its VM is on a host. So one that nobody has removed yet holds nothing once the VM is gone.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use podzol_vocab::{AccountId, PublicIpId, RouterId, VmId, ZoneId};
use sea_orm::entity::prelude::*;

use crate::fetch::Fetch;
use crate::zone::PageOf;
use crate::{Col, DbError, Reader, SOUGHT_AT_ONCE, Tx, vm};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "held_addresses")]
pub struct Model {
    /// Of its own: an address may be held for several VMs.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Col<PublicIpId>,
    pub zone_id: Col<ZoneId>,
    pub address: Col<Ipv4Addr>,
    /// Which had it, and may get it again.
    pub account_id: Col<AccountId>,
    pub router_id: Col<RouterId>,
    /// The router's VM that may have it in force.
    pub vm_id: Col<VmId>,
    /// The first generation without it; none if that VM is told nothing any more, and has it until it is gone.
    pub generation: Option<i64>,
    pub held_at: i64,
}

crate::no_relations!();

/// A page of held addresses.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(db: &impl Reader, page: &PageOf) -> Result<Vec<Model>, DbError> {
    Ok(page.of(Entity::find(), Column::Id, Some(Column::Address)).fetch(db).await?)
}

/// All held addresses.
///
/// # Errors
/// When the database cannot be read.
pub async fn all(db: &impl Reader) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().fetch(db).await?)
}

/// The addresses that a router's VM may still have.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_vm(db: &impl Reader, vm: VmId) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::VmId.eq(Col(vm))).fetch(db).await?)
}

/// The addresses of a zone that are held for VMs that are on a host.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_zone(db: &impl Reader, zone: ZoneId) -> Result<Vec<Model>, DbError> {
    let held = Entity::find().filter(Column::ZoneId.eq(Col(zone))).fetch(db).await?;
    let there = still_there(db, &held).await?;
    Ok(held.into_iter().filter(|row| there.contains(&row.vm_id.0)).collect())
}

/// Those of the VMs for which addresses are held that are on a host.
///
/// # Errors
/// When the database cannot be read.
pub async fn still_there(db: &impl Reader, held: &[Model]) -> Result<HashSet<VmId>, DbError> {
    let vms: HashSet<VmId> = held.iter().map(|row| row.vm_id.0).collect();
    let vms: Vec<VmId> = vms.into_iter().collect();
    let mut there = HashSet::new();
    for some in vms.chunks(SOUGHT_AT_ONCE) {
        let found = vm::by_ids(db, some.iter().copied()).await?;
        there.extend(found.into_iter().filter(|vm| vm.host_id.is_some()).map(|vm| vm.id.0));
    }
    Ok(there)
}

impl Tx {
    /// Holds addresses.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn addresses_hold(&self, rows: Vec<Model>) -> Result<(), DbError> {
        self.insert_all::<Entity>(rows)
    }

    /// Holds some no longer. Says how many there were.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn addresses_let_go(&self, rows: &[Model]) -> Result<u64, DbError> {
        let mut gone = 0;
        for some in rows.chunks(SOUGHT_AT_ONCE) {
            let those = Entity::delete_many().filter(Column::Id.is_in(some.iter().map(|row| row.id)));
            gone += those.exec(self.reader()).await?.rows_affected;
        }
        Ok(gone)
    }
}
