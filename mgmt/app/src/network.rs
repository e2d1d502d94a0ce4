//! Networks, and the VLANs and VXLANs that isolate them.

use std::collections::BTreeSet;

use podzol_mgmt_api::account::AccountFilter;
use podzol_mgmt_api::limits::InUse;
use podzol_mgmt_api::network::{Isolation, Network, NetworkCreate, NetworkUpdate};
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_api::zone::{IdRange, RangeId};
use podzol_mgmt_api::{Created, Page, PageQuery};
use podzol_mgmt_db::{JsonCol, Reader, Tx, account, find, network, now, router, vm, zone};
use podzol_vocab::{AccountId, NetworkId, Tag};

use crate::error::Meaning;
use crate::once::{Once, Secretive};
use crate::router::MAX_NETWORKS;
use crate::zone::must_be_apart;
use crate::{Actor, App, AppError, quota, view, zone6};

/// Where VMs ask for what they should know of themselves.
const METADATA: std::net::Ipv4Addr = podzol_appliance_api::METADATA_ADDRESS;

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
            let has_router = has_router(&zone, body.router)?;
            if body.ipv6 && !has_router {
                return Err(AppError::invalid(
                    "ipv6",
                    "must be left out without a router, which IPv6 comes from",
                ));
            }
            if has_router {
                must_fit(tx.reader(), &zone, account, &body).await?;
            }
            let in_use = network::tags_in_use(tx.reader(), body.zone).await?;
            let prefix6 = match body.ipv6 {
                true => Some(free_prefix(tx.reader(), &zone, account).await?),
                false => None,
            };
            let row = network::Model {
                id: NetworkId::new().into(),
                account_id: account.into(),
                zone_id: body.zone.into(),
                name: body.name.clone().into(),
                cidr: body.cidr.into(),
                vlan: u32::from(free_tag(&zone, body.isolation, &in_use)?).into(),
                created_at: now().0,
                has_router,
                egress: JsonCol(body.egress),
                deleted_at: None,
                prefix6,
            };
            tx.network_create(row.clone()).await.or_taken(|| AppError::taken("network", &body.name))?;
            if body.ipv6 {
                self.router_must_know_ipv6(tx, account, body.zone).await?;
            }
            self.record(tx, actor, "network.create", Some(account), "network", row.id.0, &body.name).await?;
            self.network_view(tx.reader(), row, actor).await
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
        let items = self.network_views(self.db.reader(), rows, actor).await?;
        Ok(view::page(&page, items, |network| network.id.to_string()))
    }

    /// A network.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn network_show(&self, actor: &Actor, id: NetworkId) -> Result<Network, AppError> {
        self.network_view(self.db.reader(), self.network_row(actor, id).await?, actor).await
    }

    /// Deletes a network without VMs, which returns its VLAN or VXLAN id.
    ///
    /// # Errors
    /// When a VM is in it.
    pub async fn network_delete(&self, actor: &Actor, id: NetworkId) -> Result<(), AppError> {
        let tx = self.db.begin().await?;
        let row = find::<network::Entity>(tx.reader(), id).await?;
        let row = row.filter(|row| row.is_there() && actor.sees(row.account_id.0));
        let row = row.ok_or(AppError::NotFound("network"))?;
        if vm::of_network(tx.reader(), id).await?.iter().any(|vm| vm.role.is_none()) {
            return Err(AppError::in_use("there are still VMs in this network"));
        }
        self.network_goes(&tx, row.clone()).await?;
        self.record(&tx, actor, "network.delete", Some(row.account_id.0), "network", id, &row.name).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(())
    }

    /// Changes what the VMs of a network may send outside, and gives it IPv6.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see; or when it can have no IPv6.
    pub async fn network_update(
        &self,
        actor: &Actor,
        id: NetworkId,
        body: NetworkUpdate,
    ) -> Result<Created<Network>, AppError> {
        let tx = self.db.begin().await?;
        let row = find::<network::Entity>(tx.reader(), id).await?;
        let row = row.filter(|row| row.is_there() && actor.sees(row.account_id.0));
        let mut row = row.ok_or(AppError::NotFound("network"))?;
        if let Some(egress) = body.egress {
            row.egress = JsonCol(egress);
            tx.network_update(row.clone()).await?;
        }
        if let Some(wanted) = body.ipv6 {
            self.give_ipv6(&tx, &mut row, wanted).await?;
        }
        let (account, zone) = (row.account_id.0, row.zone_id.0);
        let operation = self.router_told(&tx, account, zone).await?;
        self.record(&tx, actor, "network.update", Some(account), "network", id, &row.name).await?;
        tx.commit().await?;
        self.wake.notify_one();
        let object = self.network_view(self.db.reader(), row, actor).await?;
        Ok(Created { object, operation: view::operation(operation) })
    }

    /// Gives a network IPv6 that has none yet. Hosts are told of its running VMs' addresses a little later, and drop what
    /// these send from them until then.
    async fn give_ipv6(&self, tx: &Tx, row: &mut network::Model, wanted: bool) -> Result<(), AppError> {
        if !wanted {
            return match row.prefix6 {
                None => Ok(()),
                Some(_) => Err(AppError::invalid("ipv6", "must not be false: the network keeps what it has")),
            };
        }
        if row.prefix6.is_some() {
            return Ok(());
        }
        if !row.has_router {
            return Err(AppError::invalid("ipv6", "must be left out of a network without a router"));
        }
        let (account, zone) = (row.account_id.0, row.zone_id.0);
        let found = find::<zone::Entity>(tx.reader(), zone).await?.ok_or(AppError::NotFound("zone"))?;
        let is_passing = |vm: &vm::Model| {
            !matches!(vm.state.0, VmState::Running | VmState::Paused | VmState::Stopped | VmState::Failed)
        };
        if vm::of_network(tx.reader(), row.id.0).await?.iter().any(is_passing) {
            // What a host is told of one of them must stay what it is until that has come true.
            let detail = "VMs in the network are on their way from one state to another; try again".into();
            return Err(AppError::Conflict { code: "network_busy", detail });
        }
        row.prefix6 = Some(free_prefix(tx.reader(), &found, account).await?);
        tx.network_update(row.clone()).await?;
        tx.vm_limits_changed(vm::LimitsOf::Network(row.id.0)).await?;
        self.router_must_know_ipv6(tx, account, zone).await
    }

    /// A network as an actor may see it.
    async fn network_view(
        &self,
        db: &impl Reader,
        row: network::Model,
        actor: &Actor,
    ) -> Result<Network, AppError> {
        let views = self.network_views(db, vec![row], actor).await?;
        views.into_iter().next().ok_or(AppError::NotFound("network"))
    }

    /// Networks as an actor may see them. Zones are kept in memory; for all routers is asked at once.
    async fn network_views(
        &self,
        db: &impl Reader,
        rows: Vec<network::Model>,
        actor: &Actor,
    ) -> Result<Vec<Network>, AppError> {
        let with_ipv6 = rows.iter().filter(|row| row.prefix6.is_some());
        let accounts: BTreeSet<_> = with_ipv6.map(|row| row.account_id.0).collect();
        let routers = router::of_accounts(db, accounts).await?;
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            let (mut prefix, mut problem) = (None, None);
            if row.prefix6.is_some() {
                let zone = find::<zone::Entity>(db, row.zone_id).await?;
                prefix = zone.and_then(|zone| zone6::prefix_in(&zone, &row));
                let place = (row.account_id, row.zone_id);
                let router = routers.iter().find(|router| (router.account_id, router.zone_id) == place);
                problem = router.and_then(|router| self.why_no_ipv6(router)).map(str::to_owned);
            }
            views.push(view::network(row, prefix, problem, actor));
        }
        Ok(views)
    }

    async fn network_row(&self, actor: &Actor, id: NetworkId) -> Result<network::Model, AppError> {
        let row = find::<network::Entity>(self.db.reader(), id).await?;
        row.filter(|row| row.is_there() && actor.sees(row.account_id.0)).ok_or(AppError::NotFound("network"))
    }
}

/// Whether a new network has a router: as asked for, or where its zone can have routers.
fn has_router(zone: &zone::Model, asked: Option<bool>) -> Result<bool, AppError> {
    let can_have = zone.of_routers().is_some();
    if asked == Some(true) && !can_have {
        let rule = format!("zone {} has no public network, so there can be none", zone.name.0);
        return Err(AppError::invalid("router", rule));
    }
    Ok(asked.unwrap_or(can_have))
}

/// Which /64 of its zone's prefix a new network of an account with IPv6 has.
async fn free_prefix(db: &impl Reader, zone: &zone::Model, account: AccountId) -> Result<i64, AppError> {
    let Some(public) = zone.public.as_ref().and_then(|public| public.0.ipv6.as_ref()) else {
        let rule = format!("must be left out: zone {} has no IPv6 prefix", zone.name.0);
        return Err(AppError::invalid("ipv6", rule));
    };
    let in_use = network::prefixes_in_use(db, zone.id.0).await?;
    zone6::free(public, account, &in_use).ok_or_else(|| {
        let (prefix, slots) = (public.prefix, zone6::slots(public));
        let detail = match in_use.iter().any(|(other, _)| *other == account) {
            true => format!("all 15 prefixes for networks of the account's part of {prefix} are taken"),
            false => format!("all {slots} parts of the zone's {prefix} are other accounts'"),
        };
        AppError::Exhausted { code: "no_prefix_left", detail, reasons: vec![] }
    })
}

/// Refuses a network that its account's router in the zone cannot serve beside the others.
async fn must_fit(
    db: &impl Reader,
    zone: &zone::Model,
    account: AccountId,
    body: &NetworkCreate,
) -> Result<(), AppError> {
    must_be_apart(zone, body.cidr)?;
    if body.cidr.net().contains(&METADATA) {
        return Err(AppError::invalid(
            "cidr",
            format!("must not hold {METADATA}, where VMs ask for their metadata"),
        ));
    }
    let others = network::with_router(db, account, zone.id.0).await?;
    if let Some(other) = others.iter().find(|other| other.cidr.0.overlaps(&body.cidr)) {
        let rule = format!("must not overlap with network {}, which has the same router", other.name.0);
        return Err(AppError::invalid("cidr", rule));
    }
    if others.len() >= MAX_NETWORKS {
        let detail = format!("the account's router in zone {} serves {MAX_NETWORKS} networks", zone.name.0);
        return Err(AppError::Exhausted { code: "router_full", detail, reasons: vec![] });
    }
    Ok(())
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
