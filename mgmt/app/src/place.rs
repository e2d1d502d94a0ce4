//! Placement: from the database to the scheduler's view, and back.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};

use podzol_mgmt_api::affinity::Policy;
use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_api::offering::Size;
use podzol_mgmt_api::pool::PoolState;
use podzol_mgmt_db::{
    Ledger, Reader, Taken, affinity, find, network, offering, pool, server, vm, volume, zone,
};
use podzol_mgmt_scheduler::{Host, Pool, Reason, Refusal, Request};
use podzol_vocab::{AffinityGroupId, ByteSize, HostId, OfferingId, PoolId, TrafficType, VmId, ZoneId};

use crate::system::routing_tags;
use crate::work::without_port;
use crate::{App, AppError, Settings};

/// A VM that is to be placed.
pub(crate) struct Wanted<'a> {
    pub(crate) zone: ZoneId,
    pub(crate) size: &'a Size,
    /// Where its volumes are.
    pub(crate) pools: Vec<PoolId>,
    pub(crate) offering: OfferingId,
    pub(crate) group: Option<AffinityGroupId>,
    /// Whether a network of it is on a VXLAN.
    pub(crate) tunnels: bool,
    /// Whether a network of it has IPv6.
    pub(crate) ipv6: bool,
    /// Whether it is a router.
    pub(crate) router: bool,
    /// Hosts that it is to be kept away from.
    pub(crate) away_from: BTreeSet<HostId>,
    /// Itself, if it is there already: it does not keep apart from itself.
    pub(crate) vm: Option<VmId>,
}

/// What a VM needs of its host beside room.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Needs<'a> {
    /// Where its volumes are.
    pub(crate) pools: &'a [PoolId],
    /// Whether a network of it is on a VXLAN.
    pub(crate) tunnels: bool,
    /// Whether it has IPv6 addresses that its host guards: not a router, of which only MAC addresses are checked.
    pub(crate) ipv6: bool,
    /// Whether it is a router, which has interfaces on the host's own networks.
    pub(crate) router: bool,
}

impl Wanted<'_> {
    fn needs(&self) -> Needs<'_> {
        Needs { pools: &self.pools, tunnels: self.tunnels, ipv6: self.ipv6, router: self.router }
    }
}

/// The hosts of a zone as placement sees them for a VM, and what that VM asks for.
pub(crate) struct Choice {
    pub(crate) hosts: Pool,
    pub(crate) request: Request,
}

impl Choice {
    /// Chooses a host. The room is taken by writing the host into the VM's row in the same transaction.
    pub(crate) fn make(self) -> Result<HostId, AppError> {
        self.hosts.decide(&self.request).map_err(no_host_fits)
    }
}

fn no_host_fits(refusal: Refusal) -> AppError {
    AppError::Exhausted { code: "no_host_fits", detail: "no host fits".into(), reasons: refusal.lines() }
}

/// The hosts of each zone as placement sees them, kept current by the ledger, so that a decision looks at no host that has
/// not changed.
#[derive(Debug, Default)]
pub(crate) struct Places {
    zones: HashMap<ZoneId, Pool>,
    zone_of: HashMap<HostId, ZoneId>,
}

impl Places {
    fn follow(&mut self, ledger: &mut Ledger, settings: &Settings) {
        for id in ledger.take_changed() {
            let row = ledger.host(id).filter(|row| row.state.0 != ServerState::Removed);
            let zone = row.map(|row| row.zone_id.0);
            if let Some(before) = self.zone_of.get(&id).filter(|before| Some(**before) != zone)
                && let Some(pool) = self.zones.get_mut(before)
            {
                pool.remove(id);
            }
            let Some(row) = row else {
                self.zone_of.remove(&id);
                continue;
            };
            self.zone_of.insert(id, row.zone_id.0);
            let view = scheduler_view(row, ledger.taken(id), settings);
            self.zones.entry(row.zone_id.0).or_default().put(view);
        }
    }
}

impl App {
    /// Chooses a host for a VM. The room is taken by writing the host into the VM's row in the same transaction.
    pub(crate) async fn place(&self, db: &impl Reader, wanted: &Wanted<'_>) -> Result<HostId, AppError> {
        let request = self.request(db, wanted).await?;
        let mut places = self.here.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ledger = db.ledger();
        places.follow(&mut ledger, &self.settings);
        let none = Pool::default();
        let hosts = places.zones.get(&wanted.zone).unwrap_or(&none);
        let bars = |id| bars(&ledger, ledger.host(id)?, wanted.needs());
        hosts.decide_within(&request, bars).map_err(no_host_fits)
    }

    /// What a VM asks of its host.
    async fn request(&self, db: &impl Reader, wanted: &Wanted<'_>) -> Result<Request, AppError> {
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
        if wanted.router {
            request.tags.extend(routing_tags(db, wanted.zone));
            request.apart_from.extend(&wanted.away_from);
            // What is kept free for the VMs of a host that fails is for their router first.
            request.spare_hosts = 0;
        }
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
        Ok(request)
    }

    /// What there is to choose from for a VM.
    pub(crate) async fn choice(&self, db: &impl Reader, wanted: &Wanted<'_>) -> Result<Choice, AppError> {
        let request = self.request(db, wanted).await?;
        let hosts = self.hosts_for(db, wanted.zone, wanted.needs());
        Ok(Choice { hosts: Pool::new(hosts), request })
    }

    /// The hosts of a zone as placement sees them, for a VM that needs this of its host.
    pub(crate) fn hosts_for(&self, db: &impl Reader, zone: ZoneId, needs: Needs<'_>) -> Vec<Host> {
        // Whoever writes waits for the ledger; what takes long is done without it.
        let rows: Vec<(Arc<server::Model>, Taken, Option<Reason>)> = {
            let ledger = db.ledger();
            let of = |row: &Arc<server::Model>| {
                (Arc::clone(row), ledger.taken(row.host()), bars(&ledger, row, needs))
            };
            ledger.hosts_of(zone).map(of).collect()
        };
        let view = |(row, taken, bar): (Arc<server::Model>, Taken, Option<Reason>)| {
            let mut host = scheduler_view(&row, taken, &self.settings);
            host.closed = host.closed.or(bar);
            host
        };
        rows.into_iter().map(view).collect()
    }

    /// What a VM wants that has its volumes already and is to start.
    async fn wanted_again<'a>(&self, db: &impl Reader, row: &'a vm::Model) -> Result<Wanted<'a>, AppError> {
        let volumes = volume::of_vms(db, &[row.id]).await?;
        Ok(Wanted {
            zone: row.zone_id.0,
            size: &row.size,
            pools: volumes.iter().map(|volume| volume.pool_id.0).collect(),
            offering: row.offering_id.0,
            group: row.group_id.map(|group| group.0),
            tunnels: !network::vxlans_of(db, [row.id.0]).await?.is_empty(),
            ipv6: row.role.is_none() && network::any_with_ipv6(db, row.id.0).await?,
            router: row.role.is_some(),
            away_from: BTreeSet::new(),
            vm: Some(row.id.0),
        })
    }

    /// What there is to choose from for a VM that has its volumes already and is to start.
    pub(crate) async fn choice_again(&self, db: &impl Reader, row: &vm::Model) -> Result<Choice, AppError> {
        self.choice(db, &self.wanted_again(db, row).await?).await
    }

    /// Chooses a host for a VM that has its volumes already.
    pub(crate) async fn place_again(&self, db: &impl Reader, row: &vm::Model) -> Result<HostId, AppError> {
        self.place(db, &self.wanted_again(db, row).await?).await
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
        let mut choice = self.choice_again(db, row).await?;
        let mut hosts: Vec<Host> = choice.hosts.hosts().cloned().collect();
        hosts.retain(|host| to.is_none_or(|to| to == host.id));
        let ledger = db.ledger();
        let means = |host| ledger.host(host).and_then(|row| row.accelerator.as_deref());
        for host in hosts.iter_mut().filter(|host| host.closed.is_none() || host.id == here) {
            if host.id == here {
                host.closed = Some(Reason::IsThere);
            } else if means(host.id) != means(here) {
                host.closed = Some(Reason::OtherAccelerator);
            }
        }
        choice.request.spare_hosts = 0;
        choice.hosts = Pool::new(hosts);
        Ok(choice)
    }

    /// Refuses what a pool has no room for.
    pub(crate) fn must_have_room(
        &self,
        db: &impl Reader,
        row: &pool::Model,
        bytes: i64,
    ) -> Result<(), AppError> {
        let left = self.room_left(row, db.ledger().promised(row.id.0));
        if left >= bytes {
            return Ok(());
        }
        let (left, needed) = (ByteSize(left.max(0) as u64), ByteSize(bytes as u64));
        let reasons = vec![format!("pool {}: {left} left, {needed} needed", row.name.0)];
        Err(AppError::Exhausted { code: "no_pool_fits", detail: "the pool is full".into(), reasons })
    }

    /// The pools of a zone that volumes can be made in, in the order of their names, with how many bytes of each may still
    /// be promised.
    pub(crate) fn pools_with_room(&self, ledger: &Ledger, zone: ZoneId) -> Vec<(Arc<pool::Model>, i64)> {
        let ready = ledger.pools_of(zone).filter(|row| row.state.0 == PoolState::Ready);
        let with_room =
            |row: &Arc<pool::Model>| (Arc::clone(row), self.room_left(row, ledger.promised(row.id.0)));
        let mut pools: Vec<_> = ready.map(with_room).collect();
        pools.sort_by(|(one, _), (other, _)| one.name.0.cmp(&other.name.0));
        pools
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
    ) -> Result<Arc<pool::Model>, AppError> {
        let (mut best, mut reasons) = (None, Vec::new());
        let pools = self.pools_with_room(&db.ledger(), zone);
        for (row, left) in pools {
            let server = find::<server::Entity>(db, row.storage_server_id.clone()).await?;
            let is_up = server.is_some_and(|server| server.state.0 == ServerState::Up);
            if !is_up {
                reasons.push(format!("pool {}: its storage server is disconnected", row.name.0));
            } else if is_full(row.capacity_bytes, row.used_bytes) {
                reasons.push(format!("pool {}: its disk is full", row.name.0));
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

/// Whether a disk of so many bytes has so little room that nothing more is to be put on it, whatever was promised of it.
pub(crate) fn is_full(capacity: i64, used: i64) -> bool {
    capacity - used < (capacity / 20).min(1 << 30)
}

/// Why a VM that needs this of its host cannot be on one.
fn bars(ledger: &Ledger, host: &server::Model, needs: Needs<'_>) -> Option<Reason> {
    let Needs { pools, tunnels, ipv6, router } = needs;
    let address = host.address.as_deref().map(without_port);
    let reaches = address.is_some_and(|address| pools.iter().all(|pool| ledger.is_exported(*pool, address)));
    if !reaches {
        return Some(Reason::NoStorage);
    }
    if tunnels && host.tunnel_address.is_none() {
        return Some(Reason::NoTunnels);
    }
    if ipv6 && !host.has_ipv6 {
        return Some(Reason::NoIpv6);
    }
    let has = |traffic| host.traffic.as_ref().is_some_and(|has| has.0.contains(&traffic));
    (router && !TrafficType::ALL.into_iter().all(has)).then_some(Reason::NoTraffic)
}

fn scheduler_view(row: &server::Model, taken: Taken, settings: &Settings) -> Host {
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
        vcpus_allocated: taken.vcpus as u32,
        memory_limit_mib: row.memory_mib as u64 * u64::from(settings.memory_overcommit_percent) / 100,
        memory_allocated_mib: taken.memory_mib as u64,
        tags: row.tags.iter().flat_map(|tags| &tags.0).map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_full_when_one_part_in_twenty_is_left_or_a_gib_of_a_large_one() {
        const GIB: i64 = 1 << 30;
        for (capacity, left, full) in [
            (GIB, GIB / 20, false),
            (GIB, GIB / 20 - 1, true),
            (1000 * GIB, GIB, false),
            (1000 * GIB, GIB - 1, true),
        ] {
            assert_eq!(is_full(capacity, capacity - left), full, "{capacity} {left}");
        }
        // One of which nothing is known yet.
        assert!(!is_full(0, 0));
    }
}
