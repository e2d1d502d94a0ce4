//! Public addresses that a router's VM may still have in force: nobody else gets them until it has let go.
//!
//! A router is told of an address that was given back within moments, and has let go when it has a generation without it in
//! force. One that does not answer may have it for long, and answer for it on the public network: what is meant for the next
//! account would come to it. The same is so for a VM whose place another one took while its host was away. So what was given
//! back is held, in the transaction that gives it back, until its router has said so or its VM is on no host any more.
//!
//! # Design notes
//! The account that had it may get it again at once: its router then has what it had. Refused: to have the address stay the
//! account's until then, as its quota and its bill would depend on a router that the account can do nothing about.

use std::net::Ipv4Addr;

use podzol_mgmt_api::doctor::Finding;
use podzol_mgmt_api::public_ip::HeldAddress;
use podzol_mgmt_api::{Page, PageQuery, Timestamp};
use podzol_mgmt_db::{Tx, find, held, now, public_ip, router, vm};
use podzol_vocab::{AddressRange, Generation, PublicIpId, RouterId};

use crate::{Actor, App, AppError, view};

impl App {
    /// Holds an address that is given back for the router that may have it in force.
    pub(crate) async fn address_held(&self, tx: &Tx, row: &public_ip::Model) -> Result<(), AppError> {
        let Some(router) = router::of(tx.reader(), row.account_id.0, row.zone_id.0).await? else {
            return Ok(());
        };
        let found = find::<vm::Entity>(tx.reader(), router.vm_id).await?;
        let Some(vm) = found.filter(|vm| vm.host_id.is_some()) else { return Ok(()) };
        // A router that was told something by a newer state of this database is ahead of it.
        let ahead = self.here.routers.get(vm.id.0).and_then(|known| known.heard().wanted);
        let after = ahead.map_or(0, |wanted| wanted.next().0 as i64);
        let generation = Some(tx.next_change().max(after));
        Ok(tx.addresses_hold(vec![held_by(row, router.id.0, &vm, generation)]).await?)
    }

    /// Holds all addresses of a router for a VM of it that is told nothing any more.
    pub(super) async fn addresses_held_for(&self, tx: &Tx, vm: &vm::Model) -> Result<(), AppError> {
        if vm.host_id.is_none() {
            return Ok(());
        }
        let Some(router) = router::of_vm(tx.reader(), vm.id.0).await? else { return Ok(()) };
        // Of what was given back before, it may not have been told either.
        let before = held::of_vm(tx.reader(), vm.id.0).await?;
        tx.addresses_let_go(&before).await?;
        let own = public_ip::of(tx.reader(), router.account_id.0, router.zone_id.0).await?;
        let mut rows: Vec<_> = own.iter().map(|row| held_by(row, router.id.0, vm, None)).collect();
        rows.extend(before.into_iter().map(|row| held::Model { generation: None, ..row }));
        Ok(tx.addresses_hold(rows).await?)
    }

    /// Lets go of what routers do not have any more.
    pub(super) async fn let_go_of_addresses(&self) -> Result<(), AppError> {
        let held = held::all(self.db.reader()).await?;
        let there = held::still_there(self.db.reader(), &held).await?;
        let is_over = |row: &held::Model| !there.contains(&row.vm_id.0) || self.has_let_go(row);
        let over: Vec<held::Model> = held.into_iter().filter(is_over).collect();
        self.hold_no_more(over).await
    }

    /// Lets go of what a router's VM was just told that it has no more, and has put in force.
    pub(super) async fn let_go_by(
        &self,
        vm: podzol_vocab::VmId,
        in_force: Option<Generation>,
        has: impl Fn(Ipv4Addr) -> bool,
    ) -> Result<(), AppError> {
        let mut held = held::of_vm(self.db.reader(), vm).await?;
        held.retain(|row| is_past(row, in_force) && !has(row.address.0));
        self.hold_no_more(held).await
    }

    async fn hold_no_more(&self, over: Vec<held::Model>) -> Result<(), AppError> {
        if over.is_empty() {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        tx.addresses_let_go(&over).await?;
        Ok(tx.commit().await?)
    }

    /// Whether a router that answers has let go of an address, by what it has in force.
    fn has_let_go(&self, row: &held::Model) -> bool {
        let Some(known) = self.here.routers.get(row.vm_id.0) else { return false };
        let in_force = known.heard().in_force;
        // Who is just telling it something lets go after that.
        let Ok(told) = known.told.try_lock() else { return false };
        let has = |document: &podzol_appliance_api::Document| {
            let public = document.public.as_ref();
            public.is_some_and(|public| public.addresses.contains_key(&row.address.0))
        };
        is_past(row, in_force) && told.as_ref().is_some_and(|document| !has(document))
    }

    /// The public addresses that nobody can get yet, as routers may still have them in force.
    ///
    /// # Errors
    /// When the caller is no admin, or the query is not valid.
    pub async fn public_ip_held(
        &self,
        actor: &Actor,
        query: &PageQuery,
    ) -> Result<Page<HeldAddress>, AppError> {
        actor.must_be_admin()?;
        let page = view::page_of(query)?;
        let rows = held::list(self.db.reader(), &page).await?;
        let shown = |row| self.held_shown(row);
        Ok(view::page(&page, rows.into_iter().map(shown).collect(), |held| held.id.to_string()))
    }

    /// Whether the VM for which an address is held is on a host that does not report.
    async fn is_out_of_reach(&self, row: &held::Model) -> Result<bool, AppError> {
        let found = find::<vm::Entity>(self.db.reader(), row.vm_id).await?;
        let Some(vm) = found else { return Ok(true) };
        self.is_away(self.db.reader(), &vm).await
    }

    fn held_shown(&self, row: held::Model) -> HeldAddress {
        let known = self.here.routers.get(row.vm_id.0);
        HeldAddress {
            id: row.id.0,
            address: row.address.0,
            zone: row.zone_id.0,
            account: row.account_id.0,
            router: row.router_id.0,
            vm: row.vm_id.0,
            generation: row.generation.map(|generation| Generation(generation as u64)),
            generation_in_force: known.and_then(|known| known.heard().in_force),
            held_at: Timestamp(row.held_at),
        }
    }

    /// What is said of addresses that are held for routers that there are no more.
    pub(crate) async fn diagnose_held(&self) -> Result<Vec<Finding>, AppError> {
        let db = self.db.reader();
        let held = held::all(db).await?;
        let there = held::still_there(db, &held).await?;
        let mut found = Vec::new();
        for row in held {
            let is_there = there.contains(&row.vm_id.0);
            let is_router = find::<router::Entity>(db, row.router_id).await?.is_some();
            if is_there && (is_router && row.generation.is_some() || !self.is_out_of_reach(&row).await?) {
                continue;
            }
            let (address, vm) = (row.address.0, row.vm_id.0);
            let (code, detail, cause) = match is_there {
                true => (
                    "address_held",
                    format!(
                        "nobody gets {address}, as VM {vm}, which is no router any more, may still have it"
                    ),
                    "the host of that VM has to come back and end it, or be removed",
                ),
                false => (
                    "address_held_for_nothing",
                    format!("{address} is held for VM {vm}, which is on no host"),
                    "it is let go of within seconds, or by a repair",
                ),
            };
            found.push(Finding {
                place: format!("router {}", row.router_id.0),
                code: code.into(),
                subject: row.id.to_string(),
                detail,
                cause: Some(cause.into()),
            });
        }
        Ok(found)
    }
}

/// That an account gets none of some ranges: which, and why, if nothing is left but these.
pub(crate) fn exhausted(zone: &str, ranges: &[AddressRange], held: &[held::Model]) -> AppError {
    let mut own: Vec<&held::Model> =
        held.iter().filter(|row| ranges.iter().any(|range| range.contains(row.address.0))).collect();
    own.sort_by_key(|row| row.address.0);
    own.dedup_by_key(|row| row.address.0);
    let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    let ranges = ranges.join(", ");
    if own.is_empty() {
        let detail = format!("no public address left in zone {zone} ({ranges} all in use)");
        return AppError::Exhausted { code: "public_addresses_exhausted", detail, reasons: vec![] };
    }
    let (count, are) = match own.len() {
        1 => ("1".to_owned(), "is"),
        more => (more.to_string(), "are"),
    };
    let detail = format!(
        "no public address left in zone {zone} ({ranges}): {count} that was given back {are} still being let go of by the \
         routers that had them; try again later",
    )
    .replace("that was given back are", "that were given back are");
    AppError::Exhausted { code: "public_addresses_held", detail, reasons: vec![] }
}

fn held_by(row: &public_ip::Model, router: RouterId, vm: &vm::Model, generation: Option<i64>) -> held::Model {
    held::Model {
        id: PublicIpId::new().into(),
        zone_id: row.zone_id,
        address: row.address,
        account_id: row.account_id,
        router_id: router.into(),
        vm_id: vm.id,
        generation,
        held_at: now().0,
    }
}

/// Whether a generation that is in force is past the one from which on an address is not in it.
fn is_past(row: &held::Model, in_force: Option<Generation>) -> bool {
    row.generation.zip(in_force).is_some_and(|(without, in_force)| in_force.0 as i64 >= without)
}
