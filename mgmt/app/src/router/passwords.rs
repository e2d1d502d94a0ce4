//! Passwords that VMs should set, as CloudStack has them.
//!
//! ```text
//!   reset ─▶ shown once, in the VM's row ─▶ in its router's document ─▶ fetched by the VM at its boot, and set
//!     ▲                                                                                       │
//!     └── another one                            out of the row, and so of the document ◀── its router says so
//! ```
//! A password is in the database for as long as its VM has not set it, and nowhere in a log or an event. A router gives it to
//! that VM alone, by its address.

use podzol_mgmt_api::Created;
use podzol_mgmt_api::vm::VmPassword;
use podzol_mgmt_db::event::NewEvent;
use podzol_mgmt_db::{JsonCol, Reader, find, network, router, vm};
use podzol_vocab::{Secret, VmId};
use rand::Rng;

use crate::vm::must_stay;
use crate::{Actor, App, AppError, view};

/// Letters and digits that nobody takes for one another.
const LETTERS: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// How many of them a password has: some 116 bits.
const LENGTH: usize = 20;

impl App {
    /// Gives a VM a new password, which it sets at its next boot if there is something in it that asks for one.
    ///
    /// # Errors
    /// When it is being deleted, or is in no network with a router.
    pub async fn vm_reset_password(&self, actor: &Actor, id: VmId) -> Result<Created<VmPassword>, AppError> {
        let tx = self.db.begin().await?;
        let mut row = self.vm_row(tx.reader(), actor, id).await?;
        must_stay(&row)?;
        must_be_served(tx.reader(), &row).await?;
        let (password, account, zone) = (new_password(), row.account_id.0, row.zone_id.0);
        let name = row.name.0.clone();
        row.password = Some(JsonCol(password.clone()));
        tx.vm_update(row).await?;
        let operation = self.router_told(&tx, account, zone).await?;
        self.record(&tx, actor, "vm.reset-password", Some(account), "vm", id, &name).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(Created { object: VmPassword { vm: id, password }, operation: view::operation(operation) })
    }

    /// Forgets the passwords that VMs have set by what their router says.
    pub(super) async fn forget_passwords(&self, row: &router::Model, vm: VmId) -> Result<(), AppError> {
        for (vm, password) in self.passwords_set(row, vm) {
            let tx = self.db.begin().await?;
            let Some(mut row) = find::<vm::Entity>(tx.reader(), vm).await? else { continue };
            // It may have another one by now.
            if row.password.take_if(|own| own.0 == password).is_none() {
                continue;
            }
            tx.event_create(NewEvent::of_management(
                "vm.set-password",
                Some(row.account_id.0),
                "vm",
                vm,
                "the VM has set its new password",
            ))
            .await?;
            tx.vm_update(row).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// The passwords that VMs have set. What a router says is about the document that it has in force; if that is not the
    /// one that is known, or another one is being told, nothing is, and the next status says it again.
    fn passwords_set(&self, row: &router::Model, vm: VmId) -> Vec<(VmId, Secret<String>)> {
        let known = self.here.routers.of(row, vm);
        let Ok(told) = known.told.try_lock() else { return vec![] };
        let heard = known.heard();
        let (Some(told), Some(status)) = (&*told, &heard.status) else { return vec![] };
        if status.generation != Some(told.generation) {
            return vec![];
        }
        let password = |vm: &VmId| Some((*vm, told.vms.get(vm)?.password.clone()?));
        status.passwords_set.iter().filter_map(password).collect()
    }
}

/// Refuses a VM that no router gives its password.
async fn must_be_served(db: &impl Reader, row: &vm::Model) -> Result<(), AppError> {
    for nic in vm::nics(db, &[row.id]).await? {
        let found = find::<network::Entity>(db, nic.network_id).await?;
        if found.is_some_and(|network| network.has_router && network.is_there()) {
            return Ok(());
        }
    }
    let detail = "the VM is in no network with a router, which would give it its password".into();
    Err(AppError::Conflict { code: "no_router", detail })
}

fn new_password() -> Secret<String> {
    let mut random = rand::rng();
    let letter = |_| char::from(LETTERS[random.random_range(0..LETTERS.len())]);
    Secret::new((0..LENGTH).map(letter).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_passwords_are_the_same_and_nobody_misreads_one() {
        let (one, other) = (new_password(), new_password());
        assert_ne!(one, other);
        assert_eq!(one.expose().len(), LENGTH);
        assert!(!one.expose().contains(['0', 'O', '1', 'l', 'I']));
    }
}
