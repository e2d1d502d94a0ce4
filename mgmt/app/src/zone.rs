//! Zones and pods.

mod traffic;

use std::collections::BTreeSet;

use podzol_mgmt_api::zone::{IdRange, Pod, PodCreate, RangeId, Routes6, Zone, ZoneCreate, ZoneUpdate};
use podzol_mgmt_api::{Page, PageQuery};
use podzol_mgmt_db::{find, network, now, vm, zone};
use podzol_vocab::{PodId, Tag, ZoneId};

use crate::error::Meaning;
use crate::once::{Once, Secretive};
use crate::{Actor, App, AppError, limits, view, zone6};

/// The most hosts for which a zone keeps room.
const MOST_SPARE_HOSTS: u32 = 16;

pub(crate) use traffic::must_be_apart;

impl Secretive for Zone {}
impl Secretive for Pod {}

impl App {
    /// Creates a zone.
    ///
    /// # Errors
    /// When the caller is no admin, the name is taken, ranges overlap, or there are none.
    pub async fn zone_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: ZoneCreate,
    ) -> Result<Zone, AppError> {
        actor.must_be_admin()?;
        let vlan_ranges = ordered("vlan_ranges", body.vlan_ranges)?;
        let vxlan_ranges = ordered("vxlan_ranges", body.vxlan_ranges)?;
        must_have_some(vlan_ranges.len() + vxlan_ranges.len())?;
        self.create(actor, once, async |tx| {
            let row = zone::Model {
                id: ZoneId::new().into(),
                name: body.name.clone().into(),
                vlan_ranges: vlan_ranges.into(),
                vxlan_ranges: Some(vxlan_ranges.into()),
                limits: None,
                spare_hosts: 0,
                created_at: now().0,
                management: None,
                public: None,
            };
            tx.zone_create(row.clone()).await.or_taken(|| AppError::taken("zone", &body.name))?;
            self.record(tx, actor, "zone.create", None, "zone", row.id.0, &body.name).await?;
            Ok(view::zone(row, actor))
        })
        .await
    }

    /// The zones.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn zone_list(&self, actor: &Actor, query: &PageQuery) -> Result<Page<Zone>, AppError> {
        let page = view::page_of(query)?;
        let rows = zone::list(self.db.reader(), &page).await?;
        Ok(view::page(&page, rows.into_iter().map(|row| view::zone(row, actor)).collect(), |zone| {
            zone.id.to_string()
        }))
    }

    /// A zone.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none.
    pub async fn zone_show(&self, actor: &Actor, id: ZoneId) -> Result<Zone, AppError> {
        let row = find::<zone::Entity>(self.db.reader(), id).await?;
        Ok(view::zone(row.ok_or(AppError::NotFound("zone"))?, actor))
    }

    /// Changes a zone: limits of its VMs, ids for its networks, spare hosts, the networks of its own.
    ///
    /// # Errors
    /// When the caller is no admin, a number is out of its range, or something has an id or an address that would not be its
    /// zone's any more.
    pub async fn zone_update(&self, actor: &Actor, id: ZoneId, body: ZoneUpdate) -> Result<Zone, AppError> {
        actor.must_be_admin()?;
        body.limits.as_ref().map_or(Ok(()), limits::check)?;
        if body.spare_hosts.is_some_and(|hosts| hosts > MOST_SPARE_HOSTS) {
            return Err(AppError::invalid("spare_hosts", format!("must be 0 to {MOST_SPARE_HOSTS}")));
        }
        let tx = self.db.begin().await?;
        let mut row = find::<zone::Entity>(tx.reader(), id).await?.ok_or(AppError::NotFound("zone"))?;
        if let Some(limits) = body.limits {
            row.limits = Some(limits.into());
            tx.vm_limits_changed(vm::LimitsOf::Zone(id)).await?;
        }
        if let Some(ranges) = body.vlan_ranges {
            row.vlan_ranges = ordered("vlan_ranges", ranges)?.into();
        }
        if let Some(ranges) = body.vxlan_ranges {
            row.vxlan_ranges = Some(ordered("vxlan_ranges", ranges)?.into());
        }
        must_keep(&row, &network::tags_in_use(tx.reader(), id).await?)?;
        if body.management.is_some() || body.public.is_some() {
            let before = row.public.clone();
            row.management = body.management.map(Into::into).or(row.management);
            row.public = body.public.map(Into::into).or(row.public);
            self.set_traffic(&tx, &row, before.as_ref().map(|public| &public.0)).await?;
        }
        row.spare_hosts = body.spare_hosts.map_or(row.spare_hosts, i64::from);
        tx.zone_update(row.clone()).await?;
        self.record(&tx, actor, "zone.update", None, "zone", id, &row.name.0).await?;
        tx.commit().await?;
        Ok(view::zone(row, actor))
    }

    /// The routes that the gateway of a zone's public network needs for IPv6.
    ///
    /// # Errors
    /// When the caller is no admin, or the zone has no IPv6.
    pub async fn zone_routes6(&self, actor: &Actor, id: ZoneId) -> Result<Routes6, AppError> {
        actor.must_be_admin()?;
        let row = find::<zone::Entity>(self.db.reader(), id).await?.ok_or(AppError::NotFound("zone"))?;
        let ipv6 = row.public.and_then(|public| public.0.ipv6).ok_or(AppError::NotFound("IPv6 prefix"))?;
        let (count, routes) = (zone6::slots(&ipv6), zone6::routes(&ipv6));
        Ok(Routes6 { prefix: ipv6.prefix, count, routes })
    }

    /// Deletes an empty zone.
    ///
    /// # Errors
    /// When something is in it.
    pub async fn zone_delete(&self, actor: &Actor, id: ZoneId) -> Result<(), AppError> {
        actor.must_be_admin()?;
        let zone = self.zone_show(actor, id).await?;
        let tx = self.db.begin().await?;
        let in_use = || AppError::in_use("pods, networks, VMs or public addresses are still in it");
        traffic::forget_traffic(&tx, id).await.or_referred(in_use)?;
        tx.zone_delete(id).await.or_referred(in_use)?;
        self.record(&tx, actor, "zone.delete", None, "zone", id, &zone.name).await?;
        Ok(tx.commit().await?)
    }

    /// Creates a pod.
    ///
    /// # Errors
    /// When the caller is no admin, the name is taken, or there is no such zone.
    pub async fn pod_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: PodCreate,
    ) -> Result<Pod, AppError> {
        actor.must_be_admin()?;
        self.create(actor, once, async |tx| {
            let zone = find::<zone::Entity>(tx.reader(), body.zone).await?;
            zone.ok_or_else(|| AppError::invalid("zone", "there is no such zone"))?;
            let row = zone::pod::Model {
                id: PodId::new().into(),
                zone_id: body.zone.into(),
                name: body.name.clone().into(),
                created_at: now().0,
            };
            tx.pod_create(row.clone()).await.or_taken(|| AppError::taken("pod", &body.name))?;
            self.record(tx, actor, "pod.create", None, "pod", row.id.0, &body.name).await?;
            Ok(view::pod(row))
        })
        .await
    }

    /// The pods.
    ///
    /// # Errors
    /// When the caller is no admin.
    pub async fn pod_list(&self, actor: &Actor, query: &PageQuery) -> Result<Page<Pod>, AppError> {
        actor.must_be_admin()?;
        let page = view::page_of(query)?;
        let rows = zone::pod_list(self.db.reader(), &page).await?;
        Ok(view::page(&page, rows.into_iter().map(view::pod).collect(), |pod| pod.id.to_string()))
    }

    /// A pod.
    ///
    /// # Errors
    /// When the caller is no admin, or there is none.
    pub async fn pod_show(&self, actor: &Actor, id: PodId) -> Result<Pod, AppError> {
        actor.must_be_admin()?;
        let row = find::<zone::pod::Entity>(self.db.reader(), id).await?;
        Ok(view::pod(row.ok_or(AppError::NotFound("pod"))?))
    }

    /// Deletes an empty pod.
    ///
    /// # Errors
    /// When something is in it.
    pub async fn pod_delete(&self, actor: &Actor, id: PodId) -> Result<(), AppError> {
        let pod = self.pod_show(actor, id).await?;
        let tx = self.db.begin().await?;
        tx.pod_delete(id)
            .await
            .or_referred(|| AppError::in_use("hosts or storage servers are in it, or were"))?;
        self.record(&tx, actor, "pod.delete", None, "pod", id, &pod.name).await?;
        Ok(tx.commit().await?)
    }
}

/// Ranges in order, if no two overlap.
fn ordered<T: RangeId>(
    field: &'static str,
    mut ranges: Vec<IdRange<T>>,
) -> Result<Vec<IdRange<T>>, AppError> {
    ranges.sort();
    match ranges.windows(2).find(|pair| pair[0].last >= pair[1].first) {
        None => Ok(ranges),
        Some(pair) => {
            Err(AppError::invalid(field, format!("must not overlap, but {} and {} do", pair[0], pair[1])))
        }
    }
}

/// Refuses a zone without any range.
fn must_have_some(ranges: usize) -> Result<(), AppError> {
    if ranges > 0 {
        return Ok(());
    }
    Err(AppError::invalid("vlan_ranges", "must have at least one range, unless vxlan_ranges has one"))
}

/// Refuses a zone whose ranges leave out what its networks have, or that has none.
fn must_keep(zone: &zone::Model, in_use: &BTreeSet<Tag>) -> Result<(), AppError> {
    let vxlans = zone.vxlan_ranges.as_ref().map_or(&[][..], |ranges| &ranges.0);
    must_have_some(zone.vlan_ranges.len() + vxlans.len())?;
    let is_kept = |tag: Tag| match tag {
        Tag::Vlan(_) => zone.vlan_ranges.iter().any(|range| range.contains(tag)),
        Tag::Vxlan(_) => vxlans.iter().any(|range| range.contains(tag)),
        // It is from no range.
        Tag::Traffic(_) => true,
    };
    match in_use.iter().find(|tag| !is_kept(**tag)) {
        None => Ok(()),
        Some(tag) => {
            Err(AppError::in_use(format!("a network has {tag}, which would not be the zone's any more")))
        }
    }
}

#[cfg(test)]
mod tests {
    use podzol_mgmt_api::zone::VlanRange;

    use super::*;

    #[test]
    fn ranges_are_put_in_order_and_may_not_overlap() {
        let ranges =
            |text: &str| text.split(',').map(|range| range.parse().unwrap()).collect::<Vec<VlanRange>>();
        let ordered = |text: &str| ordered("vlan_ranges", ranges(text));
        assert_eq!(ordered("200-299,100-199").unwrap(), ranges("100-199,200-299"));
        assert!(ordered("100-200,200-299").is_err());
    }
}
