//! Telling a console proxy what it should be: the appliance around it, its document, and its sessions.
//!
//! ```text
//!   status ─▶ another boot? all that it was told is forgotten here too
//!          ─▶ sessions that should not be there end ─▶ appliance's document ─▶ proxy's document ─▶ sessions that differ are put
//! ```
//! What ends comes first and needs nothing but the proxy itself, so that no trouble with anything else keeps a right up that is gone.
//! Nor does trouble with a newer document keep sessions from being told where their VMs are.
//! What is told is compared with what was told last, so that a look at a proxy that does what it should costs two questions. Rows
//! are read after the number is taken that the description gets, so a later description has a greater number; where it has not,
//! because this database was put back to an older state, the proxy says which number is in force, and gets the one after that.
//!
//! A proxy is failing when it does not answer itself. A server of it that does not, as its thread hangs, costs its own sessions
//! their places and nobody else's.

mod sessions;

use std::time::Duration;

use podzol_appliance_api::{DocumentPut as AppliancePut, Health, StatusGet as ApplianceStatus};
use podzol_console_proxy_api::{DocumentPut, ProxyStatus, Session, StatusGet, TicketSigner};
use podzol_mgmt_db::console;
use podzol_mgmt_db::{find, now, public_ip, vm, zone};
use podzol_rpc::{CallError, Endpoint, PeerId};
use podzol_vocab::{ConsoleSessionId, ErrorCode, Generation};
use tokio::time::Instant;

use super::document::{self, Parts};
use super::known::{Heard, Known, Told};
use crate::router::{ASK, TellError, failed, patience};
use crate::system::PUBLIC_SLOT;
use crate::{App, AppError, ConsoleSettings};

/// How long a console proxy may take to put what it is told in force.
const TELL: Duration = Duration::from_secs(10);

/// The port of a console proxy's control API on the management network.
const PORT: u16 = podzol_console_proxy_api::PORT;

impl App {
    /// Has a console proxy be and show all that it should by now. Its VM must run.
    pub(super) async fn console_proxy_told(
        &self,
        row: &console::Model,
        vm: &vm::Model,
    ) -> Result<(), TellError> {
        let known = self.here.consoles.of(row.id.0);
        let mut told = known.told.lock().await;
        self.tell_noted(row, vm, &known, &mut told).await
    }

    async fn tell_noted(
        &self,
        row: &console::Model,
        vm: &vm::Model,
        known: &Known,
        told: &mut Told,
    ) -> Result<(), TellError> {
        known.take_touched();
        let done = self.tell_all(row, vm, known, told).await;
        match &done {
            Ok(()) => known.heard().refuses = None,
            Err(TellError::Refused(why)) => known.heard().refuses = Some(why.clone()),
            // It is to be told once more.
            Err(TellError::Later(_) | TellError::App(_)) => known.touch(),
        }
        done
    }

    /// Has one session be at its place. Nothing else is told, unless the proxy has to be told all first. Says whether it has its
    /// place there still.
    pub(super) async fn console_session_told(
        &self,
        row: &console::Model,
        vm: &vm::Model,
        session: ConsoleSessionId,
    ) -> Result<bool, TellError> {
        let known = self.here.consoles.of(row.id.0);
        let fails = || match known.heard().is_failing() {
            true => Err(TellError::Later("its console proxy does not answer".into())),
            false => Ok(()),
        };
        fails()?;
        let mut told = known.told.lock().await;
        // Whoever was before has waited for all who are behind.
        fails()?;
        let Some(should) = self.console_session_at(row, session).await? else { return Ok(false) };
        if told.document.is_some() {
            let put = self.put_anew(vm.id.0, &mut told, (session, should)).await;
            match put {
                Ok(()) => return Ok(true),
                // Its server does not answer, if the proxy does and is the same.
                Err(TellError::Later(why)) => {
                    self.ask_console_proxy(vm, &known, &mut told).await?;
                    if told.document.is_some() {
                        return Err(TellError::Later(why));
                    }
                }
                Err(TellError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let done = self.tell_noted(row, vm, &known, &mut told).await;
        match told.sessions.contains_key(&session) {
            true => Ok(true),
            false => done.and(Err(TellError::Later("it has not taken the session".into()))),
        }
    }

    async fn tell_all(
        &self,
        row: &console::Model,
        vm: &vm::Model,
        known: &Known,
        told: &mut Told,
    ) -> Result<(), TellError> {
        let Some(settings) = &self.settings.console else { return Ok(()) };
        let status = self.ask_console_proxy(vm, known, told).await?;
        let (stuck, last) = (sessions::Stuck::default(), self.last_change());
        let mut should = self.sessions_at(row).await?;
        let ended = self.end_sessions(vm.id.0, &status, &mut should, told, (&stuck, last)).await;
        let documents = self.tell_documents(row, vm, settings, known, told).await;
        if told.document.is_none() {
            return ended.and(documents);
        }
        // A proxy that has a document goes on to hear of its sessions, so that those whose VM has moved are not left behind.
        let put = self.put_sessions(vm.id.0, &status, should, told, (&stuck, last)).await;
        ended.and(documents).and(put)
    }

    async fn tell_documents(
        &self,
        row: &console::Model,
        vm: &vm::Model,
        settings: &ConsoleSettings,
        known: &Known,
        told: &mut Told,
    ) -> Result<(), TellError> {
        self.ask_appliance(vm, known, told).await.map_err(|error| failed(&error))?;
        let last = self.last_change();
        let parts = self.console_parts(row, vm).await?;
        let mut appliance = document::of_appliance(&parts).map_err(|error| internal(&error))?;
        if told.appliance.as_ref().is_none_or(|before| differs(before, &mut appliance)) {
            let peer = PeerId::Router(vm.id.0);
            self.put::<AppliancePut>(peer, &(), &mut appliance, last, TELL, |one| &mut one.generation)
                .await?;
            told.appliance = Some(appliance);
        }
        let certificate = self.console_certificate(settings).await?;
        let keys = self.ticket_signers().await?.iter().map(TicketSigner::key).collect();
        let proxy = document::of_proxy(&parts, settings, &certificate, keys);
        let mut proxy = proxy.map_err(|error| internal(&error))?;
        if told.document.as_ref().is_none_or(|before| differs(before, &mut proxy)) {
            let peer = PeerId::ConsoleProxy(vm.id.0);
            self.put::<DocumentPut>(peer, &(), &mut proxy, last, TELL, |one| &mut one.generation).await?;
            known.heard().ticket_keys.clone_from(&proxy.ticket_keys);
            told.document = Some(proxy);
        }
        Ok(())
    }

    /// Asks a console proxy what it does, and remembers it. It is failing from when it does not answer until it does.
    async fn ask_console_proxy(
        &self,
        vm: &vm::Model,
        known: &Known,
        told: &mut Told,
    ) -> Result<ProxyStatus, TellError> {
        let silent = known.heard().unanswered.get_or_insert_with(Instant::now).elapsed();
        let asked =
            self.peers.call::<StatusGet>(PeerId::ConsoleProxy(vm.id.0), &(), &(), patience(silent)).await;
        let status = asked.map_err(|error| {
            known.heard().failing.get_or_insert_with(Instant::now);
            failed(&error)
        })?;
        if told.boot.as_ref() != Some(&status.boot_id) || status.generation.is_none() {
            (told.boot, told.document) = (Some(status.boot_id.clone()), None);
            told.sessions.clear();
        }
        // What it does not have any more, or has ended, it is told again if it should have it.
        told.sessions
            .retain(|id, session| status.session(session.server, *id).is_some_and(|session| !session.over));
        let mut heard = known.heard();
        note_problems(&mut heard, &status);
        (heard.unanswered, heard.failing) = (None, None);
        heard.at = Some(now());
        heard.status = Some(status.clone());
        Ok(status)
    }

    /// Asks the appliance around a console proxy what it does, and remembers it.
    async fn ask_appliance(&self, vm: &vm::Model, known: &Known, told: &mut Told) -> Result<(), CallError> {
        let asked = self.peers.call::<ApplianceStatus>(PeerId::Router(vm.id.0), &(), &(), ASK).await;
        let around = asked.inspect_err(|_| {
            known.heard().appliance_trouble = Some("the appliance around it does not answer".into());
        })?;
        if told.appliance_boot.as_ref() != Some(&around.boot_id) || around.generation.is_none() {
            (told.appliance_boot, told.appliance) = (Some(around.boot_id), None);
        }
        let down = around.health.iter().filter_map(|(name, health)| match health {
            Health::Up => None,
            Health::Down { why } => Some(format!("{name}: {why}")),
        });
        let trouble: Vec<String> = down.collect();
        known.heard().appliance_trouble = (!trouble.is_empty()).then(|| trouble.join("; "));
        Ok(())
    }

    /// A console proxy's rows.
    pub(super) async fn console_parts(
        &self,
        row: &console::Model,
        vm: &vm::Model,
    ) -> Result<Parts, AppError> {
        let db = self.db.reader();
        let zone = find::<zone::Entity>(db, row.zone_id).await?.ok_or(AppError::NotFound("zone"))?;
        let public =
            zone.public.ok_or_else(|| AppError::Internal("a zone without a public network".into()))?;
        let address = find::<public_ip::Entity>(db, row.public_ip_id).await?;
        let address = address.ok_or(AppError::NotFound("public-ip"))?.address.0;
        let nics = vm::nics(db, &[vm.id]).await?;
        let nic = nics.into_iter().find(|nic| nic.slot == PUBLIC_SLOT);
        let nic = nic.ok_or_else(|| AppError::Internal("a console proxy without a public side".into()))?;
        let servers = console::servers(db, &[row.id]).await?;
        Ok(Parts { proxy: row.clone(), servers, address, nic, public: public.0 })
    }

    /// Puts a description with this number, or a greater one if it must be.
    async fn put<E: Endpoint>(
        &self,
        peer: PeerId,
        path: &E::Path,
        description: &mut E::Request,
        last: Generation,
        within: Duration,
        generation: impl Fn(&mut E::Request) -> &mut Generation,
    ) -> Result<(), TellError> {
        let number = generation(description);
        *number = (*number).max(last);
        let refused = match self.peers.call::<E>(peer, path, description, within).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if !matches!(refused.code(), Some(ErrorCode::StaleGeneration | ErrorCode::GenerationConflict)) {
            return Err(failed(&refused));
        }
        let in_force = refused.refusal().and_then(|refusal| refusal.in_force).unwrap_or_default();
        let number = generation(description);
        *number = (*number).max(in_force).next();
        self.peers.call::<E>(peer, path, description, within).await.map(drop).map_err(|error| failed(&error))
    }

    /// The number of the last change that can have been read.
    pub(super) fn last_change(&self) -> Generation {
        Generation((*self.db.changes().borrow()).max(0) as u64)
    }

    /// Notes where a console proxy and the appliance around it are spoken to.
    pub(super) async fn console_proxy_found(&self, vm: &vm::Model) -> Result<(), AppError> {
        if let Some(address) = self.appliance_found(vm).await? {
            self.book.set(PeerId::ConsoleProxy(vm.id.0), format!("{address}:{PORT}"));
        }
        Ok(())
    }
}

/// Remembers since when servers have been saying that they do not work.
fn note_problems(heard: &mut Heard, status: &ProxyStatus) {
    let has = |id: &_| status.servers.get(id).is_some_and(|server| server.problem.is_some());
    heard.problems.retain(|id, _| has(id));
    for id in status.servers.keys().filter(|id| has(id)) {
        heard.problems.entry(*id).or_insert_with(Instant::now);
    }
}

/// Whether a description is another than the one before, but for its number. It gets a greater one then.
fn differs<T: Numbered>(before: &T, now: &mut T) -> bool {
    *now.number() = before.generation();
    let is_other = *now != *before;
    *now.number() = before.generation().next();
    is_other
}

/// A description that has a number.
trait Numbered: PartialEq {
    fn generation(&self) -> Generation;
    fn number(&mut self) -> &mut Generation;
}

macro_rules! numbered {
    ($($type:ty),*) => {$(
        impl Numbered for $type {
            fn generation(&self) -> Generation {
                self.generation
            }

            fn number(&mut self) -> &mut Generation {
                &mut self.generation
            }
        }
    )*};
}
numbered!(podzol_appliance_api::Document, podzol_console_proxy_api::Document, Session);

fn internal(error: &dyn std::fmt::Display) -> AppError {
    AppError::Internal(error.to_string())
}
