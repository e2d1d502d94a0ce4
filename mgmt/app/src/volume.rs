//! Volumes, as customers see them, and how they get into VMs and out of them.

use podzol_mgmt_api::limits::InUse;
use podzol_mgmt_api::vm::Attachment;
use podzol_mgmt_api::volume::{Volume, VolumeAttach, VolumeCreate, VolumeFilter, VolumeResize, VolumeState};
use podzol_mgmt_api::{Created, Page, PageQuery};
use podzol_mgmt_db::{
    JsonCol, Reader, Tx, account, find, now, operation as operation_row, pool, vm, volume, zone,
};
use podzol_vocab::{ByteSize, VmId, VolumeId};

use crate::error::Meaning;
use crate::operation::NewOperation;
use crate::vm::{MAX_DISKS, owner_of};
use crate::{Actor, App, AppError, Once, operation, quota, view};

/// How long a volume may take to be made: longer than a storage server that is restarted is away.
const MAKE: std::time::Duration = std::time::Duration::from_secs(300);

/// The largest volume in GiB.
const MAX_GIB: u64 = podzol_storage_api::LARGEST_VOLUME.0 >> 30;

impl App {
    /// Creates an empty data volume; an operation makes it on its storage server.
    ///
    /// # Errors
    /// When a field breaks a rule, or no pool has room.
    pub async fn volume_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: VolumeCreate,
    ) -> Result<Created<Volume>, AppError> {
        let account = actor.account_for(body.account)?;
        if !(1..=MAX_GIB).contains(&body.size_gib) {
            return Err(AppError::invalid("size_gib", format!("must be 1 to {MAX_GIB}")));
        }
        let size_bytes = ByteSize::from_gib(body.size_gib).0 as i64;
        self.create(actor, once, async |tx| {
            let db = tx.reader();
            let owner = find::<account::Entity>(db, account).await?.ok_or(AppError::NotFound("account"))?;
            let wanted = InUse { volumes: 1, storage_bytes: size_bytes as u64, ..InUse::default() };
            quota::check(db, &owner, wanted).await?;
            let zone = find::<zone::Entity>(db, body.zone).await?;
            let zone = zone.ok_or_else(|| AppError::invalid("zone", "there is no such zone"))?;
            let pool = self.choose_pool(db, zone.id.0, size_bytes).await?;
            let row = volume::Model {
                id: VolumeId::new().into(),
                account_id: account.into(),
                zone_id: zone.id,
                vm_id: None,
                pool_id: pool.id,
                name: Some(body.name.clone().into()),
                kind: volume::DATA.into(),
                size_bytes,
                state: JsonCol(VolumeState::Creating),
                file: None,
                attachment: JsonCol(Attachment::Attached),
                attached_at: None,
                error: None,
                has_grown: false,
                created_at: now().0,
            };
            tx.volume_create(row.clone()).await.or_taken(|| AppError::taken("volume", &body.name))?;
            let operation = operation::start(tx, volume_operation("volume.create", &row, &pool)).await?;
            self.record(tx, actor, "volume.create", Some(account), "volume", row.id.0, &body.name).await?;
            Ok(Created { object: view::volume(row, actor), operation: view::operation(operation) })
        })
        .await
    }

    /// The volumes that the caller may see.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn volume_list(
        &self,
        actor: &Actor,
        filter: &VolumeFilter,
        query: &PageQuery,
    ) -> Result<Page<Volume>, AppError> {
        let page = view::page_of(query)?;
        let filter =
            volume::Filter { account: actor.scope(filter.account), state: filter.state, vm: filter.vm };
        let rows = volume::list(self.db.reader(), &filter, &page).await?;
        let items = rows.into_iter().map(|row| view::volume(row, actor)).collect();
        Ok(view::page(&page, items, |volume| volume.id.to_string()))
    }

    /// A volume.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn volume_show(&self, actor: &Actor, id: VolumeId) -> Result<Volume, AppError> {
        Ok(view::volume(self.volume_row(self.db.reader(), actor, id).await?, actor))
    }

    /// Destroys a data volume that no VM has.
    ///
    /// # Errors
    /// When a VM has it.
    pub async fn volume_delete(&self, actor: &Actor, id: VolumeId) -> Result<Created<Volume>, AppError> {
        let tx = self.db.begin().await?;
        let mut row = self.data_volume(tx.reader(), actor, id).await?;
        if row.vm_id.is_some() {
            let detail = "a VM has the volume; detach it first".into();
            return Err(AppError::Conflict { code: "volume_attached", detail });
        }
        row.state = JsonCol(VolumeState::Deleting);
        tx.volume_update(row.clone()).await?;
        let pool = pool_of(tx.reader(), &row).await?;
        let operation = operation::start(&tx, volume_operation("volume.delete", &row, &pool)).await?;
        self.record_volume(&tx, actor, "volume.delete", &row).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(Created { object: view::volume(row, actor), operation: view::operation(operation) })
    }

    /// Gives a volume a larger size, while its VM runs too.
    ///
    /// # Errors
    /// When it is not ready, the size is not larger, its account may not have that much, or its pool has no room.
    pub async fn volume_resize(
        &self,
        actor: &Actor,
        id: VolumeId,
        body: VolumeResize,
    ) -> Result<Created<Volume>, AppError> {
        let size = ByteSize::from_gib(body.size_gib.min(MAX_GIB + 1));
        let tx = self.db.begin().await?;
        let row = self.volume_row(tx.reader(), actor, id).await?;
        if row.state.0 == VolumeState::Deleting {
            return Err(AppError::Conflict {
                code: "volume_deleting",
                detail: "the volume is being deleted".into(),
            });
        }
        if body.size_gib > MAX_GIB || size.0 as i64 <= row.size_bytes {
            let there = ByteSize(row.size_bytes as u64);
            let rule = format!("must be more than the volume has, {there}, and at most {MAX_GIB}");
            return Err(AppError::invalid("size_gib", rule));
        }
        let vm = match row.vm_id {
            Some(vm) => find::<vm::Entity>(tx.reader(), vm).await?,
            None => None,
        };
        vm.as_ref().map_or(Ok(()), crate::vm::must_take_changes)?;
        let row = self.volume_grow(&tx, row, size).await?;
        let operation = match vm.filter(|vm| vm.host_id.is_some()) {
            Some(vm) => self.vm_changes(&tx, vm).await?,
            None => {
                let begun = operation_row::open_of(tx.reader(), &row.id.to_string()).await?.pop();
                begun.ok_or_else(|| AppError::Internal("a volume grows without an operation".into()))?
            }
        };
        self.record_volume(&tx, actor, "volume.resize", &row).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(Created { object: view::volume(row, actor), operation: view::operation(operation) })
    }

    /// Writes a larger size of a volume, and starts the operation that brings it about if no VM on a host has it.
    pub(crate) async fn volume_grow(
        &self,
        tx: &Tx,
        mut row: volume::Model,
        size: ByteSize,
    ) -> Result<volume::Model, AppError> {
        if row.state.0 != VolumeState::Ready {
            let detail = "the volume is not ready".into();
            return Err(AppError::Conflict { code: "volume_not_ready", detail });
        }
        let more = size.0 as i64 - row.size_bytes;
        let wanted = InUse { storage_bytes: more as u64, ..InUse::default() };
        quota::check(tx.reader(), &owner_of(tx.reader(), row.account_id.0).await?, wanted).await?;
        let pool = pool_of(tx.reader(), &row).await?;
        self.must_have_room(tx.reader(), &pool, more)?;
        row.size_bytes = size.0 as i64;
        self.volume_grow_again(tx, row).await
    }

    /// Starts what brings the size about that a volume should have, if no VM on a host has it.
    pub(crate) async fn volume_grow_again(
        &self,
        tx: &Tx,
        mut row: volume::Model,
    ) -> Result<volume::Model, AppError> {
        let pool = pool_of(tx.reader(), &row).await?;
        row.state = JsonCol(VolumeState::Resizing);
        (row.has_grown, row.error) = (true, None);
        tx.volume_update(row.clone()).await?;
        if !is_on_host(tx.reader(), &row).await? {
            operation::start(tx, volume_operation("volume.resize", &row, &pool)).await?;
        }
        Ok(row)
    }

    /// Gives a volume to a VM: at once if it runs, else when it starts.
    ///
    /// # Errors
    /// When the volume is not ready or a VM has it, or that VM cannot have it.
    pub async fn volume_attach(
        &self,
        actor: &Actor,
        id: VolumeId,
        body: VolumeAttach,
    ) -> Result<Created<Volume>, AppError> {
        let tx = self.db.begin().await?;
        let mut row = self.data_volume(tx.reader(), actor, id).await?;
        if row.vm_id.is_some() {
            let detail = "a VM has the volume already".into();
            return Err(AppError::Conflict { code: "volume_attached", detail });
        }
        if row.state.0 != VolumeState::Ready {
            let detail = "the volume is not ready".into();
            return Err(AppError::Conflict { code: "volume_not_ready", detail });
        }
        let vm = self.vm_for(tx.reader(), actor, &row, body.vm).await?;
        row.vm_id = Some(vm.id);
        row.attachment = JsonCol(coming(&vm));
        row.attached_at = Some(now().0);
        row.error = None;
        tx.volume_update(row.clone()).await?;
        let operation = self.vm_changes(&tx, vm).await?;
        self.record_volume(&tx, actor, "volume.attach", &row).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(Created { object: view::volume(row, actor), operation: view::operation(operation) })
    }

    /// Takes a volume from its VM. The operating system of a VM that runs must let go of it.
    ///
    /// # Errors
    /// When no VM has it, or a VM boots from it.
    pub async fn volume_detach(&self, actor: &Actor, id: VolumeId) -> Result<Created<Volume>, AppError> {
        let tx = self.db.begin().await?;
        let mut row = self.data_volume(tx.reader(), actor, id).await?;
        let vm = match row.vm_id {
            Some(vm) => find::<vm::Entity>(tx.reader(), vm).await?,
            None => None,
        };
        let Some(vm) = vm else {
            let detail = "no VM has the volume".into();
            return Err(AppError::Conflict { code: "volume_not_attached", detail });
        };
        if vm.host_id.is_some() {
            crate::vm::must_take_changes(&vm)?;
            crate::vm::must_hear(&vm)?;
            row.attachment = JsonCol(Attachment::Detaching);
        } else {
            (row.vm_id, row.attached_at) = (None, None);
        }
        row.error = None;
        tx.volume_update(row.clone()).await?;
        let operation = self.vm_changes(&tx, vm).await?;
        self.record_volume(&tx, actor, "volume.detach", &row).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(Created { object: view::volume(row, actor), operation: view::operation(operation) })
    }

    /// The VM that is to have a volume.
    async fn vm_for(
        &self,
        db: &impl Reader,
        actor: &Actor,
        volume: &volume::Model,
        id: VmId,
    ) -> Result<vm::Model, AppError> {
        let found = find::<vm::Entity>(db, id).await?;
        let own = |vm: &vm::Model| actor.sees(vm.account_id.0) && vm.account_id == volume.account_id;
        let vm = found.filter(own).ok_or_else(|| AppError::invalid("vm", "there is no such VM"))?;
        if vm.zone_id != volume.zone_id {
            return Err(AppError::invalid("vm", "must be in the volume's zone"));
        }
        crate::vm::must_take_changes(&vm)?;
        if volume::of_vms(db, &[vm.id]).await?.len() >= MAX_DISKS {
            return Err(AppError::invalid("vm", format!("has {MAX_DISKS} disks already, which is the most")));
        }
        Ok(vm)
    }

    async fn data_volume(
        &self,
        db: &impl Reader,
        actor: &Actor,
        id: VolumeId,
    ) -> Result<volume::Model, AppError> {
        let row = self.volume_row(db, actor, id).await?;
        if row.is_root() {
            let detail = "a VM boots from the volume; it goes with that VM".into();
            return Err(AppError::Conflict { code: "volume_is_root", detail });
        }
        if row.state.0 == VolumeState::Deleting {
            let detail = "the volume is being deleted".into();
            return Err(AppError::Conflict { code: "volume_deleting", detail });
        }
        Ok(row)
    }

    async fn volume_row(
        &self,
        db: &impl Reader,
        actor: &Actor,
        id: VolumeId,
    ) -> Result<volume::Model, AppError> {
        let row = find::<volume::Entity>(db, id).await?;
        row.filter(|row| actor.sees(row.account_id.0)).ok_or(AppError::NotFound("volume"))
    }

    async fn record_volume(
        &self,
        tx: &Tx,
        actor: &Actor,
        action: &'static str,
        row: &volume::Model,
    ) -> Result<(), AppError> {
        let name = row.name.as_ref().map(ToString::to_string).unwrap_or_default();
        self.record(tx, actor, action, Some(row.account_id.0), "volume", row.id.0, &name).await
    }
}

/// Whether a VM that is on a host has a volume.
pub(crate) async fn is_on_host(db: &impl Reader, row: &volume::Model) -> Result<bool, AppError> {
    Ok(match row.vm_id {
        Some(vm) => find::<vm::Entity>(db, vm).await?.is_some_and(|vm| vm.host_id.is_some()),
        None => false,
    })
}

/// How what a VM is given comes into it: a VM without a host has it at once.
pub(crate) fn coming(vm: &vm::Model) -> Attachment {
    if vm.host_id.is_some() { Attachment::Attaching } else { Attachment::Attached }
}

/// The pool of a volume.
pub(crate) async fn pool_of(db: &impl Reader, row: &volume::Model) -> Result<pool::Model, AppError> {
    find::<pool::Entity>(db, row.pool_id).await?.ok_or(AppError::NotFound("pool"))
}

/// An operation on a volume. Making it may fail; its removal must get done.
pub(crate) fn volume_operation(kind: &'static str, row: &volume::Model, pool: &pool::Model) -> NewOperation {
    NewOperation {
        kind,
        account: Some(row.account_id.0),
        subject_kind: "volume",
        subject: row.id.to_string(),
        goal: None,
        queue: pool.storage_server_id.clone(),
        deadline: (kind == "volume.create").then_some(MAKE),
    }
}
