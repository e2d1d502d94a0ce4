//! Routers as the API shows them.
//!
//! A page takes as many queries as one router does: what belongs to them is read for all together.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

use podzol_mgmt_api::Timestamp;
use podzol_mgmt_api::router::{Router, RouterState};
use podzol_mgmt_api::vm::{Attachment, VmState};
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{Col, Reader, find, network, public_ip, router, vm, zone};
use podzol_vocab::{AccountId, NetworkId, VmId, ZoneId};

use super::{known, watch};
use crate::system::on_management;
use crate::{Actor, App, AppError};

/// What routers are shown with.
#[derive(Debug, Default)]
struct Beside {
    vms: HashMap<VmId, vm::Model>,
    nics: HashMap<VmId, Vec<vm::nic::Model>>,
    /// Those that a router serves.
    networks: HashSet<NetworkId>,
    source_nats: HashMap<(AccountId, ZoneId), Ipv4Addr>,
    /// Zones that have a public network.
    zones: HashSet<ZoneId>,
}

impl Beside {
    async fn of(db: &impl Reader, rows: &[router::Model]) -> Result<Self, AppError> {
        let mut beside = Self::default();
        let vms = vm::by_ids(db, rows.iter().map(|row| row.vm_id.0)).await?;
        beside.vms = vms.into_iter().map(|row| (row.id.0, row)).collect();
        let ids: Vec<Col<VmId>> = rows.iter().map(|row| row.vm_id).collect();
        for nic in vm::nics(db, &ids).await? {
            beside.nics.entry(nic.vm_id.0).or_default().push(nic);
        }
        let networks: BTreeSet<NetworkId> =
            beside.nics.values().flatten().map(|nic| nic.network_id.0).collect();
        let served = network::by_ids(db, networks).await?.into_iter();
        let served = served.filter(|network| network.has_router && network.deleted_at.is_none());
        beside.networks = served.map(|network| network.id.0).collect();
        let accounts: BTreeSet<AccountId> = rows.iter().map(|row| row.account_id.0).collect();
        for row in public_ip::source_nats(db, accounts).await? {
            beside.source_nats.insert((row.account_id.0, row.zone_id.0), row.address.0);
        }
        // Kept in memory, and few.
        for id in rows.iter().map(|row| row.zone_id.0).collect::<BTreeSet<_>>() {
            let found = find::<zone::Entity>(db, id).await?;
            beside.zones.extend(found.filter(|zone| zone.public.is_some()).map(|zone| zone.id.0));
        }
        Ok(beside)
    }

    fn nics(&self, vm: VmId) -> &[vm::nic::Model] {
        self.nics.get(&vm).map_or(&[], Vec::as_slice)
    }

    /// The networks that a router serves, and the address that connections from there come from.
    fn sides(&self, row: &router::Model) -> (Vec<NetworkId>, Option<Ipv4Addr>) {
        if !self.zones.contains(&row.zone_id.0) {
            return (vec![], None);
        }
        let there = self.nics(row.vm_id.0).iter().filter(|nic| nic.attachment.0 != Attachment::Detaching);
        let served: BTreeSet<NetworkId> =
            there.map(|nic| nic.network_id.0).filter(|network| self.networks.contains(network)).collect();
        let source_nat = self.source_nats.get(&(row.account_id.0, row.zone_id.0)).copied();
        (served.into_iter().collect(), source_nat)
    }
}

impl App {
    /// Routers as an actor may see them.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when one has gone meanwhile.
    pub(super) async fn router_views(
        &self,
        db: &impl Reader,
        rows: Vec<router::Model>,
        actor: &Actor,
    ) -> Result<Vec<Router>, AppError> {
        let mut beside = Beside::of(db, &rows).await?;
        let shown = rows.into_iter().map(|row| {
            let vm = beside.vms.remove(&row.vm_id.0).ok_or(AppError::NotFound("router"))?;
            Ok(self.router_shown(row, &vm, &beside, actor))
        });
        shown.collect()
    }

    /// A router as an actor may see it.
    pub(super) async fn router_view(
        &self,
        db: &impl Reader,
        row: router::Model,
        actor: &Actor,
    ) -> Result<Router, AppError> {
        self.router_views(db, vec![row], actor).await?.pop().ok_or(AppError::NotFound("router"))
    }

    fn router_shown(&self, row: router::Model, vm: &vm::Model, beside: &Beside, actor: &Actor) -> Router {
        let (networks, source_nat) = beside.sides(&row);
        let known = self.here.routers.get(vm.id.0);
        let heard = known.as_ref().map(|known| known.heard().clone());
        let status = heard.as_ref().and_then(|heard| heard.status.as_ref());
        let runs = matches!(vm.state.0, VmState::Running | VmState::Migrating | VmState::Paused);
        let (state, error) = state_of(&row, vm, heard.as_ref());
        let status = status.filter(|_| runs);
        let all = |bytes: fn(&podzol_appliance_api::Counters) -> u64| {
            status.map(|status| status.public.values().map(bytes).sum())
        };
        let admin = actor.is_admin();
        let in_force = heard.as_ref().and_then(|heard| heard.in_force).filter(|_| runs);
        Router {
            id: row.id.0,
            account: row.account_id.0,
            zone: row.zone_id.0,
            state,
            error,
            networks,
            source_nat,
            generation: heard.as_ref().and_then(|heard| heard.wanted).or(in_force).unwrap_or_default(),
            generation_in_force: in_force,
            image: status.map(|status| status.image.clone()),
            version: status.map(|status| status.version.clone()),
            extensions: status.map(|status| status.extensions.clone()).unwrap_or_default(),
            health: status.iter().flat_map(|status| &status.health).map(watch::health).collect(),
            repairs: status.map(|status| status.repairs),
            sent_bytes: all(|counters| counters.sent_bytes),
            received_bytes: all(|counters| counters.received_bytes),
            heard_at: heard.as_ref().and_then(|heard| heard.at),
            idle_since: row.idle_since.map(Timestamp),
            start_timing: vm.timing.0.clone(),
            vm: admin.then_some(vm.id.0),
            next_vm: row.next_vm_id.map(|next| next.0).filter(|_| admin),
            host: vm.host_id.map(|host| host.0).filter(|_| admin),
            template: admin.then_some(vm.template_id.0),
            management_address: on_management(beside.nics(vm.id.0))
                .map(|nic| nic.address.0)
                .filter(|_| admin),
            created_at: Timestamp(row.created_at),
        }
    }
}

/// What a router does, and what is wrong with it.
pub(super) fn state_of(
    row: &router::Model,
    vm: &vm::Model,
    heard: Option<&known::Heard>,
) -> (RouterState, Option<String>) {
    let own = || row.error.clone().or_else(|| vm.error.clone());
    if vm.desired.0 == Desired::Deleted {
        return (RouterState::Stopping, own());
    }
    if row.next_vm_id.is_some() {
        return (RouterState::Replacing, own());
    }
    match vm.state.0 {
        VmState::Running | VmState::Migrating | VmState::Paused => match heard.and_then(watch::trouble) {
            Some(trouble) => (RouterState::Degraded, Some(trouble)),
            None => (RouterState::Running, own()),
        },
        VmState::Starting => (RouterState::Starting, own()),
        VmState::Failed | VmState::Stopped => (RouterState::Failed, own()),
        VmState::Stopping | VmState::Deleting | VmState::Deleted => (RouterState::Stopping, own()),
    }
}
