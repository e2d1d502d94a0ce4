//! Consoles of VMs in a browser: sessions, the proxies that show them, and how many of these there are.
//!
//! ```text
//!   user ── open ──▶ session's row ──▶ its proxy is told ──▶ link with a ticket ──▶ browser ──▶ proxy ──▶ host's agent ──▶ VM
//!                        │                     ▲
//!                        └── no place ─▶ scan ─┴─ a server is started on a VM, or a VM
//! ```
//! A console proxy is a VM of Podzol's own ([`crate::system`]) with a public address. What it is and which sessions it has is a
//! function of the rows ([`document`]), which it keeps in memory only and is told whenever it differs ([`tell`], [`watch`]). How
//! many there are in a zone, the scan decides ([`scan`], [`capacity`]). While this service is away, consoles that are open go on.
//!
//! # Design notes
//! - A proxy that is dead is replaced by another one with another address, where a router's place is taken: nobody but browsers
//!   knows its address, and their pages ask for another one by themselves.
//! - Servers of a proxy are ports of one address, as each more address costs one of few. Where firewalls let nothing but 443 out,
//!   an operator gives proxies one server each.

mod capacity;
mod certificate;
mod check;
mod document;
mod forget;
mod grant;
mod hold;
mod keys;
pub(crate) mod known;
mod make;
mod place;
mod resume;
pub(crate) mod scan;
mod seen;
mod session;
mod settings;
mod tell;
pub(crate) mod watch;

use podzol_mgmt_api::console::{ConsoleProxy, ConsoleProxyState, ConsoleServer};
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_api::{Page, PageQuery, Timestamp};
use podzol_mgmt_db::console::{self, server, session as session_row};
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{Reader, find, now, public_ip, vm};
use podzol_vocab::{ConsoleProxyId, Generation};

use crate::system::on_management;
use crate::{Actor, App, AppError, view};

pub use resume::Resumed;
pub use settings::ConsoleSettings;

impl App {
    /// The console proxies.
    ///
    /// # Errors
    /// When the caller is no admin.
    pub async fn console_proxy_list(
        &self,
        actor: &Actor,
        query: &PageQuery,
    ) -> Result<Page<ConsoleProxy>, AppError> {
        actor.must_be_admin()?;
        let page = view::page_of(query)?;
        for _ in 0..view::READS {
            match self.console_proxy_views(console::list(self.db.reader(), &page).await?).await {
                Ok(items) => return Ok(view::page(&page, items, |proxy| proxy.id.to_string())),
                // One has gone since they were read.
                Err(AppError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(AppError::Internal("console proxies without VMs".into()))
    }

    async fn console_proxy_views(&self, rows: Vec<console::Model>) -> Result<Vec<ConsoleProxy>, AppError> {
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            items.push(self.console_proxy_view(self.db.reader(), row).await?);
        }
        Ok(items)
    }

    /// A console proxy.
    ///
    /// # Errors
    /// When the caller is no admin, or there is none.
    pub async fn console_proxy_show(
        &self,
        actor: &Actor,
        id: ConsoleProxyId,
    ) -> Result<ConsoleProxy, AppError> {
        actor.must_be_admin()?;
        let row = find::<console::Entity>(self.db.reader(), id).await?;
        self.console_proxy_view(self.db.reader(), row.ok_or(AppError::NotFound("console-proxy"))?).await
    }

    /// Has a console proxy get no new sessions, and go when those that it has are elsewhere. Another one comes if it is needed.
    ///
    /// # Errors
    /// When the caller is no admin, or there is none.
    pub async fn console_proxy_drain(
        &self,
        actor: &Actor,
        id: ConsoleProxyId,
    ) -> Result<ConsoleProxy, AppError> {
        actor.must_be_admin()?;
        let tx = self.db.begin().await?;
        let found = find::<console::Entity>(tx.reader(), id).await?;
        let mut row = found.ok_or(AppError::NotFound("console-proxy"))?;
        row.draining_since = row.draining_since.or(Some(now().0));
        row.is_retired = true;
        tx.console_proxy_update(row.clone()).await?;
        self.record(&tx, actor, "console-proxy.drain", None, "console-proxy", id, "on request").await?;
        tx.commit().await?;
        self.console_proxy_view(self.db.reader(), row).await
    }

    /// A console proxy as admins see it.
    async fn console_proxy_view(
        &self,
        db: &impl Reader,
        row: console::Model,
    ) -> Result<ConsoleProxy, AppError> {
        let gone = || AppError::NotFound("console-proxy");
        let vm = find::<vm::Entity>(db, row.vm_id).await?.ok_or_else(gone)?;
        let nics = vm::nics(db, &[vm.id]).await?;
        let address = find::<public_ip::Entity>(db, row.public_ip_id).await?;
        let heard = self.heard_of(row.id.0);
        let (state, error) = state_of(&row, &vm, heard.as_ref());
        let runs = matches!(vm.state.0, VmState::Running | VmState::Migrating);
        let status = heard.as_ref().and_then(|heard| heard.status.as_ref()).filter(|_| runs);
        let counts = session_row::count_by_server(db, row.zone_id.0).await?;
        let shown = |server: server::Model| {
            let said = status.and_then(|status| status.servers.get(&server.id.0));
            ConsoleServer {
                id: server.id.0,
                port: server.port as u16,
                max_sessions: server.max_sessions as u32,
                sessions: counts.get(&server.id.0).copied().unwrap_or(0),
                pages: said.map(|said| said.viewers),
                open: said.map(|said| said.problem.is_none()),
                draining_since: server.draining_since.map(Timestamp),
            }
        };
        let servers: Vec<ConsoleServer> =
            console::servers(db, &[row.id]).await?.into_iter().map(shown).collect();
        Ok(ConsoleProxy {
            id: row.id.0,
            zone: row.zone_id.0,
            state,
            error,
            address: address.map(|address| address.address.0),
            max_sessions: servers.iter().map(|server| server.max_sessions).sum(),
            sessions: servers.iter().map(|server| server.sessions).sum(),
            servers,
            generation_in_force: status
                .and_then(|status| status.generation)
                .filter(|one| *one > Generation(0)),
            version: status.map(|status| status.version.clone()),
            cpu_ms: status.map(|status| status.cpu_micros / 1000),
            memory_bytes: status.map(|status| status.memory_bytes),
            heard_at: heard.as_ref().and_then(|heard| heard.at),
            draining_since: row.draining_since.map(Timestamp),
            vm: vm.id.0,
            host: vm.host_id.map(|host| host.0),
            template: Some(vm.template_id.0),
            management_address: on_management(&nics).map(|nic| nic.address.0),
            created_at: Timestamp(row.created_at),
        })
    }
}

/// What a console proxy does, and what is wrong with it.
fn state_of(
    row: &console::Model,
    vm: &vm::Model,
    heard: Option<&known::Heard>,
) -> (ConsoleProxyState, Option<String>) {
    let own = || row.error.clone().or_else(|| vm.error.clone());
    if vm.desired.0 == Desired::Deleted {
        return (ConsoleProxyState::Stopping, own());
    }
    let drains = row.draining_since.is_some() || row.is_retired;
    match vm.state.0 {
        VmState::Running | VmState::Migrating | VmState::Paused => {
            let trouble = heard.and_then(watch::trouble);
            match trouble {
                _ if drains => (ConsoleProxyState::Draining, trouble.or_else(own)),
                Some(trouble) => (ConsoleProxyState::Degraded, Some(trouble)),
                None => (ConsoleProxyState::Running, own()),
            }
        }
        VmState::Starting => (ConsoleProxyState::Starting, own()),
        VmState::Failed | VmState::Stopped => (ConsoleProxyState::Failed, own()),
        VmState::Stopping | VmState::Deleting | VmState::Deleted => (ConsoleProxyState::Stopping, own()),
    }
}
