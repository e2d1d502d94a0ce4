//! The sessions of a console proxy: what it should have, what ends there, and what it is told.
//!
//! ```text
//!   there, and no row any more      it ends: its user, its VM or its time is gone
//!   there, and its place elsewhere  it ends there as moved: its page asks where it is
//!   over there, as nobody did       nothing is sent, as its page knows; it loses its place, and gets another when its page asks
//!   a place, and not there          it is put; a server that does not work is left alone
//! ```
//! One that does not go well keeps no other from going on: what has failed is said at the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use podzol_console_proxy_api::{
    Deletion, DeletionReason, ProxyStatus, Session, SessionDelete, SessionPut, Upstream,
};
use podzol_mgmt_db::console::{self, server, session};
use podzol_mgmt_db::{find, now, server as host, vm};
use podzol_rpc::PeerId;
use podzol_vocab::{ConsoleServerId, ConsoleSessionId, Generation, HostId, VmId};

use super::{Told, differs, document};
use crate::router::{TellError, failed};
use crate::{App, AppError};

/// How long a console proxy may take for a session: three times as long as it waits for a server of its own.
const TELL_SESSION: Duration = Duration::from_secs(3);

/// How many sessions a console proxy is told of at once.
const AT_ONCE: usize = 8;

/// Servers whose threads have not answered since it was begun to tell their proxy: each is waited for once.
#[derive(Debug, Default)]
pub(super) struct Stuck(Mutex<BTreeSet<ConsoleServerId>>);

impl Stuck {
    /// What came of a call about a session at a server, unless that is known to be stuck.
    async fn unless(
        &self,
        server: ConsoleServerId,
        call: impl Future<Output = Result<(), TellError>>,
    ) -> Result<(), TellError> {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&server) {
            return Err(TellError::Later(format!("server {server} does not answer")));
        }
        let done = call.await;
        if matches!(done, Err(TellError::Later(_))) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(server);
        }
        done
    }
}

impl App {
    /// What a console proxy should have.
    pub(super) async fn sessions_at(
        &self,
        row: &console::Model,
    ) -> Result<BTreeMap<ConsoleSessionId, Session>, AppError> {
        let rows = session::of_proxy(self.db.reader(), row.id.0).await?;
        self.sessions_of(row, &rows).await
    }

    /// What a console proxy should be told of a session; nothing if that has its place elsewhere, or is not there any more.
    pub(super) async fn console_session_at(
        &self,
        proxy: &console::Model,
        id: ConsoleSessionId,
    ) -> Result<Option<Session>, AppError> {
        let db = self.db.reader();
        let Some(row) = find::<session::Entity>(db, id).await? else { return Ok(None) };
        let Some(server) = row.server_id else { return Ok(None) };
        let server = find::<server::Entity>(db, server).await?;
        if server.is_none_or(|server| server.proxy_id != proxy.id) {
            return Ok(None);
        }
        Ok(self.sessions_of(proxy, &[row]).await?.remove(&id))
    }

    /// What their proxy should be told of some sessions that have places.
    async fn sessions_of(
        &self,
        proxy: &console::Model,
        rows: &[session::Model],
    ) -> Result<BTreeMap<ConsoleSessionId, Session>, AppError> {
        let Some(settings) = &self.settings.console else { return Ok(BTreeMap::new()) };
        let db = self.db.reader();
        let ids: BTreeSet<VmId> = rows.iter().map(|row| row.vm_id.0).collect();
        let vms: HashMap<VmId, vm::Model> =
            vm::by_ids(db, ids).await?.into_iter().map(|vm| (vm.id.0, vm)).collect();
        let ids: BTreeSet<HostId> = vms.values().filter_map(|vm| Some(vm.host_id?.0)).collect();
        let addresses: HashMap<String, Option<String>> =
            host::hosts(db, ids).await?.into_iter().map(|host| (host.id, host.address)).collect();
        let mut should = BTreeMap::new();
        for row in rows.iter().filter(|row| row.expires_at > now().0) {
            let Some(vm) = vms.get(&row.vm_id.0) else { continue };
            // One that is on its way to another host has its display at the one before, until it is there.
            let upstream = vm.host_id.map_or(Upstream::Off, |host| {
                let address = addresses.get(&host.to_string()).and_then(|address| address.as_deref());
                document::upstream(host.0, address)
            });
            let token = self.resume_token(row.id.0);
            let session = document::of_session(row, vm, upstream, settings, token);
            should.extend(session.map(|one| (row.id.0, self.granted(proxy.vm_id.0, one))));
        }
        Ok(should)
    }

    /// Ends what a console proxy has and should not, and takes the places of those that are over: these should not be there any
    /// more either.
    pub(super) async fn end_sessions(
        &self,
        proxy: VmId,
        status: &ProxyStatus,
        should: &mut BTreeMap<ConsoleSessionId, Session>,
        told: &mut Told,
        (stuck, last): (&Stuck, Generation),
    ) -> Result<(), TellError> {
        let there = || status.all_sessions().filter(|(_, _, session)| !session.over);
        let strangers = there().map(|(_, id, _)| id).filter(|id| !should.contains_key(id));
        let strangers: Vec<ConsoleSessionId> = strangers.collect();
        let elsewhere = session::by_ids(self.db.reader(), &strangers).await?;
        let elsewhere = elsewhere.into_iter().filter(|row| row.expires_at > now().0);
        let elsewhere: BTreeSet<ConsoleSessionId> = elsewhere.map(|row| row.id.0).collect();
        let deletions = there().filter_map(|(server, id, session)| {
            let reason = match should.get(&id) {
                Some(should) if should.server == server => return None,
                None if !elsewhere.contains(&id) => DeletionReason::Revoked,
                _ => DeletionReason::Moved,
            };
            Some((id, Deletion { generation: last.max(session.generation), server, reason }))
        });
        let ended = stream::iter(deletions.collect::<Vec<_>>()).map(|(id, deletion)| async move {
            let done = stuck.unless(deletion.server, self.end_session(proxy, id, deletion)).await;
            (id, deletion.server, done)
        });
        let mut worst = Ok(());
        for (id, server, done) in ended.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
            match done {
                Ok(()) if told.sessions.get(&id).is_some_and(|told| told.server == server) => {
                    told.sessions.remove(&id);
                }
                Ok(()) => {}
                Err(error) => worst = Err(error),
            }
        }
        let is_over = |id: &ConsoleSessionId, session: &Session| {
            status.session(session.server, *id).is_some_and(|session| session.over)
        };
        for (id, session) in should.extract_if(.., |id, session| is_over(id, session)) {
            self.loses_its_place(id, session.server).await?;
        }
        worst
    }

    async fn end_session(
        &self,
        proxy: VmId,
        id: ConsoleSessionId,
        deletion: Deletion,
    ) -> Result<(), TellError> {
        let peer = PeerId::ConsoleProxy(proxy);
        let ended = self.peers.call::<SessionDelete>(peer, &id, &deletion, TELL_SESSION).await;
        ended.map_err(|error| failed(&error))
    }

    /// Puts what a console proxy should have and was not told so.
    pub(super) async fn put_sessions(
        &self,
        proxy: VmId,
        status: &ProxyStatus,
        mut should: BTreeMap<ConsoleSessionId, Session>,
        told: &mut Told,
        (stuck, last): (&Stuck, Generation),
    ) -> Result<(), TellError> {
        told.sessions.retain(|id, _| should.contains_key(id));
        let works = |server| status.servers.get(&server).is_none_or(|server| server.problem.is_none());
        should.retain(|id, session| {
            works(session.server) && told.sessions.get(id).is_none_or(|before| differs(before, session))
        });
        let puts = stream::iter(should).map(|(id, mut session)| async move {
            let put = stuck.unless(session.server, self.put_session(proxy, id, &mut session, last)).await;
            (id, session, put)
        });
        let mut worst = Ok(());
        for (id, session, put) in puts.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
            match put {
                Ok(()) => drop(told.sessions.insert(id, session)),
                Err(TellError::Refused(why)) => {
                    tracing::warn!(session = %id, server = %session.server, why, "a console proxy does not take a session");
                    self.loses_its_place(id, session.server).await?;
                }
                Err(error) => worst = Err(error),
            }
        }
        worst
    }

    /// Puts a session as a newer one than all that its proxy was told, so that it goes on there if it was over.
    pub(super) async fn put_anew(
        &self,
        proxy: VmId,
        told: &mut Told,
        (id, mut session): (ConsoleSessionId, Session),
    ) -> Result<(), TellError> {
        // It may be at a proxy that was started anew since: that says so.
        let before = told.sessions.remove(&id);
        session.generation = before.map_or_else(Generation::default, |before| before.generation.next());
        self.put_session(proxy, id, &mut session, self.last_change()).await?;
        told.sessions.insert(id, session);
        Ok(())
    }

    async fn put_session(
        &self,
        proxy: VmId,
        id: ConsoleSessionId,
        session: &mut Session,
        last: Generation,
    ) -> Result<(), TellError> {
        let peer = PeerId::ConsoleProxy(proxy);
        self.put::<SessionPut>(peer, &id, session, last, TELL_SESSION, |one| &mut one.generation).await
    }

    /// A session is not at a server any more. It gets another place when its page asks.
    async fn loses_its_place(&self, id: ConsoleSessionId, server: ConsoleServerId) -> Result<(), AppError> {
        let tx = self.db.begin().await?;
        let found = find::<session::Entity>(tx.reader(), id).await?;
        let Some(row) = found.filter(|row| row.server_id.is_some_and(|own| own.0 == server)) else {
            return Ok(());
        };
        tx.console_session_update(session::Model { server_id: None, ..row }).await?;
        Ok(tx.commit().await?)
    }
}
