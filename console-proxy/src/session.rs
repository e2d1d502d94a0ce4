//! A session, as its server knows it.
//!
//! ```text
//!   put ──▶ pages come with tickets, and with cookies ──▶ over: expired or idle
//!             ▲                                             │
//!             └──────────────── put anew ◀──────────────────┘
//! ```

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use podzol_console_proxy_api::Session as Told;
use podzol_vocab::ConsoleSessionId;
use serde::Serialize;

use crate::cookie::Cookies;
use crate::limits::{BEGINS, BEGINS_IN};
use crate::viewer::Viewer;

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: ConsoleSessionId,
    told: RefCell<Arc<Told>>,
    pub(crate) cookies: RefCell<Cookies>,
    pub(crate) viewers: RefCell<HashMap<String, Rc<Viewer>>>,
    over: Cell<Option<Over>>,
    /// When somebody did something last, and when pages were told so.
    active: Cell<Duration>,
    active_told: Cell<Duration>,
    pub(crate) seen_unix: Cell<Option<u64>>,
    pub(crate) input_unix: Cell<Option<u64>>,
    pub(crate) sent_bytes: Cell<u64>,
    /// How often its pages have begun since when.
    begun: Cell<(Duration, u32)>,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Over {
    /// The right to it, the user or the VM is gone.
    Revoked,
    /// Its time is.
    Expired,
    /// Nobody has done anything for too long.
    Idle,
}

impl Session {
    pub(crate) fn new(id: ConsoleSessionId, told: Arc<Told>, now: Duration) -> Self {
        Self {
            id,
            told: RefCell::new(told),
            cookies: RefCell::default(),
            viewers: RefCell::default(),
            over: Cell::default(),
            active: Cell::new(now),
            active_told: Cell::new(now),
            seen_unix: Cell::default(),
            input_unix: Cell::default(),
            sent_bytes: Cell::default(),
            begun: Cell::default(),
        }
    }

    /// Its description.
    pub(crate) fn told(&self) -> Arc<Told> {
        Arc::clone(&self.told.borrow())
    }

    /// Takes a new description: it goes on, if it was over.
    pub(crate) fn tell(&self, told: Arc<Told>, now: Duration) {
        *self.told.borrow_mut() = told;
        if self.over.take().is_some() {
            self.active.set(now);
        }
    }

    /// Why it is over, if it is.
    pub(crate) fn over(&self) -> Option<Over> {
        self.over.get()
    }

    pub(crate) fn end(&self, over: Over) {
        self.over.set(Some(over));
    }

    /// Why it should be over now.
    pub(crate) fn should_end(&self, now: Duration, unix: u64) -> Option<Over> {
        let told = self.told.borrow();
        if told.expires_unix <= unix {
            return Some(Over::Expired);
        }
        (now.saturating_sub(self.active.get()) >= self.may_idle()).then_some(Over::Idle)
    }

    /// In how many seconds it is over whatever happens.
    pub(crate) fn ends_in_secs(&self, unix: u64) -> u64 {
        self.told.borrow().expires_unix.saturating_sub(unix)
    }

    /// Somebody does something.
    pub(crate) fn act(&self, now: Duration, unix: u64) {
        self.active.set(now);
        self.input_unix.set(Some(unix));
    }

    /// For how long nobody may do anything.
    pub(crate) fn may_idle(&self) -> Duration {
        Duration::from_secs(self.told.borrow().idle_secs.into())
    }

    /// In how long it is over if nobody does anything.
    pub(crate) fn idles_in(&self, now: Duration) -> Duration {
        (self.active.get() + self.may_idle()).saturating_sub(now)
    }

    /// Whether pages should hear that it is over later than they know: told at most every 20 seconds.
    pub(crate) fn tells_activity(&self) -> bool {
        let is_news = self.active.get().saturating_sub(self.active_told.get()) > Duration::from_secs(20);
        if is_news {
            self.active_told.set(self.active.get());
        }
        is_news
    }

    /// Whether a page may begin, or begin another way, now; it is counted if so.
    pub(crate) fn may_begin(&self, now: Duration) -> bool {
        let (since, begun) = self.begun.get();
        let (since, begun) =
            if now.saturating_sub(since) < BEGINS_IN { (since, begun + 1) } else { (now, 1) };
        let may = begun <= BEGINS;
        if may {
            self.begun.set((since, begun));
        }
        may
    }

    /// So many bytes of updates were sent.
    pub(crate) fn add_sent(&self, bytes: usize) {
        self.sent_bytes.set(self.sent_bytes.get() + bytes as u64);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use podzol_console_proxy_api::{Resume, Rights, Upstream};
    use podzol_vocab::{AccountId, ConsoleServerId, Generation, Secret, VmId};

    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    pub(crate) fn told() -> Arc<Told> {
        Arc::new(Told {
            generation: Generation(1),
            server: ConsoleServerId::new(),
            vm: VmId::new(),
            vm_name: "web-1".into(),
            account: AccountId::new(),
            upstream: Upstream::Off,
            grant: None,
            rights: Rights::Control,
            viewer: "ada".into(),
            expires_unix: 1000,
            idle_secs: 60,
            resume: Resume { url: String::new(), token: Secret::new(String::new()) },
        })
    }

    #[test]
    fn a_session_is_over_when_its_time_is_or_nobody_has_done_anything_for_too_long() {
        let session = Session::new(ConsoleSessionId::new(), told(), at(100));
        assert_eq!(session.should_end(at(159), 999), None);
        assert_eq!(session.should_end(at(160), 999), Some(Over::Idle));
        assert_eq!(session.should_end(at(159), 1000), Some(Over::Expired));
        session.act(at(159), 900);
        assert_eq!((session.should_end(at(218), 999), session.idles_in(at(200))), (None, at(19)));
        assert!(session.tells_activity() && !session.tells_activity());
    }

    #[test]
    fn a_session_that_was_idle_goes_on_when_it_is_put_anew() {
        let session = Session::new(ConsoleSessionId::new(), told(), at(0));
        session.end(Over::Idle);
        session.tell(told(), at(100));
        assert_eq!((session.over(), session.should_end(at(159), 999)), (None, None));
    }
}
