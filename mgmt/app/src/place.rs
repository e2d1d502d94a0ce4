//! Placement: from the database to the scheduler's view, and back.

use std::collections::HashMap;

use podzol_mgmt_api::affinity::Policy;
use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_api::offering::Size;
use podzol_mgmt_db::{Reader, affinity, find, network, offering, pool, server, vm, volume, zone};
use podzol_mgmt_scheduler::{Host, Pool, Reason, Request};
use podzol_vocab::{AffinityGroupId, ByteSize, HostId, OfferingId, VmId, ZoneId};

use crate::work::without_port;
use crate::{App, AppError, Settings};

/// A VM that is to be placed.
pub(crate) struct Wanted<'a> {
    pub(crate) zone: ZoneId,
    pub(crate) size: &'a Size,
    /// Where its volumes are.
    pub(crate) pools: &'a [pool::Model],
    pub(crate) offering: OfferingId,
    pub(crate) group: Option<AffinityGroupId>,
    /// Whether a network of it is on a VXLAN.
    pub(crate) tunnels: bool,
    /// Itself, if it is there already: it does not keep apart from itself.
    pub(crate) vm: Option<VmId>,
}

/// The hosts of a zone as placement sees them for a VM, and what that VM asks for.
pub(crate) struct Choice {
    pub(crate) hosts: Pool,
    pub(crate) request: Request,
}

impl Choice {
    /// Chooses a host. The room is taken by writing the host into the VM's row in the same transaction.
    pub(crate) fn make(mut self) -> Result<HostId, AppError> {
        self.hosts.place(&self.request).map_err(|refusal| AppError::Exhausted {
            code: "no_host_fits",
            detail: "no host fits".into(),
            reasons: refusal.lines(),
        })
    }
}

impl App {
    /// What there is to choose from for a VM.
    pub(crate) async fn choice(&self, db: &impl Reader, wanted: &Wanted<'_>) -> Result<Choice, AppError> {
        let zone = find::<zone::Entity>(db, wanted.zone).await?;
        let offering = find::<offering::Entity>(db, wanted.offering).await?;
        let tags = offering.and_then(|offering| offering.tags).map(|tags| tags.0).unwrap_or_default();
        let mut request = Request {
            vcpus: wanted.size.vcpus,
            memory_mib: wanted.size.memory_mib,
            tags: tags.iter().map(ToString::to_string).collect(),
            spare_hosts: zone.map_or(0, |zone| zone.spare_hosts) as usize,
            ..Default::default()
        };
        if let Some(group) = wanted.group {
            let policy = find::<affinity::Entity>(db, group).await?.map(|group| group.policy.0);
            let others = vm::of_group(db, group).await?.into_iter().filter(|row| Some(row.id.0) != wanted.vm);
            let theirs = others.flat_map(|row| [row.host_id, row.moving_to]).flatten().map(|host| host.0);
            match policy {
                Some(Policy::AntiAffinity) => request.apart_from = theirs.collect(),
                Some(Policy::Affinity) => request.together_with = theirs.collect(),
                None => {}
            }
        }
        let hosts = self.hosts_for(db, wanted.zone, wanted.pools, wanted.tunnels).await?;
        Ok(Choice { hosts: Pool::new(hosts), request })
    }

    /// The hosts of a zone as placement sees them, for a VM with volumes in these pools, and with a network on a VXLAN or
    /// without.
    pub(crate) async fn hosts_for(
        &self,
        db: &impl Reader,
        zone: ZoneId,
        pools: &[pool::Model],
        tunnels: bool,
    ) -> Result<Vec<Host>, AppError> {
        let taken: HashMap<HostId, (i64, i64)> = vm::allocated(db, Some(zone))
            .await?
            .into_iter()
            .map(|(host, vcpus, memory, _)| (host, (vcpus, memory)))
            .collect();
        let hosts = server::hosts_of_zone(db, zone).await?;
        let view = |row: &server::Model| {
            let (vcpus, memory) = taken.get(&row.host()).copied().unwrap_or_default();
            let mut host = scheduler_view(row, vcpus, memory, &self.settings);
            if host.closed.is_none() && !reaches(row, pools) {
                host.closed = Some(Reason::NoStorage);
            }
            if host.closed.is_none() && tunnels && row.tunnel_address.is_none() {
                host.closed = Some(Reason::NoTunnels);
            }
            host
        };
        Ok(hosts.iter().map(view).collect())
    }

    /// What there is to choose from for a VM that has its volumes already and is to start.
    pub(crate) async fn choice_again(&self, db: &impl Reader, row: &vm::Model) -> Result<Choice, AppError> {
        let pools = pools_of(db, row).await?;
        let wanted = Wanted {
            zone: row.zone_id.0,
            size: &row.size,
            pools: &pools,
            offering: row.offering_id.0,
            group: row.group_id.map(|group| group.0),
            tunnels: !network::vxlans_of(db, [row.id.0]).await?.is_empty(),
            vm: Some(row.id.0),
        };
        self.choice(db, &wanted).await
    }

    /// Chooses a host for a VM that has its volumes already.
    pub(crate) async fn place_again(&self, db: &impl Reader, row: &vm::Model) -> Result<HostId, AppError> {
        self.choice_again(db, row).await?.make()
    }

    /// Chooses another host for a VM that runs: that one, or one that fits.
    pub(crate) async fn place_elsewhere(
        &self,
        db: &impl Reader,
        row: &vm::Model,
        to: Option<HostId>,
    ) -> Result<HostId, AppError> {
        self.choice_elsewhere(db, row, to).await?.make()
    }

    /// What there is to choose from for a VM that runs and is to move: that host, or all. Its memory can only go on where
    /// VMs run by the same means. What is kept for hosts that fail is there for it: it takes no more of the zone than
    /// before.
    pub(crate) async fn choice_elsewhere(
        &self,
        db: &impl Reader,
        row: &vm::Model,
        to: Option<HostId>,
    ) -> Result<Choice, AppError> {
        let here = row.host_id.ok_or_else(|| AppError::Internal("a VM that runs has no host".into()))?.0;
        let means = |host: Option<server::Model>| host.and_then(|host| host.accelerator);
        let accelerator = means(server::host(db, here).await?);
        let mut choice = self.choice_again(db, row).await?;
        let mut hosts: Vec<Host> = choice.hosts.hosts().cloned().collect();
        hosts.retain(|host| to.is_none_or(|to| to == host.id));
        for host in hosts.iter_mut().filter(|host| host.closed.is_none() || host.id == here) {
            if host.id == here {
                host.closed = Some(Reason::IsThere);
            } else if means(server::host(db, host.id).await?) != accelerator {
                host.closed = Some(Reason::OtherAccelerator);
            }
        }
        choice.request.spare_hosts = 0;
        choice.hosts = Pool::new(hosts);
        Ok(choice)
    }

    /// Refuses what a pool has no room for.
    pub(crate) async fn must_have_room(
        &self,
        db: &impl Reader,
        row: &pool::Model,
        bytes: i64,
    ) -> Result<(), AppError> {
        let promised: HashMap<_, _> = volume::allocated_in_pools(db).await?.into_iter().collect();
        let left = self.room_left(row, promised.get(&row.id.0).copied().unwrap_or(0));
        if left >= bytes {
            return Ok(());
        }
        let (left, needed) = (ByteSize(left.max(0) as u64), ByteSize(bytes as u64));
        let reasons = vec![format!("pool {}: {left} left, {needed} needed", row.name.0)];
        Err(AppError::Exhausted { code: "no_pool_fits", detail: "the pool is full".into(), reasons })
    }

    /// How many bytes of a pool may still be promised.
    pub(crate) fn room_left(&self, row: &pool::Model, promised: i64) -> i64 {
        row.capacity_bytes.saturating_mul(self.settings.storage_overcommit.into()) - promised
    }

    /// Chooses a pool of a zone for a new volume: the one with the most room left of what may be promised.
    pub(crate) async fn choose_pool(
        &self,
        db: &impl Reader,
        zone: ZoneId,
        bytes: i64,
    ) -> Result<pool::Model, AppError> {
        let promised: HashMap<_, _> = volume::allocated_in_pools(db).await?.into_iter().collect();
        let (mut best, mut reasons) = (None, Vec::new());
        for row in pool::ready(db, Some(zone)).await? {
            let left = self.room_left(&row, promised.get(&row.id.0).copied().unwrap_or(0));
            let server = find::<server::Entity>(db, row.storage_server_id.clone()).await?;
            let is_up = server.is_some_and(|server| server.state.0 == ServerState::Up);
            if !is_up {
                reasons.push(format!("pool {}: its storage server is disconnected", row.name.0));
            } else if left < bytes {
                let left = ByteSize(left.max(0) as u64);
                reasons.push(format!("pool {}: {left} left, {} needed", row.name.0, ByteSize(bytes as u64)));
            } else if best.as_ref().is_none_or(|(most, _)| left > *most) {
                best = Some((left, row));
            }
        }
        if reasons.is_empty() {
            reasons.push("there is no pool in this zone that is ready".into());
        }
        let none = || AppError::Exhausted { code: "no_pool_fits", detail: "no pool fits".into(), reasons };
        best.map(|(_, row)| row).ok_or_else(none)
    }
}

/// The pools with the volumes of a VM.
async fn pools_of(db: &impl Reader, row: &vm::Model) -> Result<Vec<pool::Model>, AppError> {
    let mut pools = Vec::new();
    for volume in volume::of_vms(db, &[row.id]).await? {
        pools.extend(find::<pool::Entity>(db, volume.pool_id).await?);
    }
    Ok(pools)
}

/// Whether pools are exported to a host.
fn reaches(host: &server::Model, pools: &[pool::Model]) -> bool {
    let address = host.address.as_deref().map(without_port);
    address.is_some_and(|address| pools.iter().all(|pool| pool.exported_to.iter().any(|to| to == address)))
}

fn scheduler_view(row: &server::Model, vcpus: i64, memory_mib: i64, settings: &Settings) -> Host {
    Host {
        id: row.host(),
        name: row.name.to_string(),
        closed: match row.state.0 {
            ServerState::Up if row.accelerator.is_none() => Some(Reason::NoHypervisor),
            ServerState::Up => None,
            ServerState::Joining => Some(Reason::Joining),
            ServerState::Maintenance => Some(Reason::Maintenance),
            ServerState::Disconnected | ServerState::Removed => Some(Reason::Disconnected),
        },
        vcpus_limit: row.cpus as u32 * settings.cpu_overcommit,
        vcpus_allocated: vcpus as u32,
        memory_limit_mib: row.memory_mib as u64 * u64::from(settings.memory_overcommit_percent) / 100,
        memory_allocated_mib: memory_mib as u64,
        tags: row.tags.iter().flat_map(|tags| &tags.0).map(ToString::to_string).collect(),
    }
}
