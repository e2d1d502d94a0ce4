//! Has deleted VMs go for good when their time to be recovered is up.

use podzol_mgmt_db::event::NewEvent;
use podzol_mgmt_db::{now, vm};

use crate::operation::start;
use crate::{App, AppError};

/// How many VMs go in one transaction.
const AT_ONCE: u64 = 100;

pub(crate) async fn round(app: App) -> Result<(), AppError> {
    while !vm::to_expunge(app.db.reader(), now().0, 1).await?.is_empty() {
        let tx = app.db.begin_alone().await?;
        for mut row in vm::to_expunge(tx.reader(), now().0, AT_ONCE).await? {
            crate::vm::expunge(&mut row);
            tx.vm_update(row.clone()).await?;
            start(&tx, app.vm_operation("vm.delete", &row)).await?;
            tx.event_create(NewEvent::of_management(
                "vm.expunge",
                Some(row.account_id.0),
                "vm",
                row.id,
                row.name.to_string(),
            ))
            .await?;
        }
        tx.commit().await?;
        app.wake.notify_one();
    }
    Ok(())
}
