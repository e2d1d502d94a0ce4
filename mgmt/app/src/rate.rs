//! How many requests an account may send: so many a second on average, and a burst of a few seconds' worth.
//!
//! It is counted in this process: several management services together let an account send that many each. Admins are
//! not counted: who must stop a flood must not drown in it.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use podzol_vocab::AccountId;

/// How many seconds' worth of requests may come at once.
const BURST_SECS: u32 = 5;

/// The most that are counted before those that have long been silent are forgotten.
const MANY: usize = 10_000;

/// Counts requests per account, or per whatever else they are told apart by.
#[derive(Debug)]
pub(crate) struct Rates<K = AccountId>(Mutex<HashMap<K, (NonZeroU32, Arc<DefaultDirectRateLimiter>)>>);

impl<K> Default for Rates<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Rates<K> {
    /// Counts one request of one that may send so many a second.
    ///
    /// # Errors
    /// When there were too many: how long to wait.
    pub(crate) fn count(&self, who: K, per_second: NonZeroU32) -> Result<(), Duration> {
        let limiter = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() > MANY {
                // A limiter that nobody has used for a while says what a new one would.
                all.clear();
            }
            let (rate, limiter) = all.entry(who).or_insert_with(|| (per_second, limiter_of(per_second)));
            if *rate != per_second {
                (*rate, *limiter) = (per_second, limiter_of(per_second));
            }
            Arc::clone(limiter)
        };
        limiter.check().map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
    }
}

fn limiter_of(per_second: NonZeroU32) -> Arc<DefaultDirectRateLimiter> {
    let burst = per_second.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECS - 1));
    Arc::new(RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_its_burst_and_then_its_rate_and_no_other_feels_it() {
        let (rates, account) = (Rates::<AccountId>::default(), AccountId::new());
        let rate = NonZeroU32::new(2).unwrap();
        for _ in 0..10 {
            rates.count(account, rate).unwrap();
        }
        let wait = rates.count(account, rate).unwrap_err();
        assert!(wait <= Duration::from_millis(500), "{wait:?}");
        rates.count(AccountId::new(), rate).unwrap();
        // Another rate holds at once.
        rates.count(account, NonZeroU32::new(3).unwrap()).unwrap();
    }
}
