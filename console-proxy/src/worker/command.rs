//! What a hub tells a proxy server.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use podzol_console_proxy_api::limits::{MAX_SESSIONS, SESSIONS_OF_VM};
use podzol_console_proxy_api::{Deletion, Line, ServerStatus, Session as Told, SessionStatus, Upstream};
use podzol_vocab::{ConsoleSessionId, ErrorCode, VmId, WireError};
use tokio::sync::oneshot;

use super::{Settings, Worker};
use crate::hub::must_be_newer;
use crate::session::{Over, Session};
use crate::viewer::Gone;

/// How long it is remembered that a session was deleted: longer than a description of it can be on its way.
const DELETED: Duration = Duration::from_secs(600);

/// Something that a proxy server is told or asked. An answer that nobody waits for any more is no failure.
#[derive(Debug)]
pub(crate) enum Command {
    /// It should be this.
    Set(Box<Settings>),
    /// This session is there: how many there are then.
    Ensure(ConsoleSessionId, Arc<Told>, oneshot::Sender<Result<u32, WireError>>),
    /// This session is over here.
    End(ConsoleSessionId, Deletion, oneshot::Sender<Result<(), WireError>>),
    /// How is it?
    Tell(oneshot::Sender<Report>),
}

/// How a proxy server is, and its sessions.
pub(crate) type Report = (ServerStatus, BTreeMap<ConsoleSessionId, SessionStatus>);

impl Worker {
    pub(super) fn obey(self: &Rc<Self>, command: Command) {
        match command {
            Command::Set(settings) => {
                *self.settings.borrow_mut() = *settings;
                self.vms.borrow().values().for_each(|vm| vm.changed());
            }
            Command::Ensure(id, told, answer) => {
                let _ = answer.send(self.ensure(id, told));
            }
            Command::End(id, deletion, answer) => {
                let _ = answer.send(self.delete(id, deletion));
            }
            Command::Tell(answer) => {
                let _ = answer.send(self.report());
            }
        }
    }

    fn ensure(&self, id: ConsoleSessionId, told: Arc<Told>) -> Result<u32, WireError> {
        let now = self.clock.now();
        let (vm, way) = (told.vm, told.upstream.clone());
        if let Some((deleted, _)) = self.deleted.borrow().get(&id)
            && told.generation <= deleted.generation
        {
            let error = WireError::new(ErrorCode::StaleGeneration, "the session was deleted");
            return Err(WireError { in_force: Some(deleted.generation), ..error });
        }
        match self.session(id) {
            Some(session) => {
                let before = session.told();
                must_be_newer(told.generation, before.generation, *before == *told)?;
                if before.generation == told.generation {
                    return Ok(self.live());
                }
                if (before.vm, before.server) != (told.vm, told.server) {
                    return Err(WireError::new(ErrorCode::Conflict, "vm and server: must stay the same"));
                }
                if session.over().is_some() {
                    self.must_have_room(vm)?;
                }
                session.tell(told, now);
                session.viewers.borrow().values().for_each(|viewer| viewer.rights_changed());
            }
            None => {
                self.must_have_room(vm)?;
                let session = Rc::new(Session::new(id, told, now));
                self.sessions.borrow_mut().insert(id, session);
                self.deleted.borrow_mut().remove(&id);
            }
        }
        let vm = self.vms.borrow().get(&vm).cloned();
        if let Some(vm) = vm {
            vm.lead(&way);
            vm.changed();
        }
        Ok(self.live())
    }

    /// Nothing of it stays but that it was deleted, and why.
    fn delete(&self, id: ConsoleSessionId, deletion: Deletion) -> Result<(), WireError> {
        if let Some(session) = self.session(id) {
            let in_force = session.told().generation;
            must_be_newer(deletion.generation, in_force, true)?;
            tracing::info!(session = %id, reason = ?deletion.reason, "a session is deleted");
            self.sessions.borrow_mut().remove(&id);
            self.forget_all(&session, Gone::Deleted(deletion.reason));
        }
        let (mut deleted, until) = (self.deleted.borrow_mut(), self.clock.now() + DELETED);
        let is_newest = deleted.get(&id).is_none_or(|(before, _)| before.generation <= deletion.generation);
        if is_newest && (deleted.len() < MAX_SESSIONS || deleted.contains_key(&id)) {
            deleted.insert(id, (deletion, until));
        }
        Ok(())
    }

    /// Refuses one more session of a VM when there are enough, of the server or of the VM.
    fn must_have_room(&self, vm: VmId) -> Result<(), WireError> {
        let most = self.settings.borrow().server.max_sessions;
        if self.is_draining() {
            return Err(WireError::new(ErrorCode::Conflict, "the server is draining"));
        }
        if self.live() >= most {
            return Err(WireError::new(ErrorCode::Exhausted, format!("the server has its {most} sessions")));
        }
        let sessions = self.sessions.borrow();
        let is_of_vm = |session: &&Rc<Session>| session.over().is_none() && session.told().vm == vm;
        if sessions.values().filter(is_of_vm).count() >= SESSIONS_OF_VM {
            let message = format!("vm: has {SESSIONS_OF_VM} sessions, which is the most of one VM");
            return Err(WireError::new(ErrorCode::Exhausted, message));
        }
        Ok(())
    }

    /// How many sessions are not over.
    fn live(&self) -> u32 {
        self.sessions.borrow().values().filter(|session| session.over().is_none()).count() as u32
    }

    /// A session is over: its pages hear so.
    pub(super) fn end(&self, session: &Rc<Session>, over: Over) {
        tracing::info!(session = %session.id, ?over, "a session is over");
        session.end(over);
        self.forget_all(session, Gone::Over(over));
    }

    fn forget_all(&self, session: &Session, why: Gone) {
        let viewers: Vec<_> = session.viewers.borrow().values().cloned().collect();
        viewers.iter().for_each(|viewer| self.forget(viewer, why));
    }

    fn report(&self) -> Report {
        let (sessions, vms) = (self.sessions.borrow(), self.vms.borrow());
        let viewers: usize = vms.values().map(|vm| vm.viewers.borrow().len()).sum();
        let status = ServerStatus {
            problem: self.problem.borrow().clone(),
            sessions: self.live(),
            viewers: viewers as u32,
            vms: vms.len() as u32,
            connections: self.addresses.count() as u32,
            sent_bytes: self.counts.wire_bytes.load(Ordering::Relaxed),
            updates: self.counts.updates.get(),
            events: self.counts.events.get(),
            refused: self.counts.refused.get(),
        };
        let of_session = |session: &Rc<Session>| {
            let told = session.told();
            let line = match vms.get(&told.vm) {
                Some(vm) => vm.display.borrow().line.into(),
                None if told.upstream == Upstream::Off => Line::Off,
                None => Line::Idle,
            };
            SessionStatus {
                generation: told.generation,
                vm: told.vm,
                viewers: session.viewers.borrow().len() as u32,
                seen_unix: session.seen_unix.get(),
                input_unix: session.input_unix.get(),
                line,
                sent_bytes: session.sent_bytes.get(),
                over: session.over().is_some(),
            }
        };
        (status, sessions.iter().map(|(id, session)| (*id, of_session(session))).collect())
    }
}
