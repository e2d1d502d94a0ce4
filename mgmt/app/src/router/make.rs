//! Making routers: the VM that one is, what it is made of, and who it is.
//!
//! A router is made in the transaction that starts the first VM that needs it: host, addresses and volume are allocated with
//! that VM's, or nothing is. It belongs to the account `system`, so that it is in no customer's list and no customer's quota.

use podzol_mgmt_api::template::TemplateRole;
use podzol_mgmt_api::vm::Attachment;
use podzol_mgmt_db::event::NewEvent;
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{Col, JsonCol, Reader, Tx, find, network, now, public_ip, router, vm};
use podzol_vocab::{AccountId, NetworkId, RouterId, Tag, VmId, ZoneId};

use super::kind::{offering_for, template_for};
use crate::operation::start;
use crate::system::{Ground, MANAGEMENT_SLOT, NewSystemVm, PUBLIC_SLOT, nic};
use crate::volume::coming;
use crate::{App, AppError};

/// The most networks of a router: so many network interfaces a VM can have, less the two others.
pub(crate) const MAX_NETWORKS: usize = podzol_appliance_api::limits::MAX_GUESTS;

impl App {
    /// Has the router of a VM's networks run, if they have one, and serve them. It is made if there is none, and finds its
    /// place before the VM.
    pub(crate) async fn router_for(
        &self,
        tx: &Tx,
        account: AccountId,
        zone: ZoneId,
        networks: &[network::Model],
    ) -> Result<(), AppError> {
        let served: Vec<network::Model> =
            networks.iter().filter(|network| network.has_router).cloned().collect();
        if served.is_empty() {
            return Ok(());
        }
        match router::of(tx.reader(), account, zone).await? {
            None => self.router_make(tx, account, zone, &served).await,
            Some(router) => self.router_serve(tx, router, &served).await,
        }
    }

    /// As [`App::router_for`], for a VM that is there already.
    pub(crate) async fn router_for_vm(&self, tx: &Tx, row: &vm::Model) -> Result<(), AppError> {
        if row.role.is_some() {
            return Ok(());
        }
        let mut networks = Vec::new();
        for nic in vm::nics(tx.reader(), &[row.id]).await? {
            networks.extend(find::<network::Entity>(tx.reader(), nic.network_id).await?);
        }
        self.router_for(tx, row.account_id.0, row.zone_id.0, &networks).await
    }

    async fn router_make(
        &self,
        tx: &Tx,
        account: AccountId,
        zone: ZoneId,
        networks: &[network::Model],
    ) -> Result<(), AppError> {
        let ground = Ground::of(tx.reader(), zone).await?;
        let source = self.source_nat(tx, account, &ground).await?;
        let id = VmId::new();
        let mut nics = vec![ground.management_nic(tx.reader(), id)?];
        let at_once = Attachment::Attached;
        nics.push(nic(id, PUBLIC_SLOT, ground.public_id, source.address.0, at_once));
        for (number, network) in networks.iter().enumerate() {
            let slot = if number == 0 { 0 } else { PUBLIC_SLOT + number as i64 };
            nics.push(nic(id, slot, network.id.0, network.cidr.gateway(), at_once));
        }
        let tunnels = networks.iter().any(is_vxlan);
        let vm = self.router_vm(tx, (&ground, account), id, nics, tunnels, None).await?;
        let row = router::Model {
            id: RouterId::new().into(),
            account_id: account.into(),
            zone_id: zone.into(),
            vm_id: vm.id,
            next_vm_id: None,
            idle_since: None,
            error: None,
            created_at: now().0,
        };
        tx.router_create(row.clone()).await?;
        self.router_event(tx, &row, "router.create", "a VM needs it").await
    }

    /// Has a router that is there run, and serve these networks too.
    async fn router_serve(
        &self,
        tx: &Tx,
        mut row: router::Model,
        networks: &[network::Model],
    ) -> Result<(), AppError> {
        let found = find::<vm::Entity>(tx.reader(), row.vm_id).await?;
        let mut vm = found.ok_or_else(|| AppError::Internal("a router without its VM".into()))?;
        if row.idle_since.take().is_some() {
            tx.router_update(row.clone()).await?;
        }
        if vm.desired.0 == Desired::Deleted {
            // It is on its way out. What it had, another one has from now on.
            let ground = Ground::of(tx.reader(), row.zone_id.0).await?;
            let id = VmId::new();
            let nics = vec![ground.management_nic(tx.reader(), id)?];
            let tunnels = networks.iter().any(is_vxlan);
            let next = self.router_vm(tx, (&ground, row.account_id.0), id, nics, tunnels, None).await?;
            self.router_take_over(tx, &vm, &next).await?;
            row.vm_id = next.id;
            row.next_vm_id = None;
            tx.router_update(row.clone()).await?;
            vm = next;
        }
        let nics = vm::nics(tx.reader(), &[vm.id]).await?;
        let mut slot = nics.iter().map(|nic| nic.slot).max().unwrap_or(PUBLIC_SLOT).max(PUBLIC_SLOT);
        let mut is_more = false;
        for network in networks {
            match nics.iter().find(|nic| nic.network_id == network.id) {
                Some(nic) if nic.attachment.0 != Attachment::Detaching => continue,
                Some(_) => {
                    let detail = "the account's router is leaving the network; try again".into();
                    return Err(AppError::Conflict { code: "router_busy", detail });
                }
                None => {}
            }
            slot += 1;
            let nic = nic(vm.id.0, slot, network.id.0, network.cidr.gateway(), coming(&vm));
            tx.nic_create(nic).await?;
            is_more = true;
        }
        if vm.desired.0 == Desired::Stopped && !self.is_being_changed(tx.reader(), &row).await? {
            if vm.host_id.is_some() && self.is_away(tx.reader(), &vm).await? {
                // It may still be there, and nobody can say.
                let operation = self.router_to_replace(tx, row).await?;
                return start(tx, operation).await.map(drop);
            }
            if vm.host_id.is_none() {
                vm.host_id = Some(self.place_again(tx.reader(), &vm).await.map_err(of_router)?.into());
            }
            self.set_to_start(tx, &mut vm).await?;
            tx.vm_update(vm.clone()).await?;
            start(tx, self.vm_operation("vm.start", &vm)).await?;
        } else if is_more {
            self.vm_changes(tx, vm).await?;
        }
        Ok(())
    }

    /// Whether something is being done with a router that stops and starts its VM.
    pub(crate) async fn is_being_changed(
        &self,
        db: &impl Reader,
        row: &router::Model,
    ) -> Result<bool, AppError> {
        Ok(!podzol_mgmt_db::operation::open_of(db, &row.id.to_string()).await?.is_empty())
    }

    /// Gives a VM all interfaces of another one but that on the management network. They stay what they are: who speaks to
    /// them need not notice.
    pub(crate) async fn router_take_over(
        &self,
        tx: &Tx,
        from: &vm::Model,
        to: &vm::Model,
    ) -> Result<(), AppError> {
        self.addresses_held_for(tx, from).await?;
        for mut nic in vm::nics(tx.reader(), &[from.id]).await? {
            if nic.slot == MANAGEMENT_SLOT {
                continue;
            }
            if nic.attachment.0 == Attachment::Detaching {
                tx.nic_delete(nic.id).await?;
            } else {
                nic.vm_id = to.id;
                nic.attachment = JsonCol(coming(to));
                tx.nic_update(nic).await?;
            }
        }
        Ok(())
    }

    /// A VM that is to take a router's place: of the newest template, with nothing but its interface on the management
    /// network, and on another host if one fits.
    pub(crate) async fn router_next(&self, tx: &Tx, row: &router::Model) -> Result<vm::Model, AppError> {
        let ground = Ground::of(tx.reader(), row.zone_id.0).await?;
        let id = VmId::new();
        let nics = vec![ground.management_nic(tx.reader(), id)?];
        let mut tunnels = false;
        for nic in vm::nics(tx.reader(), &[row.vm_id]).await? {
            let network = find::<network::Entity>(tx.reader(), nic.network_id).await?;
            tunnels |= network.as_ref().is_some_and(is_vxlan);
        }
        let of = (&ground, row.account_id.0);
        let before = find::<vm::Entity>(tx.reader(), row.vm_id).await?;
        let away = before.and_then(|vm| vm.host_id).map(|host| host.0);
        match self.router_vm(tx, of, id, nics.clone(), tunnels, away).await {
            Err(AppError::Exhausted { .. }) if away.is_some() => {
                self.router_vm(tx, of, id, nics, tunnels, None).await
            }
            made => made,
        }
    }

    /// Makes the VM of an account's router and starts it.
    async fn router_vm(
        &self,
        tx: &Tx,
        (ground, account): (&Ground, AccountId),
        id: VmId,
        nics: Vec<vm::nic::Model>,
        tunnels: bool,
        away_from: Option<podzol_vocab::HostId>,
    ) -> Result<vm::Model, AppError> {
        let template = template_for(tx.reader(), account, ground.zone.id.0).await?;
        let offering = offering_for(tx, &template).await?;
        let role = TemplateRole::Router;
        let away_from = away_from.into_iter().collect();
        let new = NewSystemVm { id, role, template: &template, offering, nics, tunnels, away_from };
        self.system_vm(tx, ground, new).await.map_err(of_router)
    }

    /// The address that an account's connections come from in a zone; one is allocated if there is none.
    async fn source_nat(
        &self,
        tx: &Tx,
        account: AccountId,
        ground: &Ground,
    ) -> Result<public_ip::Model, AppError> {
        let own = public_ip::of(tx.reader(), account, ground.zone.id.0).await?;
        match own.into_iter().find(|row| row.is_source_nat) {
            Some(row) => Ok(row),
            None => {
                let row = self.allocate_public_ip(tx, account, &ground.zone, true).await?;
                self.source_nat_event(tx, "public-ip.create", &row).await?;
                Ok(row)
            }
        }
    }

    pub(crate) async fn router_event(
        &self,
        tx: &Tx,
        row: &router::Model,
        action: &'static str,
        detail: &str,
    ) -> Result<(), AppError> {
        let event = NewEvent::of_management(action, Some(row.account_id.0), "router", row.id, detail);
        Ok(tx.event_create(event).await?)
    }
}

/// Says that it is the router for which there is no room.
pub(super) fn of_router(error: AppError) -> AppError {
    match error {
        AppError::Exhausted { code, detail, reasons } => {
            AppError::Exhausted { code, detail: format!("the router of its network: {detail}"), reasons }
        }
        error => error,
    }
}

fn is_vxlan(network: &network::Model) -> bool {
    network.tag().is_some_and(|tag: Tag| tag.vxlan().is_some())
}

/// What a router's VM still has to let go of before a network is gone.
pub(crate) fn in_network(nics: &[vm::nic::Model], network: Col<NetworkId>) -> Option<&vm::nic::Model> {
    nics.iter().find(|nic| nic.network_id == network)
}

/// Whether a router's interface is in a network of customers' VMs.
pub(super) fn is_of_guests(nic: &vm::nic::Model) -> bool {
    ![MANAGEMENT_SLOT, PUBLIC_SLOT].contains(&nic.slot)
}
