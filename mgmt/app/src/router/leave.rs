//! Networks that go: a router lets go of what was deleted, and only then is it forgotten.
//!
//! ```text
//!   deleted ─▶ its rules go, the router is told without it, and its host unplugs the interface ─┬─ IPv4 only ─▶ forgotten
//!                                                                                               └─ IPv6 ─▶ once the router was told
//! ```
//!
//! # Design notes
//! With its last network with IPv6, an account's part of the zone's prefix is anybody's, and the next hop to that with it. A
//! router that was not told so far goes on answering for the next hop on the public network, where no host unplugs anything:
//! what is meant for the next account would come to it. So such a network is kept until the router has been told, or is no
//! more. A router that answers nobody is replaced meanwhile, and its part stays its account's until then.

use podzol_mgmt_api::vm::{Attachment, VmState};
use podzol_mgmt_db::{Reader, Tx, find, network, now, router, rule, vm};

use super::in_network;
use crate::{App, AppError};

impl App {
    /// Has a network go that no VM is in any more: at once, or when the router has let go of it.
    pub(crate) async fn network_goes(&self, tx: &Tx, mut row: network::Model) -> Result<(), AppError> {
        let rules = rule::of_network(tx.reader(), row.id.0).await?;
        self.rules_go(tx, &rules, "its network was deleted").await?;
        let mut is_held = false;
        for vm in vm::of_network(tx.reader(), row.id.0).await? {
            is_held |= self.lets_go(tx, &row, vm).await?;
        }
        if is_held {
            row.deleted_at = Some(now().0);
            Ok(tx.network_update(row).await?)
        } else {
            Ok(tx.network_delete(&row).await?)
        }
    }

    /// Has a router's VM let go of a network. Says whether it has it until its host has said so.
    async fn lets_go(&self, tx: &Tx, network: &network::Model, vm: vm::Model) -> Result<bool, AppError> {
        let nics = vm::nics(tx.reader(), &[vm.id]).await?;
        let Some(nic) = in_network(&nics, network.id).cloned() else { return Ok(false) };
        let Some(router) = router::of_vm(tx.reader(), vm.id.0).await? else { return Ok(true) };
        let others = network::with_router(tx.reader(), network.account_id.0, network.zone_id.0).await?;
        let serves_another =
            others.iter().any(|other| other.id != network.id && in_network(&nics, other.id).is_some());
        if !serves_another {
            self.router_event(tx, &router, "router.collect", "its last network was deleted").await?;
            self.router_goes(tx, &router).await?;
            return Ok(true);
        }
        if vm.host_id.is_none() {
            tx.nic_delete(nic.id).await?;
            return Ok(false);
        }
        crate::vm::must_take_changes(&vm)?;
        let mut nic = nic;
        nic.attachment = podzol_mgmt_db::JsonCol(Attachment::Detaching);
        tx.nic_update(nic).await?;
        self.vm_changes(tx, vm).await?;
        Ok(true)
    }

    /// Forgets networks that were deleted and that nothing is in any more.
    pub(super) async fn forget_networks(&self) -> Result<(), AppError> {
        if self.to_be_forgotten(self.db.reader()).await?.is_empty() {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        for row in self.to_be_forgotten(tx.reader()).await? {
            tx.network_delete(&row).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn to_be_forgotten(&self, db: &impl Reader) -> Result<Vec<network::Model>, AppError> {
        let mut rows = Vec::new();
        for row in network::deleted_and_empty(db).await? {
            if row.prefix6.is_none() || !self.may_have_prefix(db, &row).await? {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// Whether the router of a deleted network with IPv6 may still have its prefix, as nobody has told it otherwise.
    async fn may_have_prefix(&self, db: &impl Reader, row: &network::Model) -> Result<bool, AppError> {
        let Some(router) = router::of(db, row.account_id.0, row.zone_id.0).await? else { return Ok(false) };
        let found = find::<vm::Entity>(db, router.vm_id).await?;
        let Some(vm) = found.filter(|vm| vm.host_id.is_some() && vm.state.0 != VmState::Stopped) else {
            return Ok(false);
        };
        let Some(known) = self.here.routers.get(vm.id.0) else { return Ok(true) };
        // Who is just telling it something has not done so yet.
        Ok(known.told.try_lock().map_or(true, |told| {
            told.as_ref().is_none_or(|document| document.guests.contains_key(&row.id.0))
        }))
    }
}
