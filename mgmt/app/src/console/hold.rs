//! Starts of console proxies that fail: how often that was so in a zone, and how long none is started after it.
//!
//! ```text
//!   a VM goes that never had a server open ─▶ one failure more ─▶ nothing is started for 5 s, 10 s, 20 s … 10 min
//!   a server opens                         ─▶ none any more
//! ```
//! It stands in the row of the zone's scan, with the reason, so whoever scans next goes on with it.

use std::time::Duration;

use podzol_mgmt_api::Timestamp;
use podzol_mgmt_db::console::{scan, server};
use podzol_mgmt_db::now;

/// How long nothing is started after a start that has failed.
const FIRST: Duration = Duration::from_secs(5);

/// How long after many: an operator who has mended what was wrong does not wait longer.
const LONGEST: Duration = Duration::from_secs(600);

/// Notes a start that has failed.
pub(super) fn failed(scan: &mut scan::Model, why: &str) {
    scan.failures += 1;
    (scan.failed_at, scan.why_failed) = (Some(now().0), Some(why.to_owned()));
}

/// Forgets what has failed if a server has opened since. Says whether it has.
pub(super) fn works(scan: &mut scan::Model, servers: &[server::Model]) -> bool {
    let Some(failed_at) = scan.failed_at else { return false };
    let has_opened = servers.iter().any(|server| server.opened_at.is_some_and(|at| at > failed_at));
    if has_opened {
        (scan.failures, scan.failed_at, scan.why_failed) = (0, None, None);
    }
    has_opened
}

/// Whether nothing is started now.
pub(super) fn is_held(scan: &scan::Model) -> bool {
    until(scan).is_some_and(|until| now().0 < until)
}

/// What is wrong, in words.
pub(super) fn why(scan: &scan::Model) -> Option<String> {
    let (until, why) = (until(scan)?, scan.why_failed.as_deref().unwrap_or("it has failed"));
    Some(match scan.failures {
        1 => format!(
            "the last console proxy did not start: {why}; the next one is started from {}",
            Timestamp(until)
        ),
        many => format!(
            "the last {many} console proxies did not start: {why}; the next one is started from {}",
            Timestamp(until)
        ),
    })
}

fn until(scan: &scan::Model) -> Option<i64> {
    scan.failed_at.map(|at| at + rest(scan.failures).as_millis() as i64)
}

fn rest(failures: i64) -> Duration {
    let doubled = failures.clamp(1, 20) as u32 - 1;
    (FIRST * 2_u32.pow(doubled)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_starts_fail_the_longer_it_is_until_the_next_one_but_never_for_ever() {
        let rests = [1, 2, 3, 7, 8, 9, 1000].map(|failures| rest(failures).as_secs());
        assert_eq!(rests, [5, 10, 20, 320, 600, 600, 600]);
    }
}
