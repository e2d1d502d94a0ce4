//! Which server of a console proxy a session gets.
//!
//! One that shows the VM already, so that all who look at it share one picture and see one another; else the least loaded. What
//! drains, does not answer or is not open takes none.

use std::collections::{HashMap, HashSet};

use podzol_mgmt_api::vm::VmState;
use podzol_mgmt_db::console::{self, server, session};
use podzol_mgmt_db::vm::Desired;
use podzol_mgmt_db::{Reader, find, now, vm};
use podzol_vocab::{ConsoleServerId, VmId, ZoneId};

use super::make::vm_of;
use crate::{App, AppError};

/// A server that takes sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    id: ConsoleServerId,
    sessions: u32,
    max_sessions: u32,
}

impl App {
    /// A place for a session of a VM, at none of some servers. It is taken by writing it into the session's row in the same
    /// transaction.
    pub(super) async fn console_place(
        &self,
        db: &impl Reader,
        zone: ZoneId,
        vm: VmId,
        not: &HashSet<ConsoleServerId>,
    ) -> Result<Option<ConsoleServerId>, AppError> {
        let counts = session::count_by_server(db, zone).await?;
        let mut candidates = Vec::new();
        for row in console::of_zone(db, zone).await? {
            if !self.takes_sessions(db, &row).await? {
                continue;
            }
            let known = self.here.consoles.of(row.id.0);
            for server in console::servers(db, &[row.id]).await? {
                let id = server.id.0;
                let works = server.opened_at.is_some() && known.heard().works(id);
                if works && server.draining_since.is_none() && !not.contains(&id) {
                    let sessions = counts.get(&id).copied().unwrap_or(0);
                    candidates.push(Candidate { id, sessions, max_sessions: server.max_sessions as u32 });
                }
            }
        }
        let of_vm: Vec<ConsoleServerId> =
            session::of_vm(db, vm).await?.into_iter().filter_map(|row| Some(row.server_id?.0)).collect();
        Ok(choose(&candidates, &of_vm))
    }

    /// Whether a session may stay where it is. A proxy that has not been asked yet, as this service has just begun, may be good.
    pub(super) async fn place_is_good(
        &self,
        db: &impl Reader,
        row: &session::Model,
        not: &HashSet<ConsoleServerId>,
    ) -> Result<bool, AppError> {
        let Some(server) = row.server_id.filter(|server| !not.contains(&server.0)) else { return Ok(false) };
        let Some(server) = find::<server::Entity>(db, server).await? else { return Ok(false) };
        let Some(proxy) = find::<console::Entity>(db, server.proxy_id).await? else { return Ok(false) };
        let drains = server.draining_since.or(proxy.draining_since).is_some() || proxy.is_retired;
        Ok(!drains && runs(&vm_of(db, &proxy).await?) && {
            let known = self.here.consoles.of(proxy.id.0);
            let heard = known.heard();
            !heard.is_failing() && heard.works(server.id.0)
        })
    }

    async fn takes_sessions(&self, db: &impl Reader, row: &console::Model) -> Result<bool, AppError> {
        if row.draining_since.is_some() || row.is_retired {
            return Ok(false);
        }
        let vm = vm_of(db, row).await?;
        let answers = self.here.consoles.of(row.id.0).heard().answers(self.settings.silent_after);
        Ok(vm.desired.0 == Desired::Running && runs(&vm) && answers)
    }

    /// How many sessions of a zone wait for a place.
    pub(super) async fn count_waiting(&self, db: &impl Reader, zone: ZoneId) -> Result<u32, AppError> {
        let since = now().0 - super::session::WANTED.as_millis() as i64;
        Ok(session::count_waiting(db, zone, since).await? as u32)
    }
}

fn runs(vm: &vm::Model) -> bool {
    matches!(vm.state.0, VmState::Running | VmState::Migrating)
}

/// One at which sessions of the VM are and that has room, the one with the most of them; else the one that is least loaded, the
/// oldest of these.
fn choose(candidates: &[Candidate], of_vm: &[ConsoleServerId]) -> Option<ConsoleServerId> {
    let mut there: HashMap<ConsoleServerId, u32> = HashMap::new();
    of_vm.iter().for_each(|id| *there.entry(*id).or_default() += 1);
    let with_room = candidates.iter().filter(|one| one.sessions < one.max_sessions);
    let best = with_room.min_by_key(|one| {
        let joined = there.get(&one.id).copied().unwrap_or(0);
        let load = u64::from(one.sessions) * 1_000_000 / u64::from(one.max_sessions);
        (std::cmp::Reverse(joined), load, one.id)
    });
    best.map(|one| one.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(sessions: u32, max_sessions: u32) -> Candidate {
        Candidate { id: ConsoleServerId::new(), sessions, max_sessions }
    }

    #[test]
    fn a_session_goes_where_its_vm_is_shown_and_else_where_the_least_load_is() {
        let [busy, idle, large] = [server(3, 4), server(2, 4), server(4, 10)];
        let all = [busy, idle, large];
        assert_eq!(choose(&all, &[]), Some(large.id));
        assert_eq!(choose(&all, &[busy.id]), Some(busy.id));
        assert_eq!(choose(&all, &[busy.id, idle.id, idle.id]), Some(idle.id));
        let full = Candidate { sessions: 4, ..busy };
        assert_eq!(choose(&[full, idle, large], &[full.id]), Some(large.id));
        assert_eq!(choose(&[full], &[]), None);
        assert_eq!(choose(&[], &[]), None);
        let twin = Candidate { id: ConsoleServerId::new(), ..idle };
        assert_eq!(choose(&[twin, idle], &[]), Some(idle.id));
    }
}
