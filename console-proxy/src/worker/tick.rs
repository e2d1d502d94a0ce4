//! What is looked at once a second.

use std::cell::LazyCell;
use std::rc::Rc;
use std::sync::LazyLock;

use nix::sys::sysinfo::sysinfo;

use super::Worker;
use crate::hub::memory_bytes;
use crate::limits::{FORGET, KEYS, LINGER, STALL, STALL_WHEN_SHORT};
use crate::viewer::{Gone, Viewer};

/// How long a session that is over is remembered, so that its pages hear why, in seconds after its end.
const REMEMBER_SECS: u64 = 3600;

/// Whether this process has so much of the machine's memory that pages which acknowledge nothing are given less time: each
/// keeps up to two pictures of its VM's screen.
fn is_short_of_memory() -> bool {
    static MACHINE: LazyLock<u64> = LazyLock::new(|| sysinfo().map_or(u64::MAX, |about| about.ram_total()));
    memory_bytes() > *MACHINE / 5 * 3
}

impl Worker {
    pub(super) fn tick(&self) {
        let (now, unix) = (self.clock.now(), self.clock.unix());
        // The system is asked only when an update has been on its way for so long that it matters.
        let patience = LazyCell::new(|| if is_short_of_memory() { STALL_WHEN_SHORT } else { STALL });
        let sessions: Vec<_> = self.sessions.borrow().values().cloned().collect();
        for session in sessions {
            let over = session.should_end(now, unix).filter(|_| session.over().is_none());
            if let Some(over) = over {
                self.end(&session, over);
            }
            if session.tells_activity() {
                session.viewers.borrow().values().take(1).for_each(|viewer| viewer.vm.changed());
            }
            let viewers: Vec<Rc<Viewer>> = session.viewers.borrow().values().cloned().collect();
            for viewer in viewers {
                if viewer.silent_for(now) > FORGET {
                    self.forget(&viewer, Gone::Forgotten);
                    continue;
                }
                if viewer.holds_for(now) > KEYS {
                    viewer.release();
                }
                if viewer.stalls_for(now) > STALL_WHEN_SHORT {
                    viewer.give_up_stalled(now, *patience);
                }
            }
        }
        self.sessions.borrow_mut().retain(|_, session| session.told().expires_unix + REMEMBER_SECS > unix);
        self.deleted.borrow_mut().retain(|_, (_, until)| *until > now);
        self.nonces.borrow_mut().retain(|_, ends| *ends > unix);
        self.vms.borrow_mut().retain(|_, vm| {
            let is_over = vm.left.get().is_some_and(|left| now.saturating_sub(left) > LINGER);
            if is_over {
                vm.end();
            }
            !is_over
        });
    }
}
