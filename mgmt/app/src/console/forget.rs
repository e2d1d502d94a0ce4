//! Sessions that are forgotten: their time is over, or nobody has had a page of them open for long.
//!
//! That pages are open is what proxies say, and stands in the rows to the minute. After this service was away the rows are as old
//! as that: so a session that has a place goes only when its proxy has said since that no page is open, and one without a place
//! when its page has had a minute to ask for one.

use std::time::Duration;

use podzol_console_proxy_api::{ProxyStatus, SessionStatus};
use podzol_mgmt_db::console::session;
use podzol_mgmt_db::{find, now};
use podzol_vocab::{ConsoleServerId, ConsoleSessionId};
use tokio::time::Instant;

use super::known::Known;
use super::session::SEEN_EVERY;
use crate::{App, AppError, ConsoleSettings};

/// How many are forgotten in one transaction.
const AT_ONCE: usize = 100;

impl App {
    /// Notes of which sessions pages are open.
    pub(super) async fn note_seen(&self, known: &Known, status: &ProxyStatus) -> Result<(), AppError> {
        let is_soon = |at: Instant| at.elapsed() < SEEN_EVERY;
        let seen: Vec<ConsoleSessionId> =
            status.all_sessions().filter(|(_, _, one)| one.viewers > 0).map(|(_, id, _)| id).collect();
        if seen.is_empty() || known.heard().noted_seen.is_some_and(is_soon) {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        tx.console_sessions_seen(&seen, now().0).await?;
        tx.commit().await?;
        known.heard().noted_seen = Some(Instant::now());
        Ok(())
    }

    /// Forgets sessions whose time is over, or whose pages have long been closed.
    pub(super) async fn forget_console_sessions(&self) -> Result<(), AppError> {
        let Some(settings) = &self.settings.console else { return Ok(()) };
        loop {
            let expired = session::expired(self.db.reader(), now().0, AT_ONCE as u64).await?;
            if expired.is_empty() {
                break;
            }
            self.forget_sessions(&expired, |row| row.expires_at <= now().0).await?;
        }
        if self.here.since.elapsed() < SEEN_EVERY {
            return Ok(());
        }
        let unseen = unseen(settings);
        let is_unseen = |row: &session::Model| row.seen_at <= now().0 - unseen.as_millis() as i64;
        let mut rows = session::unseen(self.db.reader(), now().0 - unseen.as_millis() as i64).await?;
        rows.retain(|row| match row.server_id {
            None => true,
            Some(server) => self.is_without_pages(server.0, row.id.0, unseen),
        });
        for rows in rows.chunks(AT_ONCE) {
            self.forget_sessions(rows, is_unseen).await?;
        }
        Ok(())
    }

    async fn forget_sessions(
        &self,
        rows: &[session::Model],
        still: impl Fn(&session::Model) -> bool,
    ) -> Result<(), AppError> {
        let tx = self.db.begin().await?;
        for row in rows {
            if let Some(row) = find::<session::Entity>(tx.reader(), row.id).await?.filter(&still) {
                tx.console_session_delete(&row).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// Whether the proxy of a session has said, since this service began, that no page of it was open for so long.
    fn is_without_pages(&self, server: ConsoleServerId, id: ConsoleSessionId, within: Duration) -> bool {
        let Some(proxy) = self.here.consoles.proxy_with(server) else { return false };
        let known = self.here.consoles.of(proxy);
        let heard = known.heard();
        let Some(status) = heard.status.as_ref().filter(|_| !heard.is_failing()) else { return false };
        // A server that hangs says nothing of its sessions.
        heard.works(server) && status.session(server, id).is_none_or(|one| has_no_page(one, within))
    }
}

/// For how long no page is open until a session is forgotten: its pages hear before that it is over.
fn unseen(settings: &ConsoleSettings) -> Duration {
    settings.session_idle + SEEN_EVERY * 2
}

fn has_no_page(session: &SessionStatus, within: Duration) -> bool {
    let now = now().0.max(0) as u64 / 1000;
    session.viewers == 0 && session.seen_unix.is_none_or(|seen| seen + within.as_secs() <= now)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use podzol_console_proxy_api::{Line, ServerStatus};
    use podzol_mgmt_db::Db;
    use podzol_vocab::{ConsoleProxyId, Generation, VmId};

    use super::*;
    use crate::console::scan::tests::app_in;

    fn session_of(viewers: u32, seen_unix: Option<u64>) -> SessionStatus {
        let (generation, vm) = (Generation(1), VmId::new());
        SessionStatus {
            generation,
            vm,
            viewers,
            seen_unix,
            input_unix: None,
            line: Line::Idle,
            sent_bytes: 0,
            over: false,
        }
    }

    #[tokio::test]
    async fn a_session_that_has_a_place_is_forgotten_only_when_its_proxy_has_said_that_no_page_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let app = app_in(folder.path(), Db::open(&folder.path().join("db")).await.unwrap());
        let (proxy, server) = (ConsoleProxyId::new(), ConsoleServerId::new());
        let hour = Duration::from_secs(3600);
        let [open, late, closed, gone] = [(); 4].map(|()| ConsoleSessionId::new());
        let forgotten = || [open, late, closed, gone].map(|id| app.is_without_pages(server, id, hour));
        assert_eq!(forgotten(), [false; 4]);
        let known = app.here.consoles.of(proxy);
        let just_now = now().0 as u64 / 1000 - 60;
        let sessions = BTreeMap::from([
            (open, session_of(1, None)),
            (late, session_of(0, Some(just_now))),
            (closed, session_of(0, Some(just_now - 3600))),
        ]);
        known.heard().status = Some(ProxyStatus {
            generation: None,
            boot_id: String::new(),
            version: String::new(),
            started_unix: 0,
            cpu_micros: 0,
            memory_bytes: 0,
            servers: BTreeMap::from([(server, ServerStatus::default())]),
            sessions: BTreeMap::from([(server, sessions)]),
        });
        assert_eq!(forgotten(), [false, false, true, true]);
        known.heard().problems.insert(server, Instant::now());
        assert_eq!(forgotten(), [false; 4]);
        known.heard().problems.clear();
        known.heard().failing = Some(Instant::now());
        assert_eq!(forgotten(), [false; 4]);
    }
}
