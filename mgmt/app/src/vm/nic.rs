//! Network interfaces of VMs.

use podzol_mgmt_api::Created;
use podzol_mgmt_api::limits::InUse;
use podzol_mgmt_api::vm::{Attachment, NicCreate, NicUpdate, Vm};
use podzol_mgmt_db::{JsonCol, Reader, Tx, find, network, server, vm};
use podzol_vocab::{MacAddr, NicId, VmId};

use super::{created, must_hear, must_take_changes, owner_of};
use crate::router::room::must_have_room_for_nic;
use crate::volume::coming;
use crate::{Actor, App, AppError, Once, operation, quota};

/// The most network interfaces of a VM.
pub(super) const MAX_NICS: usize = 8;

impl App {
    /// Gives a VM a network interface: at once if it runs, else when it starts.
    ///
    /// # Errors
    /// When it cannot be in that network, or has as many interfaces as it may have.
    pub async fn nic_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        id: VmId,
        body: NicCreate,
    ) -> Result<Created<Vm>, AppError> {
        self.create(actor, once, async |tx| {
            let row = self.vm_row(tx.reader(), actor, id).await?;
            must_take_changes(&row)?;
            let found = find::<network::Entity>(tx.reader(), body.network).await?;
            let network = found.filter(|network| network.is_there() && network.account_id == row.account_id);
            let network = network
                .ok_or_else(|| AppError::invalid("network", "the VM's account has no such network"))?;
            if network.zone_id != row.zone_id {
                return Err(AppError::invalid("network", "must be in the VM's zone"));
            }
            let nics = vm::nics(tx.reader(), &[row.id]).await?;
            if nics.len() >= MAX_NICS {
                let rule = format!("the VM has {MAX_NICS} network interfaces already, which is the most");
                return Err(AppError::invalid("network", rule));
            }
            if nics.iter().any(|nic| nic.network_id == network.id) {
                return Err(AppError::invalid("network", "the VM has an interface in it already"));
            }
            self.must_carry(tx.reader(), &row, &network).await?;
            must_have_room_for_nic(tx.reader(), &row, &network).await?;
            let more = InUse { addresses: 1, ..InUse::default() };
            quota::check(tx.reader(), &owner_of(tx.reader(), row.account_id.0).await?, more).await?;
            let slot = nics.iter().map(|nic| nic.slot + 1).max().unwrap_or(0);
            let nic = new_nic(tx.reader(), id, slot, &network, coming(&row))?;
            tx.nic_create(nic).await?;
            if row.host_id.is_some() {
                self.router_for_vm(tx, &row).await?;
            }
            let operation = self.vm_changes(tx, row.clone()).await?;
            self.record(tx, actor, "nic.create", Some(row.account_id.0), "vm", id, &network.name.0).await?;
            let row = self.vm_row(tx.reader(), actor, id).await?;
            created(tx.reader(), row, operation, actor).await
        })
        .await
    }

    /// Refuses a network on a VXLAN for a VM on a host that can have no tunnels.
    async fn must_carry(
        &self,
        db: &impl Reader,
        row: &vm::Model,
        network: &network::Model,
    ) -> Result<(), AppError> {
        if network.tag().is_none_or(|tag| tag.vxlan().is_none()) {
            return Ok(());
        }
        let hosts =
            server::hosts(db, [row.host_id, row.moving_to].into_iter().flatten().map(|host| host.0)).await?;
        match hosts.iter().find(|host| host.tunnel_address.is_none()) {
            None => Ok(()),
            Some(host) => Err(AppError::Conflict {
                code: "no_tunnels",
                detail: format!("the network is on a VXLAN, which the VM's host {} cannot carry", host.name),
            }),
        }
    }

    /// Changes what a network interface may send, while its VM runs too.
    ///
    /// # Errors
    /// When the caller sees none of that id.
    pub async fn nic_update(
        &self,
        actor: &Actor,
        nic: NicId,
        body: NicUpdate,
    ) -> Result<Created<Vm>, AppError> {
        self.nic_change(actor, nic, "nic.update", async |tx, _, mut nic| {
            nic.may_route = body.may_route.unwrap_or(nic.may_route);
            Ok(tx.nic_update(nic).await?)
        })
        .await
    }

    /// Takes a network interface from a VM. The operating system of a VM that runs must let go of it.
    ///
    /// # Errors
    /// When the caller sees none of that id, or it is the VM's only one.
    pub async fn nic_delete(&self, actor: &Actor, nic: NicId) -> Result<Created<Vm>, AppError> {
        self.nic_change(actor, nic, "nic.delete", async |tx, row, mut leaving| {
            must_hear(row)?;
            let nics = vm::nics(tx.reader(), &[row.id]).await?;
            let staying =
                |one: &vm::nic::Model| one.id != leaving.id && one.attachment.0 != Attachment::Detaching;
            if !nics.iter().any(staying) {
                let detail = "it is the VM's only network interface".into();
                return Err(AppError::Conflict { code: "nic_is_last", detail });
            }
            if row.host_id.is_some() {
                leaving.attachment = JsonCol(Attachment::Detaching);
                Ok(tx.nic_update(leaving).await?)
            } else {
                self.rules_without(tx, &[leaving.id.0]).await?;
                Ok(tx.nic_delete(leaving.id).await?)
            }
        })
        .await
    }

    /// Changes a network interface, and starts the operation that brings that to its VM's host.
    async fn nic_change(
        &self,
        actor: &Actor,
        nic: NicId,
        kind: &'static str,
        change: impl AsyncFnOnce(&Tx, &vm::Model, vm::nic::Model) -> Result<(), AppError>,
    ) -> Result<Created<Vm>, AppError> {
        let tx = self.db.begin().await?;
        let nic = find::<vm::nic::Entity>(tx.reader(), nic).await?.ok_or(AppError::NotFound("nic"))?;
        let found = find::<vm::Entity>(tx.reader(), nic.vm_id).await?;
        let seen = found.filter(|row| actor.sees(row.account_id.0));
        let row = seen.ok_or(AppError::NotFound("nic"))?;
        must_take_changes(&row)?;
        change(&tx, &row, nic).await?;
        let operation = self.vm_changes(&tx, row.clone()).await?;
        self.record(&tx, actor, kind, Some(row.account_id.0), "vm", row.id.0, &row.name.0).await?;
        let row = self.vm_row(tx.reader(), actor, row.id.0).await?;
        let answer = created(tx.reader(), row, operation, actor).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(answer)
    }

    /// Starts the operation that brings what has changed of a VM's disks and network interfaces to its host, if it has
    /// one.
    pub(crate) async fn vm_changes(
        &self,
        tx: &Tx,
        mut row: vm::Model,
    ) -> Result<podzol_mgmt_db::operation::Model, AppError> {
        row.generation += 1;
        tx.vm_update(row.clone()).await?;
        operation::start(tx, self.vm_operation("vm.change", &row)).await
    }
}

/// A network interface for a VM, with a free address of its network.
pub(super) fn new_nic(
    db: &impl Reader,
    vm: VmId,
    slot: i64,
    network: &network::Model,
    attachment: Attachment,
) -> Result<vm::nic::Model, AppError> {
    let free = db.ledger().free_address(network.id.0, &network.cidr.vm_addresses());
    let address = free.ok_or_else(|| AppError::Exhausted {
        code: "addresses_exhausted",
        detail: format!("no address left in network {} ({} all in use)", network.name.0, network.cidr.0),
        reasons: vec![],
    })?;
    Ok(vm::nic::Model {
        id: NicId::new().into(),
        vm_id: vm.into(),
        slot,
        network_id: network.id,
        address: address.into(),
        mac: MacAddr::local(rand::random()).into(),
        attachment: JsonCol(attachment),
        may_route: false,
    })
}
