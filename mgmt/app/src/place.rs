//! Placement: from the database to the scheduler's view, and back.

use std::collections::HashMap;

use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_api::offering::Size;
use podzol_mgmt_db::{Reader, server, vm};
use podzol_mgmt_scheduler::{Availability, Host, Pool, Request};
use podzol_vocab::{HostId, ZoneId};

use crate::{App, AppError};

impl App {
    /// Chooses a host of a zone for a VM. The room is taken by writing the host into the VM's row in the same
    /// transaction.
    pub(crate) async fn place(
        &self,
        db: &impl Reader,
        zone: ZoneId,
        size: &Size,
    ) -> Result<HostId, AppError> {
        let taken: HashMap<HostId, (i64, i64)> = vm::allocated(db, Some(zone))
            .await?
            .into_iter()
            .map(|(host, vcpus, memory, _)| (host, (vcpus, memory)))
            .collect();
        let hosts = server::hosts_of_zone(db, zone).await?;
        let view = |row: &server::Model| {
            let (vcpus, memory) = taken.get(&row.host()).copied().unwrap_or_default();
            scheduler_view(row, vcpus, memory, self.settings.cpu_overcommit)
        };
        let mut pool = Pool::new(hosts.iter().map(view));
        let request = Request { vcpus: size.vcpus, memory_mib: size.memory_mib, ..Default::default() };
        pool.place(&request).map_err(|refusal| AppError::Exhausted {
            code: "no_host_fits",
            detail: "no host fits".into(),
            reasons: refusal.lines(),
        })
    }
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
