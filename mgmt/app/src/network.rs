//! Networks, and the VLANs and VXLANs that isolate them.

use std::collections::BTreeSet;

use podzol_mgmt_api::account::AccountFilter;
use podzol_mgmt_api::limits::InUse;
use podzol_mgmt_api::network::{Isolation, Network, NetworkCreate};
use podzol_mgmt_api::zone::{IdRange, RangeId};
use podzol_mgmt_api::{Page, PageQuery};
use podzol_mgmt_db::{account, find, network, now, zone};
use podzol_vocab::{NetworkId, Tag};

use crate::error::Meaning;
use crate::once::{Once, Secretive};
use crate::{Actor, App, AppError, quota, view};

impl Secretive for Network {}

impl App {
    /// Creates a network, which reserves a VLAN or VXLAN id of its zone.
    ///
    /// # Errors
    /// When the name is taken, there is no such zone, no id is free, or a customer chooses what isolates it.
    pub async fn network_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: NetworkCreate,
    ) -> Result<Network, AppError> {
        let account = actor.account_for(body.account)?;
        if body.isolation.is_some() && !actor.is_admin() {
            return Err(AppError::Forbidden("isolation: only admins choose".into()));
        }
        self.create(actor, once, async |tx| {
            let owner = find::<account::Entity>(tx.reader(), account).await?;
            let owner = owner.ok_or(AppError::NotFound("account"))?;
            quota::check(tx.reader(), &owner, InUse { networks: 1, ..InUse::default() }).await?;
            let zone = find::<zone::Entity>(tx.reader(), body.zone).await?;
            let zone = zone.ok_or_else(|| AppError::invalid("zone", "there is no such zone"))?;
            let in_use = network::tags_in_use(tx.reader(), body.zone).await?;
            let row = network::Model {
                id: NetworkId::new().into(),
                account_id: account.into(),
                zone_id: body.zone.into(),
                name: body.name.clone().into(),
                cidr: body.cidr.into(),
                vlan: u32::from(free_tag(&zone, body.isolation, &in_use)?).into(),
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

    /// Deletes a network without VMs, which returns its VLAN or VXLAN id.
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

/// The lowest tag of a zone that is not in use: a VLAN's before a VXLAN's, unless one kind was chosen.
fn free_tag(
    zone: &zone::Model,
    isolation: Option<Isolation>,
    in_use: &BTreeSet<Tag>,
) -> Result<Tag, AppError> {
    let of = |kind| isolation.is_none_or(|isolation| isolation == kind);
    let vlans: &[_] = if of(Isolation::Vlan) { &zone.vlan_ranges } else { &[] };
    let vxlans = zone.vxlan_ranges.iter().flat_map(|ranges| &ranges.0).filter(|_| of(Isolation::Vxlan));
    let vxlans: Vec<_> = vxlans.copied().collect();
    let free = |tag: &Tag| !in_use.contains(tag);
    let vlan = vlans.iter().flat_map(|range| range.tags()).find(free);
    if let Some(tag) = vlan.or_else(|| vxlans.iter().flat_map(|range| range.tags()).find(free)) {
        return Ok(tag);
    }
    let kinds = [("VLAN", words(vlans)), ("VXLAN", words(&vxlans))];
    let kinds = kinds.into_iter().filter(|(_, ranges)| !ranges.is_empty());
    let (kinds, ranges): (Vec<_>, Vec<_>) = kinds.unzip();
    if kinds.is_empty() {
        let rule = format!("zone {} has no ids of that kind", zone.name.0);
        return Err(AppError::invalid("isolation", rule));
    }
    let (kinds, ranges) = (kinds.join(" or "), ranges.join(", "));
    let detail = format!("no {kinds} left in zone {} ({ranges} all in use)", zone.name.0);
    Err(AppError::Exhausted { code: "vlans_exhausted", detail, reasons: vec![] })
}

fn words<T: RangeId>(ranges: &[IdRange<T>]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
