//! What becomes of the disks, network interfaces and ISO of a VM that were on their way in or out.
//!
//! ```text
//!                attach                  the host has it so
//!   not there ------------> attaching ------------------------> attached
//!       ^                       | given up                         | detach
//!       |  the host has it so   v                                  v
//!       +------------------- detaching <---------------------------+
//!                               | given up while it was asked for: attached again
//! ```
//! The host is told of all that is attached or attaching, with a new generation. When it says that this generation is in
//! force, or that the VM is gone, whatever was on its way has arrived. What is given up goes the other way, and must.

use podzol_mgmt_api::vm::Attachment;
use podzol_mgmt_db::{Col, JsonCol, Tx, vm, volume};
use podzol_vocab::VmId;

use crate::vm::out_of_drive;
use crate::{App, AppError};

/// Everything on its way has arrived. The VM's own row is left to be written.
pub(super) async fn arrived(app: &App, tx: &Tx, vm: &mut vm::Model) -> Result<(), AppError> {
    match vm.iso_attachment.0 {
        Attachment::Attached => {}
        Attachment::Attaching => vm.iso_attachment = JsonCol(Attachment::Attached),
        Attachment::Detaching => out_of_drive(vm),
    }
    let vm = vm.id;
    for mut row in volume::of_vms(tx.reader(), &[vm]).await? {
        match row.attachment.0 {
            Attachment::Attached => continue,
            Attachment::Attaching => row.attachment = JsonCol(Attachment::Attached),
            Attachment::Detaching => let_go(&mut row),
        }
        tx.volume_update(row).await?;
    }
    for mut row in vm::nics(tx.reader(), &[vm]).await? {
        match row.attachment.0 {
            Attachment::Attached => {}
            Attachment::Attaching => {
                row.attachment = JsonCol(Attachment::Attached);
                tx.nic_update(row).await?;
            }
            Attachment::Detaching => {
                app.rules_without(tx, &[row.id.0]).await?;
                tx.nic_delete(row.id).await?;
            }
        }
    }
    Ok(())
}

/// Everything on its way goes the other way. Says whether there was anything. The VM's own row is left to be written.
///
/// A router's interfaces are what its networks need, so they stay on their way until they are there, or gone.
pub(super) async fn turned_back(tx: &Tx, vm: &mut vm::Model, why: &str) -> Result<bool, AppError> {
    let mut any = false;
    if let Some(back) = back(vm.iso_attachment.0) {
        vm.iso_attachment = JsonCol(back);
        any = true;
    }
    let is_router = vm.role.is_some();
    let vm = vm.id;
    for mut row in volume::of_vms(tx.reader(), &[vm]).await? {
        let Some(back) = back(row.attachment.0) else { continue };
        row.attachment = JsonCol(back);
        row.error = Some(why.to_owned());
        tx.volume_update(row).await?;
        any = true;
    }
    for mut row in vm::nics(tx.reader(), &[vm]).await? {
        let Some(back) = back(row.attachment.0) else { continue };
        any = true;
        if !is_router {
            row.attachment = JsonCol(back);
            tx.nic_update(row).await?;
        }
    }
    Ok(any)
}

/// The VM is being destroyed: its data volumes stay, and are nobody's.
pub(super) async fn volumes_left(tx: &Tx, vm: Col<VmId>) -> Result<(), AppError> {
    for mut row in volume::of_vms(tx.reader(), &[vm]).await?.into_iter().filter(|row| !row.is_root()) {
        let_go(&mut row);
        tx.volume_update(row).await?;
    }
    Ok(())
}

fn let_go(row: &mut volume::Model) {
    (row.vm_id, row.attached_at) = (None, None);
    row.attachment = JsonCol(Attachment::Attached);
}

fn back(attachment: Attachment) -> Option<Attachment> {
    match attachment {
        Attachment::Attached => None,
        Attachment::Attaching => Some(Attachment::Detaching),
        Attachment::Detaching => Some(Attachment::Attached),
    }
}
