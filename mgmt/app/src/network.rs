//! Networks, and the VLAN ids that isolate them.

use std::collections::BTreeSet;

use podzol_mgmt_api::account::AccountFilter;
use podzol_mgmt_api::limits::InUse;
use podzol_mgmt_api::network::{Network, NetworkCreate};
use podzol_mgmt_api::zone::VlanRange;
use podzol_mgmt_api::{Page, PageQuery};
use podzol_mgmt_db::{account, find, network, now, zone};
use podzol_vocab::NetworkId;

use crate::error::Meaning;
use crate::once::{Once, Secretive};
use crate::{Actor, App, AppError, quota, view};

impl Secretive for Network {}

impl App {
    /// Creates a network, which reserves a VLAN id of its zone.
    ///
    /// # Errors
    /// When the name is taken, there is no such zone, or no VLAN id is free.
    pub async fn network_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: NetworkCreate,
    ) -> Result<Network, AppError> {
        let account = actor.account_for(body.account)?;
        self.create(actor, once, async |tx| {
            let owner = find::<account::Entity>(tx.reader(), account).await?;
            let owner = owner.ok_or(AppError::NotFound("account"))?;
            quota::check(tx.reader(), &owner, InUse { networks: 1, ..InUse::default() }).await?;
            let zone = find::<zone::Entity>(tx.reader(), body.zone).await?;
            let zone = zone.ok_or_else(|| AppError::invalid("zone", "there is no such zone"))?;
            let in_use = network::vlans_in_use(tx.reader(), body.zone).await?;
            let row = network::Model {
                id: NetworkId::new().into(),
                account_id: account.into(),
                zone_id: body.zone.into(),
                name: body.name.clone().into(),
                cidr: body.cidr.into(),
                vlan: free_vlan(&zone, &in_use)?.into(),
                created_at: now().0,
            };
            tx.network_create(row.clone()).await.or_taken(|| AppError::taken("network", &body.name))?;
            self.record(tx, actor, "network.create", Some(account), "network", row.id.0, &body.name).await?;
            Ok(view::network(row, actor))
        })
        .await
    }

    /// The networks that the caller may see.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn network_list(
        &self,
        actor: &Actor,
        filter: &AccountFilter,
        query: &PageQuery,
    ) -> Result<Page<Network>, AppError> {
        let page = view::page_of(query)?;
        let rows = network::list(self.db.reader(), actor.scope(filter.account), &page).await?;
        let items = rows.into_iter().map(|row| view::network(row, actor)).collect();
        Ok(view::page(&page, items, |network| network.id.to_string()))
    }

    /// A network.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn network_show(&self, actor: &Actor, id: NetworkId) -> Result<Network, AppError> {
        Ok(view::network(self.network_row(actor, id).await?, actor))
    }

    /// Deletes a network without VMs, which returns its VLAN id.
    ///
    /// # Errors
    /// When a VM is in it.
    pub async fn network_delete(&self, actor: &Actor, id: NetworkId) -> Result<(), AppError> {
        let row = self.network_row(actor, id).await?;
        let tx = self.db.begin().await?;
        tx.network_delete(&row)
            .await
            .or_referred(|| AppError::in_use("there are still VMs in this network"))?;
        self.record(&tx, actor, "network.delete", Some(row.account_id.0), "network", id, &row.name).await?;
        Ok(tx.commit().await?)
    }

    async fn network_row(&self, actor: &Actor, id: NetworkId) -> Result<network::Model, AppError> {
        let row = find::<network::Entity>(self.db.reader(), id).await?;
        row.filter(|row| actor.sees(row.account_id.0)).ok_or(AppError::NotFound("network"))
    }
}

/// The lowest VLAN id of a zone that is not in use.
fn free_vlan(zone: &zone::Model, in_use: &BTreeSet<u16>) -> Result<u16, AppError> {
    let mut ids = zone.vlan_ranges.iter().flat_map(|range| range.first.get()..=range.last.get());
    ids.find(|id| !in_use.contains(id)).ok_or_else(|| {
        let ranges: Vec<String> = zone.vlan_ranges.iter().map(VlanRange::to_string).collect();
        let detail = format!("no VLAN left in zone {} ({} all in use)", zone.name.0, ranges.join(", "));
        AppError::Exhausted { code: "vlans_exhausted", detail, reasons: vec![] }
    })
}
