//! Where a VM would go and why not elsewhere, and how many more of each offering fit.

use std::collections::BTreeMap;

use podzol_mgmt_api::Page;
use podzol_mgmt_api::capacity::{Candidate, Capacity, Placement};
use podzol_mgmt_db::zone::PageOf;
use podzol_mgmt_db::{Reader, offering, zone};
use podzol_mgmt_scheduler::{Host, Pool, Room};
use podzol_vocab::{ByteSize, PodId, PoolId};

use crate::place::{Choice, Needs};
use crate::{Actor, App, AppError};

/// All of a list that is short: zones, offerings.
const ALL: PageOf = PageOf { limit: 10_000, after: None, name: None };

/// Where a VM would go.
pub(crate) fn explain(choice: &Choice, pool: Option<PoolId>, actor: &Actor) -> Placement {
    let Choice { hosts, request } = choice;
    let decided = hosts.decide(request);
    let reasons = match &decided {
        Ok(_) => hosts.passed_over(request).lines(),
        Err(refusal) => refusal.lines(),
    };
    let reasons = if decided.is_ok() && hosts.hosts().all(|host| host.refuses(request).is_none()) {
        vec![]
    } else {
        reasons
    };
    let fits = decided.is_ok();
    let chosen = decided.ok();
    let mut candidates: Vec<Candidate> = hosts
        .hosts()
        .map(|host| Candidate {
            host: host.id,
            name: host.name.clone(),
            reason: host.refuses(request).map(|reason| reason.to_string()),
            memory_free_mib: host.memory_free_mib(),
            vcpus_free: host.vcpus_free(),
        })
        .collect();
    candidates.sort_by(|one, other| {
        let rank = |candidate: &Candidate| (Some(candidate.host) != chosen, candidate.reason.is_some());
        rank(one).cmp(&rank(other)).then_with(|| one.name.cmp(&other.name))
    });
    if actor.is_admin() {
        Placement { fits, reasons, host: chosen, pool, candidates }
    } else {
        Placement { fits, reasons, host: None, pool: None, candidates: vec![] }
    }
}

impl App {
    /// How many more VMs of each offering fit into each pod, and what runs out first.
    ///
    /// # Errors
    /// When the caller is no admin.
    pub async fn capacity(&self, actor: &Actor) -> Result<Page<Capacity>, AppError> {
        actor.must_be_admin()?;
        let db = self.db.reader();
        let offerings = offering::list(db, &ALL).await?;
        let mut items = Vec::new();
        for zone in zone::list(db, &ALL).await? {
            let ledger = db.ledger();
            let left = self.pools_with_room(&ledger, zone.id.0);
            let left: Vec<i64> = left.into_iter().map(|(_, left)| left).collect();
            let pods: BTreeMap<_, PodId> =
                ledger.hosts_of(zone.id.0).map(|row| (row.host(), row.pod_id.0)).collect();
            drop(ledger);
            let hosts = self.hosts_for(db, zone.id.0, Needs::default());
            let all = Pool::new(hosts.iter().cloned());
            let reserve = (zone.spare_hosts > 0).then(|| all.reserve(zone.spare_hosts as usize));
            let pods_of_zone: std::collections::BTreeSet<PodId> = pods.values().copied().collect();
            for pod in pods_of_zone {
                for offering in &offerings {
                    let tags = offering.tags.as_ref().map(|tags| &tags.0);
                    let has_tags = |host: &Host| {
                        tags.is_none_or(|tags| tags.iter().all(|tag| host.tags.contains(tag.as_str())))
                    };
                    let open = |host: &&Host| {
                        host.closed.is_none() && pods.get(&host.id) == Some(&pod) && has_tags(host)
                    };
                    let open: Vec<&Host> = hosts.iter().filter(open).collect();
                    let (fits, runs_out) = fits(&open, &left, all.free(), reserve, offering);
                    items.push(Capacity {
                        zone: zone.id.0,
                        pod,
                        offering: offering.id.0,
                        offering_name: offering.name.0.clone(),
                        fits,
                        runs_out: runs_out.into(),
                    });
                }
            }
        }
        Ok(Page { items, next: None })
    }
}

/// How many VMs of an offering fit on these hosts, with so many bytes left in each pool, and what runs out first.
fn fits(
    hosts: &[&Host],
    pools: &[i64],
    free: Room,
    reserve: Option<Room>,
    offering: &offering::Model,
) -> (u64, &'static str) {
    if hosts.is_empty() {
        return (0, "hosts");
    }
    let size = &offering.size.0;
    let by_memory = |host: &Host| host.memory_free_mib() / size.memory_mib.max(1);
    let by_vcpus = |host: &Host| u64::from(host.vcpus_free() / size.vcpus.max(1));
    let disk = ByteSize::from_gib(size.disk_gib).0.max(1);
    let both: u64 = hosts.iter().map(|host| by_memory(host).min(by_vcpus(host))).sum();
    let memory: u64 = hosts.iter().map(|host| by_memory(host)).sum();
    let vcpus: u64 = hosts.iter().map(|host| by_vcpus(host)).sum();
    let storage: u64 = pools.iter().map(|left| (*left).max(0) as u64 / disk).sum();
    let beside_reserve = reserve.map_or(u64::MAX, |reserve| {
        let memory = free.memory_mib.saturating_sub(reserve.memory_mib) / size.memory_mib.max(1);
        memory.min(free.vcpus.saturating_sub(reserve.vcpus) / u64::from(size.vcpus.max(1)))
    });
    let fits = both.min(storage).min(beside_reserve);
    let runs_out = match fits {
        fits if fits == storage && storage < both => "storage",
        fits if fits == beside_reserve && beside_reserve < both => "reserve",
        _ if memory <= vcpus => "memory",
        _ => "vcpus",
    };
    (fits, runs_out)
}
