//! When advertisements are sent (RFC 4861, 6.2.4 and 6.2.6).
//!
//! ```text
//!   start, or what is told changes ─▶ to all, three times 16 s apart ─▶ to all, at random every 200 to 600 s
//!   a VM with an address asks ─▶ to it at once, up to 10 a second on the link ─┐ beyond that
//!   a VM without one asks ────────────────────────────────────────────────────▶ to all, within half a second, but never
//!                                                                               within 3 s of the last one to all
//! ```
//! Whoever floods with questions has the others wait 3 s for an answer at the worst, and no more is sent than 10 packets a
//! second. What is kept is of one size.

use std::net::Ipv6Addr;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use crate::Solicitation;

/// How many are sent to all soon after a start or a change, and how far apart (MAX_INITIAL_RTR_ADVERTISEMENTS,
/// MAX_INITIAL_RTR_ADVERT_INTERVAL).
const FIRST: u32 = 3;
const FIRST_APART: Duration = Duration::from_secs(16);

/// The bounds between which the others are apart (MinRtrAdvInterval, MaxRtrAdvInterval).
const APART: std::ops::RangeInclusive<u64> = 200_000..=600_000;

/// How far apart two to all are at least (MIN_DELAY_BETWEEN_RAS).
const AT_LEAST: Duration = Duration::from_secs(3);

/// How long an answer to all waits at most, in milliseconds (MAX_RA_DELAY_TIME): others may ask the same.
const DELAY: std::ops::RangeInclusive<u64> = 0..=500;

/// How far apart answers to single VMs are, in the mean, and how many may go at once.
const SINGLE: Duration = Duration::from_millis(100);
const BURST: u32 = 10;

/// When the next ones of a link are due. Time is given as what has passed since some start.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// When the next one to all is due.
    due: Duration,
    /// When the last one to all was sent.
    last: Option<Duration>,
    /// How many of the first ones are left.
    first: u32,
    /// When there may be as many single answers at once again as at most.
    rested_at: Duration,
    random: StdRng,
}

impl Schedule {
    /// One whose first is due at once.
    pub fn new(now: Duration, random: StdRng) -> Self {
        Self { due: now, last: None, first: FIRST, rested_at: Duration::ZERO, random }
    }

    /// When the next one to all is due.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// One to all has been sent.
    pub fn sent(&mut self, now: Duration) {
        self.last = Some(now);
        self.first = self.first.saturating_sub(1);
        let apart = Duration::from_millis(self.random.random_range(APART));
        self.due = now + if self.first > 0 { FIRST_APART } else { apart };
    }

    /// What is told has changed: all hear of it soon, and some times.
    pub fn changed(&mut self, now: Duration) {
        self.first = FIRST;
        self.sooner(now);
    }

    /// Somebody asks. Gives the address to which to send an answer now; without one, everybody gets it when it is due.
    pub fn asked(&mut self, now: Duration, question: Solicitation) -> Option<Ipv6Addr> {
        if let Solicitation::From(vm) = question {
            let rested_at = self.rested_at.max(now) + SINGLE;
            if rested_at - now <= SINGLE * BURST {
                self.rested_at = rested_at;
                return Some(vm);
            }
        }
        let delay = Duration::from_millis(self.random.random_range(DELAY));
        self.sooner(now + delay);
        None
    }

    /// Has the next one to all due then, or as soon after the last one as it may be; never later than it was.
    fn sooner(&mut self, then: Duration) {
        let allowed = self.last.map_or(Duration::ZERO, |last| last + AT_LEAST);
        self.due = self.due.min(then.max(allowed));
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const VM: Solicitation = Solicitation::From(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x5eff, 0xfe10, 1));

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn schedule() -> Schedule {
        Schedule::new(secs(100), StdRng::seed_from_u64(1))
    }

    /// One that has sent its first ones, and when it did last.
    fn settled() -> (Schedule, Duration) {
        let mut schedule = schedule();
        (0..FIRST).for_each(|_| schedule.sent(schedule.due()));
        (schedule, secs(132))
    }

    #[test]
    fn the_first_ones_are_soon_and_the_others_seldom() {
        let mut schedule = schedule();
        for expected in [100, 116, 132] {
            assert_eq!(schedule.due(), secs(expected));
            schedule.sent(schedule.due());
        }
        let (mut last, mut gaps) = (secs(132), std::collections::BTreeSet::new());
        for _ in 0..100 {
            let gap = schedule.due() - last;
            assert!(gap >= secs(200) && gap <= secs(600), "{gap:?}");
            gaps.insert(gap);
            last = schedule.due();
            schedule.sent(last);
        }
        assert!(gaps.len() > 90, "they should not keep step with other routers");
    }

    #[test]
    fn a_change_is_told_soon_but_not_within_three_seconds() {
        let (mut schedule, last) = settled();
        schedule.changed(last + secs(1));
        assert_eq!(schedule.due(), last + secs(3));
        schedule.sent(last + secs(3));
        assert_eq!(schedule.due(), last + secs(19));
        let (mut schedule, last) = settled();
        schedule.changed(last + secs(50));
        assert_eq!(schedule.due(), last + secs(50));
    }

    #[test]
    fn a_vm_with_an_address_is_answered_at_once() {
        let (mut schedule, last) = settled();
        let due = schedule.due();
        let Solicitation::From(vm) = VM else { panic!("it has one") };
        assert_eq!(schedule.asked(last, VM), Some(vm));
        assert_eq!(schedule.due(), due, "the others hear nothing of it");
    }

    #[test]
    fn a_vm_without_one_is_answered_to_all_within_half_a_second() {
        let (mut schedule, last) = settled();
        let now = last + secs(60);
        assert_eq!(schedule.asked(now, Solicitation::Anybody), None);
        assert!(schedule.due() >= now && schedule.due() <= now + Duration::from_millis(500));
        let due = schedule.due();
        schedule.asked(now + secs(1), Solicitation::Anybody);
        assert_eq!(schedule.due(), due, "a second question does not put it off");
    }

    #[test]
    fn a_flood_of_questions_gets_ten_answers_a_second_and_one_to_all_every_three() {
        let (mut schedule, last) = settled();
        let (mut single, mut to_all) = (0, 0);
        for milli in 0..30_000 {
            let now = last + secs(60) + Duration::from_millis(milli);
            single += usize::from(schedule.asked(now, VM).is_some());
            if schedule.due() <= now {
                schedule.sent(now);
                to_all += 1;
            }
        }
        assert!((300..=310).contains(&single), "{single}");
        assert!((9..=11).contains(&to_all), "{to_all}");
    }
}
