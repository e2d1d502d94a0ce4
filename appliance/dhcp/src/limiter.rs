//! How many packets are answered: so many of each client, and so many of a link.
//!
//! A client is who sends the frame ([`Table::owner`](crate::Table::owner)), whatever its packet says: a VM that asks in the
//! name of another takes nothing from that one. Its own limit is asked first, and a packet over it takes nothing from the
//! link's: a VM that floods harms itself. All senders that nobody knows, such as relays, are one client. Only packets that
//! would be answered ([`Table::sender`](crate::Table::sender)) should be asked about.
//!
//! # Design notes
//! A bucket of tokens is kept as the moment at which it will be full again. A bucket that is full is the same as none, so
//! forgetting those needs no timer.

use std::collections::HashMap;
use std::time::Duration;

use podzol_vocab::MacAddr;

/// A bucket of tokens: how fast it fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How long one token takes.
    pub interval: Duration,
    /// How many tokens there are at most.
    pub burst: u32,
}

impl Rate {
    /// How long an empty bucket takes to fill.
    fn refill(self) -> Duration {
        self.interval.saturating_mul(self.burst)
    }
}

/// The limits of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For each client.
    pub client: Rate,
    /// For all clients together.
    pub link: Rate,
    /// How many clients' buckets are kept at most.
    pub clients: usize,
}

impl Default for Limits {
    /// A start takes 2 to 4 packets, and clients that get no answer send one every 3 seconds or more: a client gets 2 a
    /// second after 10. A link gets 500 a second after 1,000, which a router with one CPU answers in a fifth of its time.
    fn default() -> Self {
        Self {
            client: Rate { interval: Duration::from_millis(500), burst: 10 },
            link: Rate { interval: Duration::from_millis(2), burst: 1000 },
            clients: 4096,
        }
    }
}

/// The buckets of one link. Time is given as what has passed since some start, and must not go back; if it does, buckets
/// only take longer to fill.
#[derive(Debug, Clone)]
pub struct Limiter {
    limits: Limits,
    link: Bucket,
    clients: HashMap<Option<MacAddr>, Bucket>,
    swept: Duration,
}

impl Limiter {
    /// With full buckets.
    pub fn new(limits: Limits) -> Self {
        Self { limits, link: Bucket::default(), clients: HashMap::new(), swept: Duration::ZERO }
    }

    /// Whether a packet of this client, or of one that nobody knows, may be answered now. If so, it is counted.
    pub fn admits(&mut self, client: Option<MacAddr>, now: Duration) -> bool {
        let Limits { client: rate, link, clients } = self.limits;
        self.sweep(now);
        // Above the bound a client that has no bucket is held by the link's limit alone.
        if self.clients.contains_key(&client) || self.clients.len() < clients {
            let bucket = self.clients.entry(client).or_default();
            if !bucket.take(rate, now) {
                return false;
            }
        }
        self.link.take(link, now)
    }

    /// How many clients' buckets are kept.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Forgets full buckets, but not more often than one can become full.
    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept) >= self.limits.client.refill() {
            self.clients.retain(|_, bucket| bucket.full_at > now);
            self.swept = now;
        }
    }
}

/// A bucket: when it will be full.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    full_at: Duration,
}

impl Bucket {
    fn take(&mut self, rate: Rate, now: Duration) -> bool {
        let full_at = self.full_at.max(now).saturating_add(rate.interval);
        let there = full_at - now <= rate.refill();
        if there {
            self.full_at = full_at;
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(number: u8) -> Option<MacAddr> {
        Some(MacAddr::local([2, 0, 0, 0, 0, number]))
    }

    fn admitted(limiter: &mut Limiter, client: u8, packets: usize, now: Duration) -> usize {
        (0..packets).filter(|_| limiter.admits(mac(client), now)).count()
    }

    fn rate(millis: u64, burst: u32) -> Rate {
        Rate { interval: Duration::from_millis(millis), burst }
    }

    #[test]
    fn a_client_gets_its_burst_at_once_and_then_its_rate() {
        let mut limiter = Limiter::new(Limits::default());
        assert_eq!(admitted(&mut limiter, 1, 100, Duration::ZERO), 10);
        assert_eq!(admitted(&mut limiter, 1, 100, Duration::from_secs(1)), 2);
        assert_eq!(admitted(&mut limiter, 1, 100, Duration::from_secs(60)), 10);
    }

    #[test]
    fn a_client_that_floods_takes_nothing_from_the_others() {
        let mut limiter = Limiter::new(Limits { link: rate(2, 20), ..Limits::default() });
        assert_eq!(admitted(&mut limiter, 1, 10_000, Duration::ZERO), 10);
        assert_eq!(admitted(&mut limiter, 2, 4, Duration::ZERO), 4);
    }

    #[test]
    fn all_whom_nobody_knows_are_one_client() {
        let mut limiter = Limiter::new(Limits::default());
        let admitted = (0..100).filter(|_| limiter.admits(None, Duration::ZERO)).count();
        assert_eq!((admitted, limiter.clients()), (10, 1));
        assert!(limiter.admits(mac(1), Duration::ZERO));
    }

    #[test]
    fn all_clients_together_get_no_more_than_the_link_has() {
        let mut limiter = Limiter::new(Limits { link: rate(2, 25), ..Limits::default() });
        let total: usize = (0..50).map(|client| admitted(&mut limiter, client, 10, Duration::ZERO)).sum();
        assert_eq!(total, 25);
    }

    #[test]
    fn buckets_are_bounded_and_full_ones_are_forgotten() {
        let mut limiter = Limiter::new(Limits { clients: 8, ..Limits::default() });
        for client in 0..200 {
            assert!(limiter.admits(mac(client), Duration::ZERO));
        }
        assert_eq!(limiter.clients(), 8);
        limiter.admits(mac(201), Duration::from_secs(60));
        assert_eq!(limiter.clients(), 1);
    }

    #[test]
    fn time_that_goes_back_does_no_harm() {
        let mut limiter = Limiter::new(Limits::default());
        assert_eq!(admitted(&mut limiter, 1, 100, Duration::from_secs(100)), 10);
        assert_eq!(admitted(&mut limiter, 1, 100, Duration::ZERO), 0);
        assert!(limiter.admits(mac(2), Duration::MAX));
    }
}
