//! How much each client gets: a bucket of tokens for the network that it is in, in a table whose size never changes.
//!
//! # Design notes
//! - A client is a network (an IPv4 /24, an IPv6 /56): who forges packets to drown somebody in answers takes any address
//!   near him, and who has one address of IPv6 has many.
//! - Networks that fall on the same place of the table share a bucket. Where they fall is a secret of the process, so that
//!   nobody can pick a neighbour, and forged sources cannot make the table grow.
//! - Every second answer that is too much becomes a short one, that the client shall come by TCP ("slip" of 2, as name
//!   servers have it): a real client behind a forged flood still gets its answer, and the flood is halved.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// Places for networks. The resolvers of a console domain's users are in some hundreds; a table takes a megabyte.
const PLACES: usize = 1 << 14;

/// What a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The answer.
    Answer,
    /// To be told to come by TCP.
    Slip,
    /// Nothing.
    Drop,
}

/// The network that a client counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Prefix {
    V4([u8; 3]),
    V6([u8; 7]),
}

impl Prefix {
    pub(crate) fn of(client: IpAddr) -> Self {
        match client.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g])
            }
        }
    }

    /// The first of the networks that one site usually has: a /16 of IPv4, a /48 of IPv6.
    pub(crate) fn site(self) -> Self {
        match self {
            Self::V4([a, b, _]) => Self::V4([a, b, 0]),
            Self::V6([a, b, c, d, e, f, _]) => Self::V6([a, b, c, d, e, f, 0]),
        }
    }
}

/// The table.
pub(crate) struct Rates<C: Clock = DefaultClock> {
    places: Box<[Place<C>]>,
    secret: RandomState,
}

struct Place<C: Clock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    slips: AtomicBool,
}

impl Rates {
    /// So many answers a second, and as many as two seconds bring at once.
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        Self::with_clock(per_second, &DefaultClock::default())
    }
}

impl<C: Clock + Clone> Rates<C> {
    fn with_clock(per_second: NonZeroU32, clock: &C) -> Self {
        let quota = Quota::per_second(per_second)
            .allow_burst(per_second.saturating_mul(NonZeroU32::MIN.saturating_add(1)));
        let place = || Place {
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()),
            slips: AtomicBool::new(false),
        };
        Self { places: std::iter::repeat_with(place).take(PLACES).collect(), secret: RandomState::new() }
    }

    /// Counts an answer to a client.
    pub(crate) fn count(&self, client: Prefix) -> Verdict {
        let place = &self.places[self.secret.hash_one(client) as usize % PLACES];
        match place.limiter.check() {
            Ok(()) => Verdict::Answer,
            Err(_) if place.slips.fetch_not(Ordering::Relaxed) => Verdict::Drop,
            Err(_) => Verdict::Slip,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn prefix(address: &str) -> Prefix {
        Prefix::of(address.parse().unwrap())
    }

    #[test]
    fn a_network_has_its_burst_and_then_its_rate() {
        let clock = FakeRelativeClock::default();
        let rates = Rates::with_clock(NonZeroU32::new(10).unwrap(), &clock);
        let answered = || (0..100).filter(|_| rates.count(prefix("192.0.2.7")) == Verdict::Answer).count();
        assert_eq!(answered(), 20);
        clock.advance(Duration::from_millis(100));
        assert_eq!(answered(), 1);
        clock.advance(Duration::from_secs(60));
        assert_eq!(answered(), 20);
    }

    #[test]
    fn of_what_is_too_much_every_second_is_told_to_come_by_tcp() {
        let rates = Rates::with_clock(NonZeroU32::MIN, &FakeRelativeClock::default());
        let verdicts: Vec<_> = (0..6).map(|_| rates.count(prefix("192.0.2.7"))).collect();
        use Verdict::{Answer, Drop, Slip};
        assert_eq!(verdicts, [Answer, Answer, Slip, Drop, Slip, Drop]);
    }

    #[test]
    fn neighbours_count_as_one_and_others_do_not_feel_it() {
        assert_eq!(prefix("192.0.2.7"), prefix("192.0.2.250"));
        assert_eq!(prefix("192.0.2.7"), prefix("::ffff:192.0.2.7"));
        assert_ne!(prefix("192.0.2.7"), prefix("192.0.3.7"));
        assert_eq!(prefix("2001:db8:0:1200::1"), prefix("2001:db8:0:12ff::1"));
        assert_ne!(prefix("2001:db8:0:1200::1"), prefix("2001:db8:0:1300::1"));

        let rates = Rates::with_clock(NonZeroU32::MIN, &FakeRelativeClock::default());
        for _ in 0..100 {
            rates.count(prefix("192.0.2.7"));
        }
        let others = (0..=255_u8).map(|third| Prefix::V4([10, 0, third]));
        let answered = others.filter(|other| rates.count(*other) == Verdict::Answer).count();
        assert!(answered >= 250, "{answered}");
    }
}
