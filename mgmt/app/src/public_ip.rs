//! Public addresses of accounts.

use std::net::Ipv4Addr;

use podzol_mgmt_api::account::AccountFilter;
use podzol_mgmt_api::limits::InUse;
use podzol_mgmt_api::public_ip::{PublicIp, PublicIpCreate};
use podzol_mgmt_api::{Created, Page, PageQuery, Timestamp};
use podzol_mgmt_db::event::NewEvent;
use podzol_mgmt_db::{Reader, Tx, account, find, held, now, public_ip, traffic, zone};
use podzol_vocab::{AccountId, PublicIpId};

use crate::error::Meaning;
use crate::{Actor, App, AppError, Once, quota, router, view};

impl App {
    /// Gives an account a public address of a zone.
    ///
    /// # Errors
    /// When the zone has no public network, none of its addresses is left, or the account may have no more.
    pub async fn public_ip_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: PublicIpCreate,
    ) -> Result<Created<PublicIp>, AppError> {
        let account = actor.account_for(body.account)?;
        self.create(actor, once, async |tx| {
            let owner = find::<account::Entity>(tx.reader(), account).await?;
            let owner = owner.ok_or(AppError::NotFound("account"))?;
            quota::check(tx.reader(), &owner, InUse { public_ips: 1, ..InUse::default() }).await?;
            let zone = find::<zone::Entity>(tx.reader(), body.zone).await?;
            let zone = zone.ok_or_else(|| AppError::invalid("zone", "there is no such zone"))?;
            let row = self.allocate_public_ip(tx, account, &zone, false).await?;
            let operation = self.router_told(tx, account, zone.id.0).await?;
            let (id, address) = (row.id.0, row.address.0);
            self.record(tx, actor, "public-ip.create", Some(account), "public-ip", id, &address).await?;
            Ok(Created { object: shown(row), operation: view::operation(operation) })
        })
        .await
    }

    /// Gives an account the lowest public address of a zone that nobody has.
    pub(crate) async fn allocate_public_ip(
        &self,
        tx: &Tx,
        account: AccountId,
        zone: &zone::Model,
        is_source_nat: bool,
    ) -> Result<public_ip::Model, AppError> {
        let none = || AppError::invalid("zone", format!("zone {} has no public network", zone.name.0));
        let ranges = &zone.public.as_ref().ok_or_else(none)?.0.ranges;
        let held = held::of_zone(tx.reader(), zone.id.0).await?;
        let (own, held): (Vec<_>, Vec<_>) = held.into_iter().partition(|row| row.account_id.0 == account);
        let of_others: Vec<Ipv4Addr> = held.iter().map(|row| row.address.0).collect();
        let free = public_ip::free(tx.reader(), zone.id.0, ranges, &of_others).await?;
        let address = free.ok_or_else(|| router::held::exhausted(zone.name.as_str(), ranges, &held))?;
        // What its own router has not let go of, it need not any more.
        let again = own.into_iter().filter(|row| row.address.0 == address && row.generation.is_some());
        tx.addresses_let_go(&again.collect::<Vec<_>>()).await?;
        let row = public_ip::Model {
            id: PublicIpId::new().into(),
            account_id: account.into(),
            zone_id: zone.id,
            address: address.into(),
            is_source_nat,
            created_at: now().0,
        };
        tx.public_ip_create(row.clone()).await?;
        Ok(row)
    }

    /// Records what becomes of an address that a router uses and nobody has asked for.
    pub(crate) async fn source_nat_event(
        &self,
        tx: &Tx,
        action: &'static str,
        row: &public_ip::Model,
    ) -> Result<(), AppError> {
        let event = NewEvent::of_management(
            action,
            Some(row.account_id.0),
            "public-ip",
            row.id,
            format!("{}, which the account's router uses", row.address),
        );
        Ok(tx.event_create(event).await?)
    }

    /// The public addresses that the caller may see. Their names are the addresses.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn public_ip_list(
        &self,
        actor: &Actor,
        filter: &AccountFilter,
        query: &PageQuery,
    ) -> Result<Page<PublicIp>, AppError> {
        let page = view::page_of(query)?;
        let rows = public_ip::list(self.db.reader(), actor.scope(filter.account), &page).await?;
        Ok(view::page(&page, rows.into_iter().map(shown).collect(), |address| address.id.to_string()))
    }

    /// A public address.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn public_ip_show(&self, actor: &Actor, id: PublicIpId) -> Result<PublicIp, AppError> {
        let shown = shown(public_ip_row(self.db.reader(), actor, id).await?);
        let counted = traffic::of_subjects(self.db.reader(), &[id.to_string()]).await?.pop();
        Ok(PublicIp { traffic: Some(counted.map(|row| row.total.0).unwrap_or_default()), ..shown })
    }

    /// Returns a public address; anybody can get it once the account's router has let go of it.
    ///
    /// # Errors
    /// When a rule names it, or the account's router uses it.
    pub async fn public_ip_delete(
        &self,
        actor: &Actor,
        id: PublicIpId,
    ) -> Result<Created<PublicIp>, AppError> {
        let tx = self.db.begin().await?;
        let row = public_ip_row(tx.reader(), actor, id).await?;
        let (account, address) = (row.account_id.0, row.address.0);
        if row.is_source_nat
            && podzol_mgmt_db::router::of(tx.reader(), account, row.zone_id.0).await?.is_some()
        {
            return Err(AppError::in_use("the account's router uses it; it goes with that"));
        }
        let named = || AppError::in_use("rules still name it");
        tx.public_ip_delete(&row).await.or_referred(named)?;
        self.address_held(&tx, &row).await?;
        let operation = self.router_told(&tx, account, row.zone_id.0).await?;
        self.record(&tx, actor, "public-ip.delete", Some(account), "public-ip", id, &address).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(Created { object: shown(row), operation: view::operation(operation) })
    }
}

/// The row of a public address that the caller may see.
async fn public_ip_row(
    db: &impl Reader,
    actor: &Actor,
    id: PublicIpId,
) -> Result<public_ip::Model, AppError> {
    let row = find::<public_ip::Entity>(db, id).await?;
    row.filter(|row| actor.sees(row.account_id.0)).ok_or(AppError::NotFound("public-ip"))
}

fn shown(row: public_ip::Model) -> PublicIp {
    PublicIp {
        id: row.id.0,
        address: row.address.0,
        account: row.account_id.0,
        zone: row.zone_id.0,
        source_nat: row.is_source_nat,
        created_at: Timestamp(row.created_at),
        traffic: None,
    }
}
