//! The cookies of a session: how a browser that has exchanged a ticket is known from then on.
//!
//! ```text
//!   made ──▶ in use ──(old)──▶ has a successor ──(that was shown)──▶ a while later: refused
//! ```
//! A cookie's value is random and is kept as a hash only. While its successor has not been shown, it stays good: the answer that
//! carried the successor may have been lost. Requests that were under way with the old one have a while to arrive.
//!
//! A cookie is old after a tenth of the time for which its session may be idle, ten minutes at most: one that leaks from where sessions must
//! be short is not good for most of one. But it is good for longer than an answer takes: one that was held back may carry a successor
//! that would be no good any more, in place of a newer one.
//!
//! It reads no clock.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use podzol_vocab::ConsoleSessionId;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;

use crate::limits::WAIT;

/// How old a cookie gets at most before it has a successor.
const ROTATE: Duration = Duration::from_secs(600);

/// For how much of the time that its session may be idle.
const OF_IDLE: u32 = 10;

/// How old it gets at least: an answer takes [`WAIT`], and its way.
const HELD: Duration = WAIT.saturating_add(Duration::from_secs(5));

/// How long a cookie is good at most after its successor was shown; how long a successor may stay unseen before there is another.
const GRACE: Duration = Duration::from_secs(60);

/// The most cookies of a session: each browser that has exchanged a ticket has one or two.
const MOST: usize = 16;

/// The cookies of a session.
#[derive(Debug, Default)]
pub(crate) struct Cookies {
    known: Vec<Cookie>,
    made: u64,
}

#[derive(Debug)]
struct Cookie {
    number: u64,
    hash: [u8; 32],
    born: Duration,
    /// Its successor, and when that was made.
    successor: Option<(u64, Duration)>,
    /// When it is refused.
    ends: Option<Duration>,
    shown: bool,
}

/// What a cookie that was shown is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Good.
    Good,
    /// Good, and old: here is its successor.
    Old(String),
    /// None of the session's.
    Unknown,
}

impl Cookies {
    /// A new cookie: its value.
    ///
    /// # Panics
    /// When the system gives no random numbers: nothing can be safe then.
    pub(crate) fn make(&mut self, now: Duration) -> String {
        let (value, _) = self.add(now);
        value
    }

    /// A browser shows this value, of a session that may be idle for so long.
    pub(crate) fn show(&mut self, value: &str, idle: Duration, now: Duration) -> Shown {
        let rotate = (idle / OF_IDLE).clamp(HELD, ROTATE);
        // No longer than that, so that those which end are few beside those which are in use.
        let grace = GRACE.min(rotate);
        self.known.retain(|cookie| cookie.ends.is_none_or(|ends| now < ends));
        let hash = hash(value);
        let found = self.known.iter().position(|cookie| bool::from(cookie.hash.ct_eq(&hash)));
        let Some(place) = found else { return Shown::Unknown };
        let (number, is_first) = (self.known[place].number, !self.known[place].shown);
        self.known[place].shown = true;
        if is_first {
            let before =
                self.known.iter_mut().find(|cookie| cookie.successor.is_some_and(|(it, _)| it == number));
            before.into_iter().for_each(|before| before.ends = Some(now + grace));
        }
        let cookie = &self.known[place];
        let is_old = cookie.ends.is_none()
            && match cookie.successor {
                None => now.saturating_sub(cookie.born) > rotate,
                Some((_, made)) => now.saturating_sub(made) > grace,
            };
        if !is_old {
            return Shown::Good;
        }
        if let Some((unseen, _)) = cookie.successor {
            self.known.retain(|cookie| cookie.number != unseen);
        }
        let (value, successor) = self.add(now);
        let cookie = self.known.iter_mut().find(|cookie| cookie.number == number);
        cookie.into_iter().for_each(|cookie| cookie.successor = Some((successor, now)));
        Shown::Old(value)
    }

    fn add(&mut self, now: Duration) -> (String, u64) {
        let value = random::<32>();
        self.made += 1;
        if self.known.len() >= MOST {
            self.known.remove(0);
        }
        let hash = hash(&value);
        self.known.push(Cookie {
            number: self.made,
            hash,
            born: now,
            successor: None,
            ends: None,
            shown: false,
        });
        (value, self.made)
    }
}

/// What a browser is to keep for so many seconds, or to forget if there are none. All sessions' cookies come with each request to this
/// host, so none is kept that is of no use.
pub(crate) fn set_cookie(session: ConsoleSessionId, value: &str, secs: u64) -> String {
    format!("{}={value}; Max-Age={secs}; Path=/; Secure; HttpOnly; SameSite=Strict", name(session))
}

/// The value of a session's cookie among those that a browser shows.
pub(crate) fn find(header: &str, session: ConsoleSessionId) -> Option<&str> {
    let name = name(session);
    header.split(';').find_map(|cookie| cookie.trim().strip_prefix(&*name)?.strip_prefix('='))
}

/// A session's cookie as a browser shows it.
pub(crate) fn shown(session: ConsoleSessionId, value: &str) -> String {
    format!("{}={value}", name(session))
}

/// `N` random bytes as text.
///
/// # Panics
/// When the system gives no random numbers: nothing can be safe then.
pub(crate) fn random<const N: usize>() -> String {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system gives random numbers");
    URL_SAFE_NO_PAD.encode(bytes)
}

fn name(session: ConsoleSessionId) -> String {
    format!("__Host-podzol-{session}")
}

fn hash(value: &str) -> [u8; 32] {
    digest(&SHA256, value.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// For how long sessions may be idle here.
    const IDLE: Duration = at(86_400);

    fn successor(cookies: &mut Cookies, value: &str, now: u64) -> String {
        match cookies.show(value, IDLE, at(now)) {
            Shown::Old(value) => value,
            other => panic!("no successor: {other:?}"),
        }
    }

    #[test]
    fn a_cookie_has_a_successor_and_is_refused_a_while_after_that_was_shown() {
        let mut cookies = Cookies::default();
        let first = cookies.make(at(0));
        assert_eq!(cookies.show(&first, IDLE, at(600)), Shown::Good);
        let second = successor(&mut cookies, &first, 601);
        assert_eq!(cookies.show(&first, IDLE, at(602)), Shown::Good);
        assert_eq!(cookies.show(&second, IDLE, at(610)), Shown::Good);
        assert_eq!(cookies.show(&first, IDLE, at(669)), Shown::Good);
        assert_eq!(cookies.show(&first, IDLE, at(670)), Shown::Unknown);
        assert_eq!(cookies.show(&second, IDLE, at(1000)), Shown::Good);
    }

    #[test]
    fn where_sessions_may_not_be_idle_for_long_cookies_are_old_soon() {
        let (mut cookies, idle) = (Cookies::default(), at(60));
        let first = cookies.make(at(0));
        assert_eq!(cookies.show(&first, idle, at(30)), Shown::Good);
        let Shown::Old(second) = cookies.show(&first, idle, at(31)) else { panic!("no successor") };
        // What carries it may be held back for as long as an answer can be, while others ask.
        assert_eq!(cookies.show(&first, idle, at(56)), Shown::Good);
        assert_eq!(cookies.show(&second, idle, at(57)), Shown::Good);
        assert_eq!(cookies.show(&first, idle, at(86)), Shown::Good);
        assert_eq!(cookies.show(&first, idle, at(87)), Shown::Unknown);
    }

    #[test]
    fn a_successor_that_was_lost_on_its_way_locks_nobody_out() {
        let mut cookies = Cookies::default();
        let first = cookies.make(at(0));
        let lost = successor(&mut cookies, &first, 601);
        let second = successor(&mut cookies, &first, 700);
        assert_eq!(cookies.show(&lost, IDLE, at(701)), Shown::Unknown);
        assert_eq!(cookies.show(&second, IDLE, at(702)), Shown::Good);
    }

    #[test]
    fn a_session_has_a_bounded_number_of_them_and_other_values_are_none() {
        let mut cookies = Cookies::default();
        let first = cookies.make(at(0));
        (0..100).for_each(|_| drop(cookies.make(at(1))));
        assert_eq!(cookies.known.len(), MOST);
        assert_eq!(cookies.show(&first, IDLE, at(2)), Shown::Unknown);
        assert_eq!(cookies.show("", IDLE, at(2)), Shown::Unknown);
    }

    #[test]
    fn it_is_found_among_others_by_its_whole_name() {
        let (session, other) = (ConsoleSessionId::new(), ConsoleSessionId::new());
        let header = format!("a=b; x{0}=1; {0}x=2; {1}=3;{0}=4", name(session), name(other));
        assert_eq!(find(&header, session), Some("4"));
        assert_eq!(find(&header, ConsoleSessionId::new()), None);
    }
}
