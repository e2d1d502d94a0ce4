//! Placement: from the database to the scheduler's view, and back.

use std::collections::HashMap;

use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_api::offering::Size;
use podzol_mgmt_db::{Reader, find, pool, server, vm, volume};
use podzol_mgmt_scheduler::{Host, Pool, Reason, Request};
use podzol_vocab::{ByteSize, HostId, ZoneId};

use crate::work::without_port;
use crate::{App, AppError};

impl App {
    /// Chooses a host of a zone for a VM with volumes in these pools. The room is taken by writing the host into the
    /// VM's row in the same transaction.
    pub(crate) async fn place(
        &self,
        db: &impl Reader,
        zone: ZoneId,
        size: &Size,
        pools: &[pool::Model],
    ) -> Result<HostId, AppError> {
        let hosts = self.hosts_for(db, zone, pools).await?;
        choose(hosts, size)
    }

    /// The hosts of a zone as placement sees them, for a VM with volumes in these pools.
    async fn hosts_for(
        &self,
        db: &impl Reader,
        zone: ZoneId,
        pools: &[pool::Model],
    ) -> Result<Vec<Host>, AppError> {
        let taken: HashMap<HostId, (i64, i64)> = vm::allocated(db, Some(zone))
            .await?
            .into_iter()
            .map(|(host, vcpus, memory, _)| (host, (vcpus, memory)))
            .collect();
        let hosts = server::hosts_of_zone(db, zone).await?;
        let view = |row: &server::Model| {
            let (vcpus, memory) = taken.get(&row.host()).copied().unwrap_or_default();
            let mut host = scheduler_view(row, vcpus, memory, self.settings.cpu_overcommit);
            if host.closed.is_none() && !reaches(row, pools) {
                host.closed = Some(Reason::NoStorage);
            }
            host
        };
        Ok(hosts.iter().map(view).collect())
    }

    /// Chooses a host for a VM that has its volumes already.
    pub(crate) async fn place_again(&self, db: &impl Reader, row: &vm::Model) -> Result<HostId, AppError> {
        self.place(db, row.zone_id.0, &row.size, &pools_of(db, row).await?).await
    }

    /// Chooses another host for a VM that runs: that one, or one that fits. Its memory can only go on where VMs run by
    /// the same means.
    pub(crate) async fn place_elsewhere(
        &self,
        db: &impl Reader,
        row: &vm::Model,
        to: Option<HostId>,
    ) -> Result<HostId, AppError> {
        let here = row.host_id.ok_or_else(|| AppError::Internal("a VM that runs has no host".into()))?.0;
        let means = |host: Option<server::Model>| host.and_then(|host| host.accelerator);
        let accelerator = means(server::host(db, here).await?);
        let mut hosts = self.hosts_for(db, row.zone_id.0, &pools_of(db, row).await?).await?;
        hosts.retain(|host| to.is_none_or(|to| to == host.id));
        for host in hosts.iter_mut().filter(|host| host.closed.is_none() || host.id == here) {
            if host.id == here {
                host.closed = Some(Reason::IsThere);
            } else if means(server::host(db, host.id).await?) != accelerator {
                host.closed = Some(Reason::OtherAccelerator);
            }
        }
        choose(hosts, &row.size)
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
    fn room_left(&self, row: &pool::Model, promised: i64) -> i64 {
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

/// Chooses one of these hosts.
fn choose(hosts: Vec<Host>, size: &Size) -> Result<HostId, AppError> {
    let request = Request { vcpus: size.vcpus, memory_mib: size.memory_mib, ..Default::default() };
    Pool::new(hosts).place(&request).map_err(|refusal| AppError::Exhausted {
        code: "no_host_fits",
        detail: "no host fits".into(),
        reasons: refusal.lines(),
    })
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

fn scheduler_view(row: &server::Model, vcpus: i64, memory_mib: i64, cpu_overcommit: u32) -> Host {
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
        vcpus_limit: row.cpus as u32 * cpu_overcommit,
        vcpus_allocated: vcpus as u32,
        memory_limit_mib: row.memory_mib as u64,
        memory_allocated_mib: memory_mib as u64,
    }
}
