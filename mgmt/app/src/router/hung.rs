//! Routers that hang: how long each is waited for, and that they are replaced one after the other.
//!
//! ```text
//!   it does not answer, and its host says that it runs ─▶ replaced after  4 × silent_secs
//!   so does the one that took its place                ─▶ replaced after  8 × silent_secs, then 16 × … 64 ×
//!   none was replaced for an hour                      ─▶ as at first
//! ```
//! A router that says nothing on a host that reports may hang, or be slow, as all that runs on a host with too much to do is.
//! Nobody can tell the two apart from outside, and to take a slow one for one that hangs makes things worse: another VM boots,
//! where there was too much to do already, and more of them become slow. So in a zone one is replaced after the other: what the
//! first needs for its boot is how long the next one waits. One that does not come at all holds up the others for
//! [`LONGEST_BOOT`] only. And whoever takes the place of one that was slow is waited for twice as long.
//!
//! Refused: to ask hosts how busy they are. A host may have time, and the storage its router is read from none.
//! Refused: to keep this in the database. A service that has just started waits for all routers in any case.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use podzol_vocab::{RouterId, ZoneId};
use tokio::time::Instant;

/// How many times as long as a host that is silent a router is waited for whose host says that its VM runs.
const STUCK: u32 = 4;

/// How often that is doubled at most.
const DOUBLED: u32 = 4;

/// After how long a router that has not been replaced since is one like any other.
const CALM: Duration = Duration::from_secs(3600);

/// How long one that is being replaced holds up others.
const LONGEST_BOOT: Duration = Duration::from_secs(300);

/// What was done about routers that hang.
#[derive(Debug, Default)]
pub(crate) struct Hung {
    replaced: Mutex<HashMap<RouterId, Replaced>>,
}

#[derive(Debug, Clone, Copy)]
struct Replaced {
    zone: ZoneId,
    times: u32,
    last: Instant,
}

impl Hung {
    /// How long a router may say nothing until it hangs.
    pub(super) fn patience(&self, router: RouterId, silent_after: Duration) -> Duration {
        let times = self.all().get(&router).map_or(0, |replaced| replaced.times);
        silent_after * STUCK * 2_u32.pow(times.min(DOUBLED))
    }

    /// Those of a zone that were replaced so shortly ago that they may not be there yet.
    pub(super) fn may_boot(&self, zone: ZoneId) -> Vec<RouterId> {
        let may_boot = |replaced: &Replaced| replaced.zone == zone && replaced.last.elapsed() < LONGEST_BOOT;
        self.all().iter().filter(|(_, replaced)| may_boot(replaced)).map(|(router, _)| *router).collect()
    }

    /// Whether one was to be replaced of late.
    pub(super) fn has(&self, router: RouterId) -> bool {
        self.all().contains_key(&router)
    }

    /// Notes that one is being replaced.
    pub(super) fn replaced(&self, router: RouterId, zone: ZoneId) {
        let mut all = self.all();
        let times = all.get(&router).map_or(0, |replaced| replaced.times) + 1;
        all.insert(router, Replaced { zone, times, last: Instant::now() });
    }

    fn all(&self) -> MutexGuard<'_, HashMap<RouterId, Replaced>> {
        let mut all = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, replaced| replaced.last.elapsed() < CALM);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_the_place_of_a_slow_one_is_waited_for_twice_as_long_until_there_was_calm() {
        let (hung, router, zone) = (Hung::default(), RouterId::new(), ZoneId::new());
        let mut waited = vec![];
        for _ in 0..7 {
            let patience = hung.patience(router, Duration::from_secs(30));
            waited.push(patience.as_secs());
            tokio::time::sleep(patience).await;
            hung.replaced(router, zone);
        }
        assert_eq!(waited, [120, 240, 480, 960, 1920, 1920, 1920]);
        assert_eq!(hung.patience(RouterId::new(), Duration::from_secs(30)).as_secs(), 120);
        tokio::time::sleep(CALM).await;
        assert_eq!(hung.patience(router, Duration::from_secs(30)).as_secs(), 120);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_being_replaced_is_known_in_its_zone_for_as_long_as_a_boot_takes() {
        let (hung, router, zone) = (Hung::default(), RouterId::new(), ZoneId::new());
        hung.replaced(router, zone);
        assert_eq!((hung.may_boot(zone), hung.may_boot(ZoneId::new())), (vec![router], vec![]));
        tokio::time::sleep(LONGEST_BOOT).await;
        assert_eq!(hung.may_boot(zone), vec![]);
    }
}
