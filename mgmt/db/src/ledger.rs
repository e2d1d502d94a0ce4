//! What is given out, and what there is to give: kept in memory, so that giving out more does not add up what was given.
//!
//! It is made of the tables when the database is opened, and follows what each transaction writes; one that is given up
//! takes back its part. Only whoever writes changes it, one at a time, so in a transaction it is exact. Read outside of
//! transactions it may show what is just being written, which is enough for what is shown and not decided.
//!
//! Refused: sums asked of the database, over all VMs for each new one, in the transaction that only one can have at a time;
//! sums kept in tables, which may come to differ from what they are the sums of, and stay so.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_api::template::TemplateRole;
use podzol_vocab::{AccountId, HostId, NetworkId, NicId, PoolId, VmId, VolumeId, ZoneId};
use sea_orm::entity::prelude::*;
use sea_orm::{EntityTrait, FromQueryResult, QuerySelect};

mod drift;

pub use drift::Drift;

use crate::fetch::Fetch;
use crate::runs::Runs;
use crate::{Col, DbError, JsonCol, Reader, network, pool, server, vm, volume};

/// What VMs take of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Virtual CPUs.
    pub vcpus: i64,
    /// Memory in MiB.
    pub memory_mib: i64,
    /// How many VMs they are.
    pub vms: i64,
}

/// What a VM takes, and of which hosts: of two while it moves; and of which router, if it is a customer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    hosts: [Option<HostId>; 2],
    vcpus: i64,
    memory_mib: i64,
    served: Option<(AccountId, ZoneId)>,
    texts_bytes: i64,
}

impl Share {
    fn of(row: &vm::Model) -> Self {
        let hosts = [row.host_id, row.moving_to].map(|host| host.map(|host| host.0));
        Self {
            hosts,
            vcpus: row.vcpus,
            memory_mib: row.memory_mib,
            served: row.role.is_none().then_some((row.account_id.0, row.zone_id.0)),
            texts_bytes: row.texts_bytes,
        }
    }
}

/// What is given out, and what there is to give.
#[derive(Debug, Default)]
pub struct Ledger {
    vms: HashMap<VmId, Share>,
    taken: HashMap<HostId, Taken>,
    texts: HashMap<(AccountId, ZoneId), i64>,
    volumes: HashMap<VolumeId, (PoolId, i64)>,
    promised: HashMap<PoolId, i64>,
    nics: HashMap<NicId, (NetworkId, Ipv4Addr)>,
    addresses: HashMap<NetworkId, Runs>,
    hosts: HashMap<HostId, Arc<server::Model>>,
    pools: HashMap<PoolId, (Arc<pool::Model>, HashSet<String>)>,
    /// The networks on VXLANs.
    vxlans: HashSet<NetworkId>,
    /// Hosts that are not as they were when somebody last asked.
    changed: HashSet<HostId>,
}

/// An entry as it was before a transaction wrote it.
#[derive(Debug)]
enum Before {
    Vm(VmId, Option<Share>),
    Volume(VolumeId, Option<(PoolId, i64)>),
    Nic(NicId, Option<(NetworkId, Ipv4Addr)>),
    Host(HostId, Option<Arc<server::Model>>),
    Pool(PoolId, Option<Arc<pool::Model>>),
    Vxlan(NetworkId, bool),
}

impl Ledger {
    /// Makes it of the tables.
    pub(crate) async fn load(db: &impl Reader) -> Result<Self, DbError> {
        let mut ledger = Self::default();
        #[derive(FromQueryResult)]
        struct VmRow {
            id: Col<VmId>,
            host_id: Option<Col<HostId>>,
            moving_to: Option<Col<HostId>>,
            vcpus: i64,
            memory_mib: i64,
            account_id: Col<AccountId>,
            zone_id: Col<ZoneId>,
            role: Option<JsonCol<TemplateRole>>,
            texts_bytes: i64,
        }
        let vms = vm::Entity::find()
            .select_only()
            .columns([
                vm::Column::Id,
                vm::Column::HostId,
                vm::Column::MovingTo,
                vm::Column::Vcpus,
                vm::Column::MemoryMib,
                vm::Column::AccountId,
                vm::Column::ZoneId,
                vm::Column::Role,
                vm::Column::TextsBytes,
            ])
            .into_model::<VmRow>()
            .all(db)
            .await?;
        for row in vms {
            let share = Share {
                hosts: [row.host_id, row.moving_to].map(|host| host.map(|host| host.0)),
                vcpus: row.vcpus,
                memory_mib: row.memory_mib,
                served: row.role.is_none().then_some((row.account_id.0, row.zone_id.0)),
                texts_bytes: row.texts_bytes,
            };
            ledger.set_vm(row.id.0, Some(share));
        }
        #[derive(FromQueryResult)]
        struct VolumeRow {
            id: Col<VolumeId>,
            pool_id: Col<PoolId>,
            size_bytes: i64,
        }
        let volumes = volume::Entity::find()
            .select_only()
            .columns([volume::Column::Id, volume::Column::PoolId, volume::Column::SizeBytes])
            .into_model::<VolumeRow>()
            .all(db)
            .await?;
        for row in volumes {
            ledger.set_volume(row.id.0, Some((row.pool_id.0, row.size_bytes)));
        }
        #[derive(FromQueryResult)]
        struct NicRow {
            id: Col<NicId>,
            network_id: Col<NetworkId>,
            address: Col<Ipv4Addr>,
        }
        let nics = vm::nic::Entity::find()
            .select_only()
            .columns([vm::nic::Column::Id, vm::nic::Column::NetworkId, vm::nic::Column::Address])
            .into_model::<NicRow>()
            .all(db)
            .await?;
        for row in nics {
            ledger.set_nic(row.id.0, Some((row.network_id.0, row.address.0)));
        }
        for row in server::Entity::find().filter(server::Column::IsHost.eq(true)).fetch(db).await? {
            ledger.set_host(row.host(), Some(Arc::new(row)));
        }
        for row in pool::Entity::find().fetch(db).await? {
            ledger.set_pool(row.id.0, Some(Arc::new(row)));
        }
        for network in network::on_vxlans(db).await? {
            ledger.set_vxlan(network, true);
        }
        Ok(ledger)
    }

    /// What VMs take of a host.
    pub fn taken(&self, host: HostId) -> Taken {
        self.taken.get(&host).copied().unwrap_or_default()
    }

    /// How many bytes the user data and keys of an account's VMs in a zone have together.
    pub fn texts_bytes(&self, account: AccountId, zone: ZoneId) -> i64 {
        self.texts.get(&(account, zone)).copied().unwrap_or(0)
    }

    /// How many addresses of a network somebody has.
    pub fn addresses_in_use(&self, network: NetworkId) -> u64 {
        self.addresses.get(&network).map_or(0, Runs::len)
    }

    /// How many bytes of a pool are promised.
    pub fn promised(&self, pool: PoolId) -> i64 {
        self.promised.get(&pool).copied().unwrap_or(0)
    }

    /// The first address of a range that nobody has in a network.
    pub fn free_address(&self, network: NetworkId, of: &RangeInclusive<Ipv4Addr>) -> Option<Ipv4Addr> {
        let (from, to) = (of.start().to_bits(), of.end().to_bits());
        let free = match self.addresses.get(&network) {
            Some(in_use) => in_use.first_missing(from, to),
            None => (from <= to).then_some(from),
        };
        free.map(Ipv4Addr::from_bits)
    }

    /// A host, removed ones too.
    pub fn host(&self, id: HostId) -> Option<&server::Model> {
        self.hosts.get(&id).map(Arc::as_ref)
    }

    /// The hosts of a zone that are not removed, in no order.
    pub fn hosts_of(&self, zone: ZoneId) -> impl Iterator<Item = &Arc<server::Model>> {
        let stays =
            move |row: &&Arc<server::Model>| row.zone_id.0 == zone && row.state.0 != ServerState::Removed;
        self.hosts.values().filter(stays)
    }

    /// The pools of a zone, in no order.
    pub fn pools_of(&self, zone: ZoneId) -> impl Iterator<Item = &Arc<pool::Model>> {
        self.pools.values().map(|(row, _)| row).filter(move |row| row.zone_id.0 == zone)
    }

    /// Whether a pool is exported to an address.
    pub fn is_exported(&self, pool: PoolId, to: &str) -> bool {
        self.pools.get(&pool).is_some_and(|(_, exports)| exports.contains(to))
    }

    /// Whether any network is on a VXLAN.
    pub fn has_vxlans(&self) -> bool {
        !self.vxlans.is_empty()
    }

    /// The hosts that are not as they were when this was last asked: at first, all.
    pub fn take_changed(&mut self) -> HashSet<HostId> {
        std::mem::take(&mut self.changed)
    }

    fn set_vm(&mut self, id: VmId, share: Option<Share>) -> Before {
        let before = put(&mut self.vms, id, share);
        for (share, sign) in [(before, -1), (share, 1)] {
            let Some(share) = share else { continue };
            if let Some(served) = share.served {
                *self.texts.entry(served).or_default() += sign * share.texts_bytes;
            }
            for host in share.hosts.into_iter().flatten() {
                let taken = self.taken.entry(host).or_default();
                taken.vcpus += sign * share.vcpus;
                taken.memory_mib += sign * share.memory_mib;
                taken.vms += sign;
                self.changed.insert(host);
            }
        }
        Before::Vm(id, before)
    }

    fn set_volume(&mut self, id: VolumeId, promise: Option<(PoolId, i64)>) -> Before {
        let before = put(&mut self.volumes, id, promise);
        for (promise, sign) in [(before, -1), (promise, 1)] {
            let Some((pool, bytes)) = promise else { continue };
            *self.promised.entry(pool).or_default() += sign * bytes;
        }
        Before::Volume(id, before)
    }

    fn set_nic(&mut self, id: NicId, at: Option<(NetworkId, Ipv4Addr)>) -> Before {
        let before = put(&mut self.nics, id, at);
        if let Some((network, address)) = before
            && let Some(in_use) = self.addresses.get_mut(&network)
        {
            in_use.remove(address.to_bits());
            if in_use.is_empty() {
                self.addresses.remove(&network);
            }
        }
        if let Some((network, address)) = at {
            self.addresses.entry(network).or_default().insert(address.to_bits());
        }
        Before::Nic(id, before)
    }

    fn set_host(&mut self, id: HostId, row: Option<Arc<server::Model>>) -> Before {
        self.changed.insert(id);
        Before::Host(id, put(&mut self.hosts, id, row))
    }

    fn set_pool(&mut self, id: PoolId, row: Option<Arc<pool::Model>>) -> Before {
        let with_exports = |row: Arc<pool::Model>| {
            let exports = row.exported_to.iter().cloned().collect();
            (row, exports)
        };
        Before::Pool(id, put(&mut self.pools, id, row.map(with_exports)).map(|(row, _)| row))
    }

    fn set_vxlan(&mut self, id: NetworkId, is_there: bool) -> Before {
        let before = if is_there { !self.vxlans.insert(id) } else { self.vxlans.remove(&id) };
        Before::Vxlan(id, before)
    }

    /// Counts something of which no table has anything.
    #[cfg(test)]
    pub(crate) fn set_taken(&mut self, vm: VmId, host: HostId, vcpus: i64, memory_mib: i64) {
        let hosts = [Some(host), None];
        self.set_vm(vm, Some(Share { hosts, vcpus, memory_mib, served: None, texts_bytes: 0 }));
    }

    fn take_back(&mut self, before: Before) {
        match before {
            Before::Vm(id, share) => self.set_vm(id, share),
            Before::Volume(id, promise) => self.set_volume(id, promise),
            Before::Nic(id, at) => self.set_nic(id, at),
            Before::Host(id, row) => self.set_host(id, row),
            Before::Pool(id, row) => self.set_pool(id, row),
            Before::Vxlan(id, is_there) => self.set_vxlan(id, is_there),
        };
    }
}

/// Puts a value in place of another, or of none, and gives that.
fn put<K: Eq + Hash, V>(map: &mut HashMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    }
}

/// The ledger, for whoever may see it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Ledger>>);

impl Shared {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self(Arc::new(Mutex::new(ledger)))
    }

    pub(crate) fn get(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts another in its place, of which nobody knows what is different.
    pub(crate) fn replace(&self, mut ledger: Ledger) {
        let mut shown = self.get();
        ledger.changed.extend(shown.hosts.keys());
        *shown = ledger;
    }
}

/// What a transaction has written into the ledger. Dropped, it is taken back. A statement that fails ends its transaction,
/// so what is written here is written there or nowhere.
#[derive(Debug)]
pub(crate) struct Draft {
    ledger: Shared,
    before: Mutex<Vec<Before>>,
}

impl Draft {
    pub(crate) fn new(ledger: Shared) -> Self {
        Self { ledger, before: Mutex::default() }
    }

    /// Leaves it there.
    pub(crate) fn keep(self) {
        self.before().clear();
    }

    pub(crate) fn vm(&self, row: &vm::Model) {
        self.write(|ledger| ledger.set_vm(row.id.0, Some(Share::of(row))));
    }

    pub(crate) fn no_vm(&self, id: VmId) {
        self.write(|ledger| ledger.set_vm(id, None));
    }

    pub(crate) fn nic(&self, row: &vm::nic::Model) {
        self.write(|ledger| ledger.set_nic(row.id.0, Some((row.network_id.0, row.address.0))));
    }

    pub(crate) fn no_nic(&self, id: NicId) {
        self.write(|ledger| ledger.set_nic(id, None));
    }

    pub(crate) fn volume(&self, row: &volume::Model) {
        self.write(|ledger| ledger.set_volume(row.id.0, Some((row.pool_id.0, row.size_bytes))));
    }

    pub(crate) fn no_volume(&self, id: VolumeId) {
        self.write(|ledger| ledger.set_volume(id, None));
    }

    /// A server, of which only hosts are in it.
    pub(crate) fn server(&self, row: &server::Model) {
        if row.is_host {
            self.write(|ledger| ledger.set_host(row.host(), Some(Arc::new(row.clone()))));
        }
    }

    pub(crate) fn pool(&self, row: &pool::Model) {
        self.write(|ledger| ledger.set_pool(row.id.0, Some(Arc::new(row.clone()))));
    }

    pub(crate) fn no_pool(&self, id: PoolId) {
        self.write(|ledger| ledger.set_pool(id, None));
    }

    /// A network, of which only those on VXLANs are in it.
    pub(crate) fn network(&self, row: &network::Model, is_there: bool) {
        if row.tag().is_some_and(|tag| tag.vxlan().is_some()) {
            self.write(|ledger| ledger.set_vxlan(row.id.0, is_there));
        }
    }

    fn write(&self, write: impl FnOnce(&mut Ledger) -> Before) {
        let before = write(&mut self.ledger.get());
        self.before().push(before);
    }

    fn before(&self) -> MutexGuard<'_, Vec<Before>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let before = std::mem::take(&mut *self.before());
        let mut ledger = self.ledger.get();
        for before in before.into_iter().rev() {
            ledger.take_back(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Ipv4Addr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn what_a_transaction_took_that_is_given_up_is_free_again() {
        let shared = Shared::new(Ledger::default());
        let (host, other, vm) = (HostId::new(), HostId::new(), VmId::new());
        let (account, zone) = (AccountId::new(), ZoneId::new());
        let served = Some((account, zone));
        let on = |hosts| Some(Share { hosts, vcpus: 2, memory_mib: 64, served, texts_bytes: 9 });
        let one = Taken { vcpus: 2, memory_mib: 64, vms: 1 };
        let taken = || {
            let ledger = shared.get();
            (ledger.taken(host), ledger.taken(other))
        };
        let draft = Draft::new(shared.clone());
        draft.write(|ledger| ledger.set_vm(vm, on([Some(host), None])));
        draft.keep();
        assert_eq!(shared.get().take_changed(), [host].into());

        let draft = Draft::new(shared.clone());
        draft.write(|ledger| ledger.set_vm(vm, on([Some(host), Some(other)])));
        assert_eq!(taken(), (one, one));
        draft.write(|ledger| ledger.set_vm(vm, None));
        assert_eq!(taken(), (Taken::default(), Taken::default()));
        assert_eq!(shared.get().texts_bytes(account, zone), 0);
        drop(draft);

        assert_eq!(taken(), (one, Taken::default()));
        assert_eq!(shared.get().texts_bytes(account, zone), 9);
        assert_eq!(shared.get().take_changed(), [host, other].into());
    }

    #[test]
    fn the_first_free_address_is_given_and_one_that_comes_back_again() {
        let mut ledger = Ledger::default();
        let (network, nics) = (NetworkId::new(), [NicId::new(), NicId::new(), NicId::new()]);
        let free = |ledger: &Ledger| ledger.free_address(network, &(address(2)..=address(4)));
        for (nic, last) in nics.iter().zip([2, 4, 3]) {
            assert_eq!(free(&ledger), Some(address(if last == 2 { 2 } else { 3 })));
            ledger.set_nic(*nic, Some((network, address(last))));
        }
        assert_eq!((free(&ledger), ledger.addresses_in_use(network)), (None, 3));
        ledger.set_nic(nics[1], None);
        assert_eq!(free(&ledger), Some(address(4)));
    }

    #[test]
    fn what_a_pool_has_promised_follows_the_sizes_of_its_volumes() {
        let mut ledger = Ledger::default();
        let (pool, volume) = (PoolId::new(), VolumeId::new());
        ledger.set_volume(volume, Some((pool, 5)));
        let before = ledger.set_volume(volume, Some((pool, 9)));
        assert_eq!(ledger.promised(pool), 9);
        ledger.take_back(before);
        assert_eq!(ledger.promised(pool), 5);
    }
}
