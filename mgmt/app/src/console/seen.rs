//! Sessions as those see them whose VMs are looked at, and how they are ended.

use podzol_mgmt_api::console::{ConsoleSession, ConsoleSessionFilter};
use podzol_mgmt_api::{Page, PageQuery, Timestamp};
use podzol_mgmt_db::console::session;
use podzol_mgmt_db::event::NewEvent;
use podzol_mgmt_db::{Reader, Tx, find, vm};
use podzol_vocab::{ConsoleServerId, ConsoleSessionId};

use crate::{Actor, App, AppError, view};

impl App {
    /// The sessions that the caller may see: those on VMs of its account.
    ///
    /// # Errors
    /// When the query is not valid.
    pub async fn console_session_list(
        &self,
        actor: &Actor,
        filter: &ConsoleSessionFilter,
        query: &PageQuery,
    ) -> Result<Page<ConsoleSession>, AppError> {
        let page = view::page_of(query)?;
        let rows = session::list(self.db.reader(), actor.scope(filter.account), filter, &page).await?;
        let items = rows.into_iter().map(|row| self.console_session_view(row, actor)).collect();
        Ok(view::page(&page, items, |session| session.id.to_string()))
    }

    /// A session.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn console_session_show(
        &self,
        actor: &Actor,
        id: ConsoleSessionId,
    ) -> Result<ConsoleSession, AppError> {
        let row = session_row(self.db.reader(), actor, id).await?;
        Ok(self.console_session_view(row, actor))
    }

    /// Closes a session: its pages show nothing any more.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none that the caller may see.
    pub async fn console_session_close(&self, actor: &Actor, id: ConsoleSessionId) -> Result<(), AppError> {
        let tx = self.db.begin().await?;
        let row = session_row(tx.reader(), actor, id).await?;
        tx.console_session_delete(&row).await?;
        let detail = format!("of VM {}", row.vm_id.0);
        let account = Some(row.account_id.0);
        self.record(&tx, actor, "console-session.close", account, "console-session", id, &detail).await?;
        Ok(tx.commit().await?)
    }

    /// Ends the sessions of a VM that goes.
    pub(crate) async fn console_sessions_revoked(&self, tx: &Tx, vm: &vm::Model) -> Result<(), AppError> {
        let ended = tx.console_sessions_end_of_vm(vm.id.0).await?;
        if ended > 0 {
            let detail = format!("{ended} console sessions ended with the VM");
            tx.event_create(NewEvent::of_management(
                "console-session.revoke",
                Some(vm.account_id.0),
                "vm",
                vm.id,
                detail,
            ))
            .await?;
        }
        Ok(())
    }

    pub(super) fn console_session_view(&self, row: session::Model, actor: &Actor) -> ConsoleSession {
        let pages = row.server_id.and_then(|server| self.pages_of(&row, server.0));
        ConsoleSession {
            id: row.id.0,
            account: row.account_id.0,
            vm: row.vm_id.0,
            user: row.user_id.0,
            viewer: row.viewer,
            view_only: row.view_only,
            pages,
            waits_since: row.wanted_at.filter(|_| row.server_id.is_none()).map(Timestamp),
            seen_at: Timestamp(row.seen_at),
            expires_at: Timestamp(row.expires_at),
            proxy: row
                .server_id
                .filter(|_| actor.is_admin())
                .and_then(|server| self.here.consoles.proxy_with(server.0)),
            server: row.server_id.filter(|_| actor.is_admin()).map(|server| server.0),
            created_at: Timestamp(row.created_at),
        }
    }

    fn pages_of(&self, row: &session::Model, server: ConsoleServerId) -> Option<u32> {
        let proxy = self.here.consoles.proxy_with(server)?;
        let known = self.here.consoles.get(proxy)?;
        let heard = known.heard();
        Some(heard.status.as_ref()?.session(server, row.id.0)?.viewers)
    }
}

/// The row of a session that the caller may see.
async fn session_row(
    db: &impl Reader,
    actor: &Actor,
    id: ConsoleSessionId,
) -> Result<session::Model, AppError> {
    let row = find::<session::Entity>(db, id).await?;
    row.filter(|row| actor.sees(row.account_id.0)).ok_or(AppError::NotFound("console-session"))
}
