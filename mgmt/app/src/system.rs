//! VMs of Podzol's own: routers and console proxies.
//!
//! Each is made of a template with its role, on a host with bridges on the management and public networks, and belongs to the
//! account `system`: so it is in no customer's list and no customer's quota. Its first process is the appliance, which learns
//! from its drive who it is, anew at each start, and from the management service what it should do. It has no disk to lose.
//!
//! This module knows neither what a router does nor what a console proxy does.

use std::collections::BTreeSet;

use podzol_appliance_api::{ManagementRoute, ManagementSide, ProxyIdentity, RouterSeed};
use podzol_mgmt_api::limits::VmLimits;
use podzol_mgmt_api::template::TemplateRole;
use podzol_mgmt_api::vm::{Attachment, VmState};
use podzol_mgmt_api::volume::VolumeState;
use podzol_mgmt_api::zone::ManagementNetwork;
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{
    JsonCol, Reader, Tx, account, find, network, now, offering, server, template, vm, volume, zone,
};
use podzol_rpc::PeerId;
use podzol_vocab::{
    AccountId, ByteSize, HostId, MacAddr, Name, NetworkId, NicId, Secret, TrafficType, VmId, VolumeId, ZoneId,
};

use crate::operation::start;
use crate::place::Wanted;
use crate::{App, AppError};

/// The account that VMs of Podzol's own belong to.
pub(crate) const SYSTEM: &str = "system";

/// Hosts with this tag are for them, where there are any.
const ROUTING: &str = "routing";

/// The places of their interfaces on the management and public networks. A router's first network is before these.
pub(crate) const MANAGEMENT_SLOT: i64 = 1;
pub(crate) const PUBLIC_SLOT: i64 = 2;

/// The port of the appliance's API on the management network.
const PORT: u16 = podzol_appliance_api::PORT;

/// A zone's networks for VMs of Podzol's own, and the account that these belong to.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) zone: zone::Model,
    pub(crate) management: ManagementNetwork,
    pub(crate) management_id: NetworkId,
    pub(crate) public_id: NetworkId,
    pub(crate) system: AccountId,
}

impl Ground {
    pub(crate) async fn of(db: &impl Reader, zone: ZoneId) -> Result<Self, AppError> {
        let zone = find::<zone::Entity>(db, zone).await?.ok_or(AppError::NotFound("zone"))?;
        let management = zone.of_routers().map(|(management, _)| management.clone());
        let management_id = network::of_traffic(db, zone.id.0, TrafficType::Management).await?;
        let public_id = network::of_traffic(db, zone.id.0, TrafficType::Public).await?;
        let (Some(management), Some(management_id), Some(public_id)) = (management, management_id, public_id)
        else {
            let detail = format!("zone {} has no management and public networks for routers", zone.name.0);
            return Err(AppError::Exhausted { code: "no_public_network", detail, reasons: vec![] });
        };
        let system = account::named(db, SYSTEM).await?;
        let system =
            system.ok_or_else(|| AppError::Internal("there is no account of the system's own".into()))?;
        let (management_id, public_id, system) = (management_id.id.0, public_id.id.0, system.id.0);
        Ok(Self { zone, management, management_id, public_id, system })
    }

    /// An interface on the management network, with an address that no other has.
    pub(crate) fn management_nic(&self, db: &impl Reader, vm: VmId) -> Result<vm::nic::Model, AppError> {
        let ledger = db.ledger();
        let ranges = self.management.ranges.iter();
        let free = ranges
            .map(|range| range.first()..=range.last())
            .find_map(|range| ledger.free_address(self.management_id, &range));
        let address = free.ok_or_else(|| AppError::Exhausted {
            code: "management_addresses_exhausted",
            detail: format!(
                "no address for a router left on the management network of zone {}",
                self.zone.name.0
            ),
            reasons: vec![],
        })?;
        let nic = nic(vm, MANAGEMENT_SLOT, self.management_id, address, Attachment::Attached);
        Ok(vm::nic::Model { may_route: false, ..nic })
    }

    fn management_side(&self, nics: &[vm::nic::Model]) -> Result<ManagementSide, AppError> {
        let nic = on_management(nics)
            .ok_or_else(|| AppError::Internal("a router without an interface for management".into()))?;
        let route = |route: &podzol_mgmt_api::zone::ManagementRoute| ManagementRoute {
            to: route.to.net(),
            via: route.via,
        };
        Ok(ManagementSide {
            mac: nic.mac.0,
            address: nic.address.0,
            prefix_len: self.management.cidr.prefix_len(),
            mtu: self.management.mtu,
            routes: self.management.routes.iter().map(route).collect(),
        })
    }
}

/// A VM of Podzol's own that is to be made.
#[derive(Debug)]
pub(crate) struct NewSystemVm<'a> {
    pub(crate) id: VmId,
    pub(crate) role: TemplateRole,
    pub(crate) template: &'a template::Model,
    pub(crate) offering: offering::Model,
    /// One on the management network among them.
    pub(crate) nics: Vec<vm::nic::Model>,
    /// Whether one of its networks is on a VXLAN.
    pub(crate) tunnels: bool,
    pub(crate) away_from: BTreeSet<HostId>,
}

impl App {
    /// Makes a VM of Podzol's own and starts it. Where there is no room, what fails says so of a VM in general.
    pub(crate) async fn system_vm(
        &self,
        tx: &Tx,
        ground: &Ground,
        new: NewSystemVm<'_>,
    ) -> Result<vm::Model, AppError> {
        let NewSystemVm { id, role, template, offering, nics, tunnels, away_from } = new;
        let db = tx.reader();
        let disk = ByteSize::from_gib(offering.size.disk_gib).0 as i64;
        let size_bytes = template.virtual_size_bytes.unwrap_or(0).max(disk);
        let pool = self.choose_pool(db, ground.zone.id.0, size_bytes).await?;
        let wanted = Wanted {
            zone: ground.zone.id.0,
            size: &offering.size,
            pools: vec![pool.id.0],
            offering: offering.id.0,
            group: None,
            tunnels,
            ipv6: false,
            router: true,
            away_from,
            vm: None,
        };
        let host = self.place(db, &wanted).await?;
        let at = now().0;
        let mut row = vm::Model {
            id: id.into(),
            account_id: ground.system.into(),
            zone_id: ground.zone.id,
            name: name_of(role, id)?.into(),
            offering_id: offering.id,
            template_id: template.id,
            host_id: Some(host.into()),
            moving_to: None,
            desired: JsonCol(Desired::Running),
            state: JsonCol(VmState::Starting),
            generation: 1,
            reboots: 0,
            paused: false,
            iso_id: None,
            iso_boots: false,
            iso_attachment: JsonCol(Attachment::Attached),
            // What limits customers' VMs is not for what serves them.
            limits: Some(VmLimits::default().into()),
            limits_are_stale: false,
            expunge_at: None,
            group_id: None,
            grace_secs: 0,
            vcpus: offering.size.vcpus.into(),
            memory_mib: offering.size.memory_mib as i64,
            size: offering.size,
            ssh_keys: vec![].into(),
            user_data: None,
            error: None,
            timing: vec![].into(),
            created_at: at,
            started_at: None,
            role: Some(JsonCol(role)),
            password: None,
            texts_bytes: 0,
        };
        let volume = volume::Model {
            id: VolumeId::new().into(),
            account_id: ground.system.into(),
            zone_id: ground.zone.id,
            vm_id: Some(id.into()),
            pool_id: pool.id,
            name: None,
            kind: volume::ROOT.into(),
            size_bytes,
            state: JsonCol(VolumeState::Creating),
            file: None,
            attachment: JsonCol(Attachment::Attached),
            attached_at: Some(at),
            error: None,
            has_grown: false,
            created_at: at,
        };
        row.user_data = Some(self.seed(id, role, ground.management_side(&nics)?)?);
        tx.vm_create(row.clone(), nics).await?;
        tx.volume_create(volume).await?;
        start(tx, self.vm_operation("vm.start", &row)).await?;
        Ok(row)
    }

    /// Gives a VM of Podzol's own a new identity, for its next start. Its generation must change with it.
    pub(crate) async fn renew_identity(&self, tx: &Tx, row: &mut vm::Model) -> Result<(), AppError> {
        let Some(role) = row.role.as_ref().map(|role| role.0) else { return Ok(()) };
        let ground = Ground::of(tx.reader(), row.zone_id.0).await?;
        let nics = vm::nics(tx.reader(), &[row.id]).await?;
        row.user_data = Some(self.seed(row.id.0, role, ground.management_side(&nics)?)?);
        Ok(())
    }

    /// Who a VM of Podzol's own is, for one start.
    fn seed(&self, id: VmId, role: TemplateRole, management: ManagementSide) -> Result<String, AppError> {
        let failed =
            |error: &dyn std::fmt::Display| AppError::Internal(format!("a router's identity: {error}"));
        let identity_of = |peer| self.authority.identity_of(peer).map_err(|error| failed(&error));
        let (certificate, key) = identity_of(PeerId::Router(id))?;
        let console_proxy = match role {
            TemplateRole::Router => None,
            TemplateRole::ConsoleProxy => {
                let (certificate, key) = identity_of(PeerId::ConsoleProxy(id))?;
                Some(ProxyIdentity { certificate, key })
            }
        };
        let ca = self.authority.ca_pem().to_owned();
        let key = Secret::new(key.expose().clone());
        let seed = RouterSeed { ca, certificate, key, management, console_proxy };
        serde_json::to_string(&seed).map_err(|error| failed(&error))
    }

    /// Notes where the appliance in a VM of Podzol's own is spoken to. Gives its address.
    pub(crate) async fn appliance_found(
        &self,
        vm: &vm::Model,
    ) -> Result<Option<std::net::Ipv4Addr>, AppError> {
        let nics = vm::nics(self.db.reader(), &[vm.id]).await?;
        let address = on_management(&nics).map(|nic| nic.address.0);
        if let Some(address) = address {
            self.book.set(PeerId::Router(vm.id.0), format!("{address}:{PORT}"));
        }
        Ok(address)
    }

    /// Has a VM of Podzol's own go, if it does not already.
    pub(crate) async fn system_vm_goes(&self, tx: &Tx, vm: VmId) -> Result<(), AppError> {
        let found = find::<vm::Entity>(tx.reader(), vm).await?;
        let Some(mut vm) = found.filter(|vm| vm.desired.0 != Desired::Deleted) else { return Ok(()) };
        // It has nothing to end in order.
        vm.grace_secs = 0;
        crate::vm::expunge(&mut vm);
        tx.vm_update(vm.clone()).await?;
        start(tx, self.vm_operation("vm.delete", &vm)).await.map(drop)
    }
}

/// The tags that the host of a VM of Podzol's own must have: that of hosts for routing, if there are any.
pub(crate) fn routing_tags(db: &impl Reader, zone: ZoneId) -> std::collections::BTreeSet<String> {
    let has_tag = |row: &std::sync::Arc<server::Model>| {
        row.tags.as_ref().is_some_and(|tags| tags.0.iter().any(|tag| tag.as_str() == ROUTING))
    };
    let any = db.ledger().hosts_of(zone).any(has_tag);
    any.then(|| ROUTING.to_owned()).into_iter().collect()
}

pub(crate) fn parsed(name: &str) -> Result<Name, AppError> {
    name.parse().map_err(|error: podzol_vocab::Invalid| AppError::Internal(error.to_string()))
}

/// The name of a VM, which no other has: the last digits of an id are random.
fn name_of(role: TemplateRole, id: VmId) -> Result<Name, AppError> {
    let (id, kind) = (id.to_string(), if role == TemplateRole::Router { "router" } else { "console" });
    parsed(&format!("{kind}-{}", id.rsplit('-').next().unwrap_or(&id)))
}

pub(crate) fn nic(
    vm: VmId,
    slot: i64,
    network: NetworkId,
    address: std::net::Ipv4Addr,
    attachment: Attachment,
) -> vm::nic::Model {
    vm::nic::Model {
        id: NicId::new().into(),
        vm_id: vm.into(),
        slot,
        network_id: network.into(),
        address: address.into(),
        mac: MacAddr::local(rand::random()).into(),
        attachment: JsonCol(attachment),
        may_route: true,
    }
}

/// The interface on the management network.
pub(crate) fn on_management(nics: &[vm::nic::Model]) -> Option<&vm::nic::Model> {
    nics.iter().find(|nic| nic.slot == MANAGEMENT_SLOT)
}
