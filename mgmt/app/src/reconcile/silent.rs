//! Marks servers that have not reported for a while as disconnected.
//!
//! What runs on a silent host is left as it is: silence is no proof of death.

use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_db::event::NewEvent;
use podzol_mgmt_db::{JsonCol, find, now, server};

use crate::{App, AppError};

pub(crate) async fn round(app: App) -> Result<(), AppError> {
    // Nobody could report while this service was away.
    if app.here.since.elapsed() < app.settings.silent_after {
        return Ok(());
    }
    let since = now().0 - app.settings.silent_after.as_millis() as i64;
    let mut silent = server::not_kept_since(app.db.reader(), since).await?;
    silent.retain(|id| !app.heard.since(id, since));
    if silent.is_empty() {
        return Ok(());
    }
    let tx = app.db.begin_alone().await?;
    for id in silent {
        let row = find::<server::Entity>(tx.reader(), id).await?;
        let Some(row) = row.filter(|row| row.state.0 == ServerState::Up) else { continue };
        let mut row = app.heard.latest(row);
        let event = NewEvent {
            action: "server.disconnected",
            actor: "management".into(),
            account: None,
            subject_kind: if row.is_host { "host" } else { "storage-server" },
            subject: row.id.clone(),
            detail: row.name.to_string(),
        };
        tx.event_create(event).await?;
        row.state = JsonCol(ServerState::Disconnected);
        tx.server_update(row).await?;
    }
    Ok(tx.commit().await?)
}
