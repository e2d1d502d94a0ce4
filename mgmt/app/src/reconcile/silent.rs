//! Marks servers that have not reported for a while as disconnected.
//!
//! What runs on a silent host is left as it is: silence is no proof of death.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_db::event::NewEvent;
use podzol_mgmt_db::{JsonCol, find, now, server};
use tokio::time::Instant;

use crate::{App, AppError, Here};

/// How long this service stands still when it looks later than it should by that much.
const STILL: Duration = Duration::from_secs(3);

/// How seldom servers report at most.
pub(crate) const SELDOM: Duration = Duration::from_secs(60);

/// Since when this service has been running without standing still, as a machine does that is paused or has no time for it.
#[derive(Debug)]
pub(crate) struct Awake(Mutex<Looks>);

#[derive(Debug)]
struct Looks {
    since: Instant,
    last: Instant,
}

impl Awake {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(Looks { since: now, last: now }))
    }

    /// Called each second.
    fn look(&self) {
        let mut looks = self.looks();
        let now = Instant::now();
        if now - looks.last > STILL {
            looks.since = now;
        }
        looks.last = now;
    }

    /// For how long it has been running so.
    fn lasted(&self) -> Duration {
        let looks = self.looks();
        looks.last - looks.since
    }

    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Here {
    /// Whether everybody who reports has had the time to: one that has been silent for so long is silent.
    pub(crate) fn could_hear(&self, silent_after: Duration) -> bool {
        self.since.elapsed() >= silent_after && self.awake.lasted() >= silent_after.min(SELDOM)
    }
}

pub(crate) async fn round(app: App) -> Result<(), AppError> {
    // Nobody could report while this service was away, or stood still.
    app.here.awake.look();
    if !app.here.could_hear(app.settings.silent_after) {
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
        let kind = if row.is_host { "host" } else { "storage-server" };
        let event = NewEvent::of_management("server.disconnected", None, kind, &row.id, row.name.to_string());
        tx.event_create(event).await?;
        row.state = JsonCol(ServerState::Disconnected);
        tx.server_update(row).await?;
    }
    Ok(tx.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_stood_still_has_been_awake_since_then() {
        let (awake, second) = (Awake::new(), Duration::from_secs(1));
        for seconds in 1..=20 {
            tokio::time::advance(second).await;
            awake.look();
            assert_eq!(awake.lasted(), second * seconds);
        }
        tokio::time::advance(second * 60).await;
        awake.look();
        assert_eq!(awake.lasted(), Duration::ZERO);
        tokio::time::advance(second).await;
        awake.look();
        assert_eq!(awake.lasted(), second);
    }
}
