//! Forgets what is no longer needed: old answers, ended operations, old changes and events, uploads of deleted templates. Adds up what was
//! counted for what is long gone.

use podzol_mgmt_db::{change, now, template};

use crate::authority::SERVER_DAYS;
use crate::{App, AppError};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// How long what was counted for something is kept by itself when that is no more: longer than any router runs. Its account can get an
/// address again, and the router that has gone on counting for it all the time must not have that added once more to the sum.
const COUNTED: i64 = (SERVER_DAYS + 75) * DAY;

/// How long it is kept that something was there which no router has counted: one that cannot be asked for longer has lost that.
const UNCOUNTED: i64 = 7 * DAY;

/// How long it is kept what was counted in which hour: a year, and a month to write its bill.
const HOURS_KEPT: i64 = 400 * DAY;

pub(crate) async fn round(app: App) -> Result<(), AppError> {
    let at = now().0;
    loop {
        let tx = app.db.begin().await?;
        let answers = tx.idempotency_forget_before(at - DAY).await?;
        let operations = tx.operation_forget_before(at - 30 * DAY).await?;
        let changes = change::forget_before(&tx, at - HOUR).await?;
        let events = tx.event_forget_before(at - app.settings.events_kept.as_millis() as i64).await?;
        let uncounted = tx.traffic_forget_uncounted_before(at - UNCOUNTED).await?;
        let summed = tx.traffic_sum_up_before(at - COUNTED).await?;
        let hours = tx.traffic_hours_forget_before(at - HOURS_KEPT).await?;
        tx.commit().await?;
        if answers + operations + changes + events + uncounted + summed + hours == 0 {
            return forget_uploads(&app).await;
        }
        tracing::debug!(
            answers,
            operations,
            changes,
            events,
            uncounted,
            summed,
            hours,
            "forgot what is no longer needed"
        );
    }
}

/// Removes uploaded files that no template has.
async fn forget_uploads(app: &App) -> Result<(), AppError> {
    let folder = &app.settings.template_folder;
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    let known: Vec<String> =
        template::all(app.db.reader()).await?.iter().map(|row| row.sha256.to_string()).collect();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let old =
            entry.metadata().and_then(|about| about.modified()).ok().and_then(|time| time.elapsed().ok());
        // A partial file may still be written to; after a day without a write it is not.
        let stale = old.is_some_and(|age| age.as_secs() > 86_400);
        let is_digest = name.len() == 64;
        if (is_digest && !known.contains(&name) && old.is_some_and(|age| age.as_secs() > 60))
            || (!is_digest && stale)
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}
