//! Console sessions: opening one, its links, going on elsewhere, and its end.
//!
//! ```text
//!                 ┌─ there is a place: its proxy is told ─▶ link
//!   open ─ row ───┤
//!                 └─ there is none: an operation waits for one ─▶ proxy told ─▶ asked again ─▶ link
//!   page lost ─ token ─▶ its place is good: link │ else it gets another: link │ there is none: asks again in a while
//!   VM or user deleted, closed, time over ─ no row ─▶ its proxy ends it
//! ```
//! A row is written before a proxy is told, and a link is given out after: so no ticket names a session that its proxy does not
//! know. A VM that is stopped keeps its sessions, whose pages say so and go on when it is started again; a link to one is refused.
//!
//! # Design notes
//! - A session keeps its place while its proxy drains or does not work, until its page has asked for another, and there is one: a
//!   page asks by itself when its proxy says that it drains.
//! - Whoever waits asks again and again, which is written now and then, and told to nobody: it is no change but the first time.
//! - A link is made each time that somebody asks, and nothing of it is kept: what a repeated request gets is a new one.

use std::collections::HashSet;
use std::time::Duration;

use podzol_console_proxy_api::limits::SESSIONS_OF_VM;
use podzol_mgmt_api::Timestamp;
use podzol_mgmt_api::console::{ConsoleOpen, ConsoleOpened};
use podzol_mgmt_api::limits::InUse;
use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_db::console::{self, server, session};
use podzol_mgmt_db::{Tx, account, find, now, operation, public_ip, vm};
use podzol_mgmt_operations::Outcome;
use podzol_vocab::{ConsoleServerId, ConsoleSessionId, Secret, VmId};

use super::document::origin;
use super::make::vm_of;
use crate::once::{Once, Secretive};
use crate::operation::{NewOperation, start};
use crate::router::TellError;
use crate::{Actor, App, AppError, ConsoleSettings, quota, view};

/// How long somebody who has waited for a place counts as waiting still. Pages ask again more often.
pub(super) const WANTED: Duration = Duration::from_secs(30);

/// How long an operation waits for a place.
const OPEN: Duration = Duration::from_secs(600);

/// How soon it looks again. It is woken when there is one.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How often it is written at most that pages of a session are seen.
pub(super) const SEEN_EVERY: Duration = Duration::from_secs(60);

/// How many sessions a user may have: more than anybody has windows.
const MOST_OF_USER: u64 = 64;

impl Secretive for ConsoleOpened {
    fn forget_secret(&mut self) {
        (self.url, self.expires) = (None, None);
    }
}

fn open_operation(row: &session::Model) -> NewOperation {
    NewOperation {
        kind: "console.open",
        account: Some(row.account_id.0),
        subject_kind: "console-session",
        subject: row.id.to_string(),
        goal: None,
        queue: String::new(),
        deadline: Some(OPEN),
    }
}

impl App {
    pub(super) fn console_settings(&self) -> Result<&ConsoleSettings, AppError> {
        self.settings.console.as_ref().ok_or_else(|| AppError::Conflict {
            code: "no_console_domain",
            detail: "this installation has no domain for consoles; an operator sets [console] in the configuration".into(),
        })
    }

    /// Opens the console of a VM, or gives a session that is there another link.
    ///
    /// # Errors
    /// When the VM does not run, there is no such session, or no console proxy could be made for one.
    pub async fn console_open(
        &self,
        actor: &Actor,
        once: Option<Once>,
        id: VmId,
        body: ConsoleOpen,
    ) -> Result<ConsoleOpened, AppError> {
        let settings = self.console_settings()?;
        let opened = match body.session {
            Some(session) => {
                let row = find::<session::Entity>(self.db.reader(), session).await?;
                // It ends with the key that has opened it, so a link to it is for that key alone.
                let is_own = |row: &session::Model| {
                    let key = row.key_id.as_ref().is_some_and(|key| key.0 == actor.key);
                    key && row.user_id.0 == actor.user && row.vm_id.0 == id
                };
                row.filter(is_own).ok_or(AppError::NotFound("console-session"))?.id.0
            }
            None => {
                let make = async |tx: &Tx| self.console_session_make(tx, actor, id, &body, settings).await;
                let made = self.create(actor, once, make).await?;
                self.here.consoles.scan.notify_one();
                made.session.id
            }
        };
        self.console_link(actor, opened, settings).await
    }

    async fn console_session_make(
        &self,
        tx: &Tx,
        actor: &Actor,
        id: VmId,
        body: &ConsoleOpen,
        settings: &ConsoleSettings,
    ) -> Result<ConsoleOpened, AppError> {
        let db = tx.reader();
        let vm = self.vm_row(db, actor, id).await?;
        must_show(&vm)?;
        if session::count_of_user(db, actor.user).await? >= MOST_OF_USER {
            return Err(AppError::Exhausted {
                code: "console_sessions_exhausted",
                detail: format!("the user has {MOST_OF_USER} console sessions; close some first"),
                reasons: vec![],
            });
        }
        if session::count_of_vm(db, id).await? >= SESSIONS_OF_VM as u64 {
            return Err(AppError::Exhausted {
                code: "console_sessions_exhausted",
                detail: format!(
                    "{SESSIONS_OF_VM} console sessions look at the VM, which is the most; close some first"
                ),
                reasons: vec![],
            });
        }
        // What those who run the installation look at is not for the account to pay.
        if actor.account == vm.account_id.0 {
            let owner =
                find::<account::Entity>(db, vm.account_id).await?.ok_or(AppError::NotFound("account"))?;
            quota::check(db, &owner, InUse { console_sessions: 1, ..InUse::default() }).await?;
        }
        let place = self.console_place(db, vm.zone_id.0, id, &HashSet::new()).await?;
        if place.is_none() {
            self.must_be_able_to_grow(db, vm.zone_id.0).await?;
        }
        let at = now().0;
        let row = session::Model {
            id: ConsoleSessionId::new().into(),
            account_id: vm.account_id,
            zone_id: vm.zone_id,
            vm_id: vm.id,
            user_id: actor.user.into(),
            key_id: Some(actor.key.into()),
            server_id: place.map(Into::into),
            viewer: actor.name.to_string(),
            view_only: body.view_only,
            expires_at: at + settings.session_lifetime.as_millis() as i64,
            seen_at: at,
            wanted_at: place.is_none().then_some(at),
            created_at: at,
        };
        tx.console_session_create(row.clone()).await?;
        let operation = match place {
            Some(_) => None,
            None => Some(view::operation(start(tx, open_operation(&row)).await?)),
        };
        let detail = format!("{}{}", vm.name.0, if body.view_only { ", to be looked at only" } else { "" });
        self.record(tx, actor, "console.open", Some(row.account_id.0), "vm", id, &detail).await?;
        let session = self.console_session_view(row, actor);
        Ok(ConsoleOpened { session, url: None, expires: None, operation })
    }

    /// A link for a session, or the operation that finds a place for it.
    async fn console_link(
        &self,
        actor: &Actor,
        id: ConsoleSessionId,
        settings: &ConsoleSettings,
    ) -> Result<ConsoleOpened, AppError> {
        let not_found = || AppError::NotFound("console-session");
        let row = find::<session::Entity>(self.db.reader(), id).await?.ok_or_else(not_found)?;
        let vm = find::<vm::Entity>(self.db.reader(), row.vm_id).await?.ok_or_else(not_found)?;
        must_show(&vm)?;
        if row.expires_at <= now().0 {
            return Err(not_found());
        }
        match self.console_settled(id).await? {
            Some(row) => {
                let (url, expires) = self.link(&row, settings).await?;
                let session = self.console_session_view(row, actor);
                Ok(ConsoleOpened { session, url: Some(url), expires: Some(expires), operation: None })
            }
            None => {
                let operation = self.console_waits(id).await?;
                let session = self.console_session_view(row, actor);
                Ok(ConsoleOpened {
                    session,
                    url: None,
                    expires: None,
                    operation: Some(view::operation(operation)),
                })
            }
        }
    }

    /// Has a session be at a place whose proxy knows it: its own if that is good, else another. Nothing if there is none now.
    pub(super) async fn console_settled(
        &self,
        id: ConsoleSessionId,
    ) -> Result<Option<session::Model>, AppError> {
        let mut not = HashSet::new();
        // One more than is likely: the first is silent, the second has just been filled.
        for _ in 0..3 {
            let Some(mut row) = self.console_wanted(id, &not).await? else { break };
            match self.console_session_at_its_place(&row).await {
                Ok(true) => {
                    self.console_session_placed(&mut row).await?;
                    return Ok(Some(row));
                }
                Err(TellError::App(error)) => return Err(error),
                // It has lost its place since.
                Ok(false) => continue,
                Err(TellError::Later(why) | TellError::Refused(why)) => {
                    tracing::info!(session = %id, why, "a session gets another place");
                }
            }
            not.extend(row.server_id.map(|server| server.0));
        }
        Ok(None)
    }

    /// The operation that finds a place for a session: the one that is at it, or a new one.
    async fn console_waits(&self, id: ConsoleSessionId) -> Result<operation::Model, AppError> {
        let tx = self.db.begin().await?;
        if let Some(open) = operation::open_of(tx.reader(), &id.to_string()).await?.pop() {
            return Ok(open);
        }
        let row = find::<session::Entity>(tx.reader(), id).await?;
        let row = row.ok_or(AppError::NotFound("console-session"))?;
        let operation = start(&tx, open_operation(&row)).await?;
        tx.console_session_update(session::Model { wanted_at: Some(now().0), ..row }).await?;
        tx.commit().await?;
        self.wake.notify_one();
        Ok(operation)
    }

    /// Has a session's proxy know it. Not if it has no place.
    async fn console_session_at_its_place(&self, row: &session::Model) -> Result<bool, TellError> {
        let Some((proxy, vm)) = self.console_proxy_of(row).await? else { return Ok(false) };
        self.console_proxy_found(&vm).await?;
        self.console_session_told(&proxy, &vm, row.id.0).await
    }

    /// The proxy at which a session has its place, if that runs.
    async fn console_proxy_of(
        &self,
        row: &session::Model,
    ) -> Result<Option<(console::Model, vm::Model)>, AppError> {
        let Some(server) = row.server_id else { return Ok(None) };
        let Some(server) = find::<server::Entity>(self.db.reader(), server).await? else { return Ok(None) };
        let Some(proxy) = find::<console::Entity>(self.db.reader(), server.proxy_id).await? else {
            return Ok(None);
        };
        let vm = vm_of(self.db.reader(), &proxy).await?;
        let runs = matches!(vm.state.0, VmState::Running | VmState::Migrating);
        Ok(runs.then_some((proxy, vm)))
    }

    pub(super) async fn link(
        &self,
        row: &session::Model,
        settings: &ConsoleSettings,
    ) -> Result<(Secret<String>, Timestamp), AppError> {
        let moved = || AppError::Unavailable("the session is being moved to another console proxy".into());
        let db = self.db.reader();
        let server = row.server_id.ok_or_else(moved)?;
        let server = find::<server::Entity>(db, server).await?.ok_or_else(moved)?;
        let proxy = find::<console::Entity>(db, server.proxy_id).await?.ok_or_else(moved)?;
        let address = find::<public_ip::Entity>(db, proxy.public_ip_id).await?.ok_or_else(moved)?;
        // Its name must be known before anybody asks for it.
        self.name_console_proxies().await?;
        let (ticket, expires) = self.ticket(row.id.0, proxy.id.0, server.id.0).await?;
        let origin = origin(address.address.0, server.port as u16, settings);
        Ok((Secret::new(format!("{origin}/#{}", ticket.expose())), Timestamp(expires)))
    }

    /// Gives a session another place if its own is not good, at none of some servers. Gives it as it is now if it has one.
    ///
    /// Where it is it stays until there is another place, as its page may still be there.
    pub(super) async fn console_wanted(
        &self,
        id: ConsoleSessionId,
        not: &HashSet<ConsoleServerId>,
    ) -> Result<Option<session::Model>, AppError> {
        let tx = self.db.begin().await?;
        let Some(mut row) = find::<session::Entity>(tx.reader(), id).await? else { return Ok(None) };
        if self.place_is_good(tx.reader(), &row, not).await? {
            return Ok(Some(row));
        }
        let place = self.console_place(tx.reader(), row.zone_id.0, row.vm_id.0, not).await?;
        let (at, before) = (now().0, row.wanted_at);
        row.server_id = place.map(Into::into).or(row.server_id);
        (row.seen_at, row.wanted_at) = (at, place.is_none().then_some(at));
        if place.is_some() {
            tx.console_session_update(row.clone()).await?;
            tx.commit().await?;
            return Ok(Some(row));
        }
        let is_within = |time: Duration| before.is_some_and(|before| at - before < time.as_millis() as i64);
        if is_within(WANTED / 4) {
            return Ok(None);
        }
        match is_within(WANTED) {
            // Whoever counts knows it, and nobody need hear of it.
            true => tx.console_session_wanted(id, at, Some(at)).await?,
            false => tx.console_session_update(row).await?,
        }
        tx.commit().await?;
        Ok(None)
    }

    /// Nobody waits for another place of a session any more.
    async fn console_session_placed(&self, row: &mut session::Model) -> Result<(), AppError> {
        if row.wanted_at.take().is_none() {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        tx.console_session_wanted(row.id.0, row.seen_at, None).await?;
        Ok(tx.commit().await?)
    }

    /// One attempt to find a place for a session, and to have its proxy know it.
    pub(crate) async fn console_open_attempt(
        &self,
        operation: &operation::Model,
    ) -> Result<Outcome, AppError> {
        let id: ConsoleSessionId =
            operation.subject.parse().map_err(|_| AppError::NotFound("console-session"))?;
        let Some(row) = find::<session::Entity>(self.db.reader(), id).await? else {
            return Ok(Outcome::Overtaken { detail: "the session was closed".into() });
        };
        let vm = find::<vm::Entity>(self.db.reader(), row.vm_id).await?;
        if vm.is_none_or(|vm| must_show(&vm).is_err()) {
            return Ok(Outcome::failed("vm_not_running", "the VM does not run any more"));
        }
        if self.console_settled(id).await?.is_some() {
            return Ok(Outcome::Done);
        }
        let detail = self.console_progress(row.zone_id.0).await?;
        self.progress(operation, detail.clone()).await?;
        Ok(Outcome::Again { code: "in_progress".into(), detail, after: Some(LOOK_AGAIN) })
    }

    /// A session for which no place was found goes, unless pages are open already.
    pub(crate) async fn console_open_gave_up(
        &self,
        tx: &Tx,
        operation: &operation::Model,
    ) -> Result<(), AppError> {
        let Ok(id) = operation.subject.parse::<ConsoleSessionId>() else { return Ok(()) };
        match find::<session::Entity>(tx.reader(), id).await? {
            Some(row) if row.server_id.is_none() => Ok(tx.console_session_delete(&row).await?),
            _ => Ok(()),
        }
    }
}

/// Refuses a VM that has nothing to show.
pub(super) fn must_show(vm: &vm::Model) -> Result<(), AppError> {
    crate::vm::must_stay(vm)?;
    match vm.state.0 {
        VmState::Running | VmState::Paused | VmState::Migrating | VmState::Starting => Ok(()),
        _ => Err(AppError::Conflict { code: "vm_not_running", detail: "the VM does not run".into() }),
    }
}
