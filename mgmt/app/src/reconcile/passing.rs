//! Gives what is between two states an operation, if it has none: nothing stays on its way for ever.
//!
//! Use cases and reports write a passing state together with the operation that ends it, so a round finds something
//! only where an operation ended just as another was not begun because of it.

use podzol_mgmt_api::pool::PoolState;
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_api::volume::VolumeState;
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{find, pool, vm, volume};

use crate::operation::{NewOperation, start};
use crate::pool::pool_operation;
use crate::volume::{pool_of, volume_operation};
use crate::{App, AppError};

pub(crate) async fn round(app: App) -> Result<(), AppError> {
    let db = app.db.reader();
    let idle = vm::passing_without_operation(db).await?.len()
        + vm::changing_without_operation(db).await?.len()
        + volume::passing_without_operation(db).await?.len()
        + pool::passing_without_operation(db).await?.len();
    if idle == 0 {
        return Ok(());
    }
    let tx = app.db.begin_alone().await?;
    for row in vm::passing_without_operation(tx.reader()).await? {
        let kind = match row.desired.0 {
            Desired::Running if row.state.0 == VmState::Migrating => "vm.migrate",
            Desired::Running => "vm.start",
            Desired::Stopped if row.expunge_at.is_some() => "vm.delete",
            Desired::Stopped => "vm.stop",
            Desired::Deleted => "vm.delete",
        };
        tracing::warn!(vm = %row.id, state = ?row.state.0, kind, "a VM was on its way without an operation");
        debug_assert!(!matches!(
            row.state.0,
            VmState::Running | VmState::Paused | VmState::Stopped | VmState::Failed
        ));
        start(&tx, app.vm_operation(kind, &row)).await?;
    }
    for mut row in vm::changing_without_operation(tx.reader()).await? {
        tracing::warn!(vm = %row.id, "something of a VM was on its way without an operation");
        // Whatever its host has refused under the number before, it takes under a new one.
        row.generation += 1;
        tx.vm_update(row.clone()).await?;
        start(&tx, NewOperation { deadline: None, ..app.vm_operation("vm.change", &row) }).await?;
    }
    for row in volume::passing_without_operation(tx.reader()).await? {
        let vm = match row.vm_id.filter(|_| row.state.0 == VolumeState::Resizing) {
            Some(vm) => find::<vm::Entity>(tx.reader(), vm).await?.filter(|vm| vm.host_id.is_some()),
            None => None,
        };
        if let Some(vm) = vm {
            if podzol_mgmt_db::operation::open_of(tx.reader(), &vm.id.to_string()).await?.is_empty() {
                tracing::warn!(volume = %row.id, vm = %vm.id, "a volume was being resized without an operation");
                start(&tx, NewOperation { deadline: None, ..app.vm_operation("vm.change", &vm) }).await?;
            }
            continue;
        }
        let kind = match row.state.0 {
            VolumeState::Deleting => "volume.delete",
            VolumeState::Resizing => "volume.resize",
            _ => "volume.create",
        };
        tracing::warn!(volume = %row.id, kind, "a volume was on its way without an operation");
        let pool = pool_of(tx.reader(), &row).await?;
        start(&tx, volume_operation(kind, &row, &pool)).await?;
    }
    for row in pool::passing_without_operation(tx.reader()).await? {
        let kind = if row.state.0 == PoolState::Deleting { "pool.delete" } else { "pool.create" };
        tracing::warn!(pool = %row.id, kind, "a pool was on its way without an operation");
        start(&tx, pool_operation(kind, &row)).await?;
    }
    tx.commit().await?;
    app.wake.notify_one();
    Ok(())
}
