//! Placement: from the database to the scheduler's view, and back.

use std::collections::HashMap;

use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_api::offering::Size;
use podzol_mgmt_db::{Reader, find, pool, server, vm, volume};
use podzol_mgmt_scheduler::{Availability, Host, Pool, Request};
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
        let taken: HashMap<HostId, (i64, i64)> = vm::allocated(db, Some(zone))
            .await?
            .into_iter()
            .map(|(host, vcpus, memory, _)| (host, (vcpus, memory)))
            .collect();
        let hosts = server::hosts_of_zone(db, zone).await?;
        let view = |row: &server::Model| {
            let (vcpus, memory) = taken.get(&row.host()).copied().unwrap_or_default();
            let mut host = scheduler_view(row, vcpus, memory, self.settings.cpu_overcommit);
            if host.availability == Availability::Open && !reaches(row, pools) {
                host.availability = Availability::NoStorage;
            }
            host
        };
        let mut pool = Pool::new(hosts.iter().map(view));
        let request = Request { vcpus: size.vcpus, memory_mib: size.memory_mib, ..Default::default() };
        pool.place(&request).map_err(|refusal| AppError::Exhausted {
            code: "no_host_fits",
            detail: "no host fits".into(),
            reasons: refusal.lines(),
        })
    }

    /// Chooses a host for a VM that has its volumes already.
    pub(crate) async fn place_again(&self, db: &impl Reader, row: &vm::Model) -> Result<HostId, AppError> {
        let mut pools = Vec::new();
        for volume in volume::of_vms(db, &[row.id]).await? {
            pools.extend(find::<pool::Entity>(db, volume.pool_id).await?);
        }
        self.place(db, row.zone_id.0, &row.size, &pools).await
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
            let limit = row.capacity_bytes.saturating_mul(self.settings.storage_overcommit.into());
            let left = limit - promised.get(&row.id.0).copied().unwrap_or(0);
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

/// Whether pools are exported to a host.
fn reaches(host: &server::Model, pools: &[pool::Model]) -> bool {
    let address = host.address.as_deref().map(without_port);
    address.is_some_and(|address| pools.iter().all(|pool| pool.exported_to.iter().any(|to| to == address)))
}

fn scheduler_view(row: &server::Model, vcpus: i64, memory_mib: i64, cpu_overcommit: u32) -> Host {
    Host {
        id: row.host(),
        name: row.name.to_string(),
        availability: match row.state.0 {
            ServerState::Up if row.accelerator.is_none() => Availability::NoHypervisor,
            ServerState::Up => Availability::Open,
            ServerState::Joining => Availability::Joining,
            ServerState::Maintenance => Availability::Maintenance,
            ServerState::Disconnected | ServerState::Removed => Availability::Disconnected,
        },
        vcpus_limit: row.cpus as u32 * cpu_overcommit,
        vcpus_allocated: vcpus as u32,
        memory_limit_mib: row.memory_mib as u64,
        memory_allocated_mib: memory_mib as u64,
    }
}
