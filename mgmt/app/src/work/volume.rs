//! Making and destroying volumes.

use std::time::Duration;

use podzol_mgmt_api::volume::VolumeState;
use podzol_mgmt_db::{JsonCol, Tx, find, operation, template, vm, volume};
use podzol_mgmt_operations::Outcome;
use podzol_storage_api::{VolumeDelete, VolumePlan, VolumePut};
use podzol_vocab::{ByteSize, Sha256, VolumeId};

use crate::operation::NewOperation;
use crate::volume::{pool_of, volume_operation};
use crate::{App, AppError};

/// The deadline of a call.
const CALL: Duration = Duration::from_secs(35);

impl App {
    pub(super) async fn volume_attempt(&self, operation: &operation::Model) -> Result<Outcome, AppError> {
        let id: VolumeId = operation.subject.parse().map_err(|_| AppError::NotFound("volume"))?;
        let Some(row) = find::<volume::Entity>(self.db.reader(), id).await? else { return Ok(Outcome::Done) };
        match (operation.kind.as_str(), row.state.0) {
            ("volume.delete", _) => self.volume_remove(row).await,
            (_, VolumeState::Creating) => Ok(self.volume_make(&row, None).await?.unwrap_or(Outcome::Done)),
            (_, VolumeState::Resizing) => self.volume_resized(row).await,
            (_, VolumeState::Ready) => Ok(Outcome::Done),
            (_, VolumeState::Failed | VolumeState::Deleting) => {
                Ok(Outcome::Overtaken { detail: "overtaken by a later request".into() })
            }
        }
    }

    /// Has a volume that no VM on a host has get its new size. One that a VM has is left to that VM's host, which has it
    /// open; an operation on the VM is there, or comes.
    async fn volume_resized(&self, row: volume::Model) -> Result<Outcome, AppError> {
        let vm = match row.vm_id {
            Some(vm) => find::<vm::Entity>(self.db.reader(), vm).await?,
            None => None,
        };
        if vm.as_ref().is_some_and(|vm| vm.host_id.is_some()) {
            return Ok(Outcome::Again {
                code: "in_progress".into(),
                detail: "its VM's host gives it its new size".into(),
                after: Some(Duration::from_secs(1)),
            });
        }
        let template = self.made_of(&row).await?;
        let outcome = self.volume_make(&row, template).await?;
        // It must get done: what has grown in this database cannot shrink again.
        Ok(match outcome {
            None => Outcome::Done,
            Some(Outcome::Failed { code, detail }) => Outcome::again(code, detail),
            Some(outcome) => outcome,
        })
    }

    /// The template that a volume was made of; none of one that was made empty, to be installed on from an ISO.
    pub(super) async fn made_of(&self, row: &volume::Model) -> Result<Option<Sha256>, AppError> {
        let Some(vm) = row.vm_id.filter(|_| row.is_root()) else { return Ok(None) };
        let Some(vm) = find::<vm::Entity>(self.db.reader(), vm).await? else { return Ok(None) };
        let template = find::<template::Entity>(self.db.reader(), vm.template_id).await?;
        Ok(template.filter(|template| !template.is_iso()).map(|template| template.sha256.0))
    }

    /// Has a volume made on its storage server, empty or of a template that is in its pool. Something if that is not
    /// done yet or has failed.
    pub(super) async fn volume_make(
        &self,
        row: &volume::Model,
        template: Option<Sha256>,
    ) -> Result<Option<Outcome>, AppError> {
        let pool = pool_of(self.db.reader(), row).await?;
        let plan = VolumePlan { template, size: ByteSize(row.size_bytes as u64) };
        match self.ask_storage::<VolumePut>(&pool, &(pool.id.0, row.id.0), &plan, CALL).await? {
            Ok(status) => {
                let tx = self.db.begin().await?;
                let found = find::<volume::Entity>(tx.reader(), row.id).await?;
                let on_its_way = |found: &volume::Model| {
                    matches!(found.state.0, VolumeState::Creating | VolumeState::Resizing)
                        && found.size_bytes == row.size_bytes
                };
                if let Some(mut row) = found.filter(on_its_way) {
                    row.state = JsonCol(VolumeState::Ready);
                    row.file = Some(status.file);
                    tx.volume_update(row).await?;
                    tx.commit().await?;
                }
                Ok(None)
            }
            Err(outcome) => Ok(Some(outcome)),
        }
    }

    /// Has a volume destroyed on its storage server. Something if that is not done yet; it must get done, so a refusal
    /// is asked again too.
    pub(super) async fn volume_destroy(&self, row: &volume::Model) -> Result<Option<Outcome>, AppError> {
        let pool = pool_of(self.db.reader(), row).await?;
        Ok(match self.ask_storage::<VolumeDelete>(&pool, &(pool.id.0, row.id.0), &(), CALL).await? {
            Ok(()) => None,
            Err(Outcome::Failed { code, detail }) => Some(Outcome::again(code, detail)),
            Err(outcome) => Some(outcome),
        })
    }

    async fn volume_remove(&self, row: volume::Model) -> Result<Outcome, AppError> {
        if let Some(outcome) = self.volume_destroy(&row).await? {
            return Ok(outcome);
        }
        let tx = self.db.begin().await?;
        tx.volume_delete(&row).await?;
        tx.commit().await?;
        Ok(Outcome::Done)
    }

    pub(super) async fn volume_gave_up(
        &self,
        tx: &Tx,
        operation: &operation::Model,
        detail: &str,
    ) -> Result<(), AppError> {
        let id: VolumeId = operation.subject.parse().map_err(|_| AppError::NotFound("volume"))?;
        let found = find::<volume::Entity>(tx.reader(), id).await?;
        let Some(mut row) = found.filter(|row| row.state.0 == VolumeState::Creating) else { return Ok(()) };
        row.state = JsonCol(VolumeState::Failed);
        row.error = Some(detail.to_owned());
        Ok(tx.volume_update(row).await?)
    }

    pub(super) async fn volume_retried(
        &self,
        tx: &Tx,
        operation: &operation::Model,
    ) -> Result<NewOperation, AppError> {
        let gone = || AppError::Conflict { code: "goal_gone", detail: "the volume is gone".into() };
        let id: VolumeId = operation.subject.parse().map_err(|_| gone())?;
        let found = find::<volume::Entity>(tx.reader(), id).await?;
        let mut row = found.filter(|row| row.state.0 == VolumeState::Failed).ok_or_else(gone)?;
        row.state = JsonCol(VolumeState::Creating);
        row.error = None;
        let pool = pool_of(tx.reader(), &row).await?;
        tx.volume_update(row.clone()).await?;
        Ok(volume_operation("volume.create", &row, &pool))
    }
}
