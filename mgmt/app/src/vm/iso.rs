//! The ISO in a VM's CD drive.
//!
//! It comes and goes as volumes do, through the same passing states: a running VM has it once its host says so, and what
//! fails goes back to how it was. As long as it is on its way out, the VM's row refers to its template, so that no template
//! is deleted which a host still has open.
//!
//! A VM that is created of an ISO has its disk before the drive, as every VM: there is nothing on the disk yet, so its
//! firmware goes on to the drive, and once a system is installed, that boots. Refused: the drive first, which would have
//! every reset end in the installer again until somebody detaches the ISO. Who wants the drive first attaches the ISO with
//! `boot`, which holds from the VM's next start on, as QEMU knows the order from its start.
//!
//! A VM that was started before there were drives has none until its next start. Its host says so, and is asked again until
//! the operation's time is up; then nothing is attached.
//!
//! # Design notes
//! Refused: to put another ISO in the place of the one that is in the drive, in one call. What should then be undone, when
//! the host cannot do it, would have to be remembered; and whoever wants two ISOs says so with two calls.

use podzol_mgmt_api::Created;
use podzol_mgmt_api::template::TemplateState;
use podzol_mgmt_api::vm::{Attachment, IsoAttach, Vm};
use podzol_mgmt_db::{JsonCol, Tx, find, template, vm};
use podzol_vocab::VmId;

use super::{created, must_take_changes};
use crate::volume::coming;
use crate::{Actor, App, AppError};

impl App {
    /// Puts an ISO into a VM's drive: at once if it runs, else when it starts. The one that is there already gets another
    /// say in whether the VM boots from it.
    ///
    /// # Errors
    /// When it is no ISO or not ready, the VM has another one, or it is moving or deleted.
    pub async fn iso_attach(
        &self,
        actor: &Actor,
        id: VmId,
        body: IsoAttach,
    ) -> Result<Created<Vm>, AppError> {
        self.iso_change(actor, id, "iso.attach", async |tx, row| {
            let found = find::<template::Entity>(tx.reader(), body.template).await?;
            let iso = found.ok_or_else(|| AppError::invalid("template", "there is no such template"))?;
            if !iso.is_iso() {
                return Err(AppError::invalid("template", "must be an ISO"));
            }
            if iso.state.0 != TemplateState::Ready {
                let detail = format!("template {} is not ready yet", iso.name.0);
                return Err(AppError::Conflict { code: "template_not_ready", detail });
            }
            if row.iso_id.is_some_and(|there| there != iso.id) {
                let detail = "the VM has another ISO in its drive; detach that first".into();
                return Err(AppError::Conflict { code: "iso_attached", detail });
            }
            if row.iso_id.is_none() || row.iso_attachment.0 == Attachment::Detaching {
                row.iso_attachment = JsonCol(coming(row));
            }
            row.iso_id = Some(iso.id);
            row.iso_boots = body.boot;
            Ok(iso.name.to_string())
        })
        .await
    }

    /// Takes the ISO from a VM's drive, whether its operating system lets go of it or not.
    ///
    /// # Errors
    /// When it has none, or the VM is moving or deleted.
    pub async fn iso_detach(&self, actor: &Actor, id: VmId) -> Result<Created<Vm>, AppError> {
        self.iso_change(actor, id, "iso.detach", async |tx, row| {
            let Some(iso) = row.iso_id else {
                let detail = "the VM has no ISO in its drive".into();
                return Err(AppError::Conflict { code: "iso_not_attached", detail });
            };
            let name = find::<template::Entity>(tx.reader(), iso).await?.map(|iso| iso.name.to_string());
            match row.host_id {
                Some(_) => row.iso_attachment = JsonCol(Attachment::Detaching),
                None => out_of_drive(row),
            }
            Ok(name.unwrap_or_default())
        })
        .await
    }

    /// Changes what is in a VM's drive, and starts the operation that brings that to its host. The change gives the name
    /// of the ISO.
    async fn iso_change(
        &self,
        actor: &Actor,
        id: VmId,
        action: &'static str,
        change: impl AsyncFnOnce(&Tx, &mut vm::Model) -> Result<String, AppError>,
    ) -> Result<Created<Vm>, AppError> {
        let tx = self.db.begin().await?;
        let mut row = self.vm_row(tx.reader(), actor, id).await?;
        must_take_changes(&row)?;
        let name = change(&tx, &mut row).await?;
        let account = row.account_id.0;
        let operation = self.vm_changes(&tx, row).await?;
        self.record(&tx, actor, action, Some(account), "vm", id, &name).await?;
        let row = self.vm_row(tx.reader(), actor, id).await?;
        let answer = created(tx.reader(), row, operation, actor).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(answer)
    }
}

/// Nothing is in a VM's drive any more.
pub(crate) fn out_of_drive(row: &mut vm::Model) {
    (row.iso_id, row.iso_boots) = (None, false);
    row.iso_attachment = JsonCol(Attachment::Attached);
}
