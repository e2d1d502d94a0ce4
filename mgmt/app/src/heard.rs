//! What servers have said last, in memory: a report that says nothing new costs no write. Every half minute all of them
//! are kept in one transaction, so that a restart knows them as they were.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use podzol_mgmt_db::server;

use crate::{App, AppError};

/// How many reports are written in one transaction, so that others get their turn in between.
const AT_ONCE: usize = 500;

/// The last report of each server, by the server's id.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<HashMap<String, Report>>);

#[derive(Debug, Clone)]
struct Report {
    at: i64,
    text: String,
    kept: bool,
}

impl Heard {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Report>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a report that came at a time, in milliseconds since 1970.
    pub(crate) fn note(&self, server: &str, at: i64, text: String) {
        self.all().insert(server.to_owned(), Report { at, text, kept: false });
    }

    /// Whether a server was heard at this time or later.
    pub(crate) fn since(&self, server: &str, at: i64) -> bool {
        self.all().get(server).is_some_and(|report| report.at >= at)
    }

    /// Forgets a server.
    pub(crate) fn forget(&self, server: &str) {
        self.all().remove(server);
    }

    /// A row with what the server has said since it was written.
    pub(crate) fn latest(&self, mut row: server::Model) -> server::Model {
        if let Some(report) = self.all().get(&row.id) {
            row.reported_at = row.reported_at.max(Some(report.at));
        }
        row
    }

    /// What a server has said last, if it has since this process began.
    pub(crate) fn report(&self, server: &str) -> Option<String> {
        self.all().get(server).map(|report| report.text.clone())
    }

    fn not_kept(&self) -> Vec<(String, Report)> {
        let all = self.all();
        let not_kept = all.iter().filter(|(_, report)| !report.kept);
        not_kept.map(|(id, report)| (id.clone(), report.clone())).collect()
    }

    fn kept(&self, written: &[(String, Report)]) {
        let mut all = self.all();
        for (id, written) in written {
            if let Some(report) = all.get_mut(id).filter(|report| report.at == written.at) {
                report.kept = true;
            }
        }
    }
}

/// Keeps what was heard.
pub(crate) async fn keep(app: App) -> Result<(), AppError> {
    for some in app.heard.not_kept().chunks(AT_ONCE) {
        let tx = app.db.begin_alone().await?;
        for (id, report) in some {
            tx.server_reported(id, report.at, report.text.clone()).await?;
        }
        tx.commit().await?;
        app.heard.kept(some);
    }
    Ok(())
}
