//! How much of its thread's time a VM takes.
//!
//! A server's thread is all its VMs', and nothing interrupts the work that one of them causes. Some of that work is large for few
//! bytes: a display's server can have 15 million pixels copied by 16 of them. So the processor's time that a VM's pixels take is counted.
//! A VM may take half of the thread's time, and [`AT_ONCE`] after a while with less; one that has taken more waits until it has
//! earned that, while its line and its pages are not read and not made pictures for.
//!
//! It reads no clock.
//!
//! # Design notes
//! - Refused: to count pixels instead of time. What a pixel takes differs by a hundred times from one encoding to another.
//! - Refused: to count time by the wall. On a machine that is busy with other things a thread is kept waiting in the midst of
//!   its work, and a VM would rest for that, by twice as long: after 0.6 s for as much again, with a key that was pressed meanwhile.
//!   So beside such others a VM may take more than half of the little that its thread gets; [turns](crate::upstream) are all
//!   that holds it back then.

use std::time::Duration;

/// How much may be taken at once: the first picture of a large desktop, for several pages.
const AT_ONCE: Duration = Duration::from_millis(250);

/// A VM's share. By half of the time as its share, what was taken is earned in twice its time.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// When all that was taken will have been earned, were nothing earned before it was taken.
    earned: Duration,
}

impl Share {
    /// So much was taken up to now.
    pub(crate) fn take(&mut self, took: Duration, now: Duration) {
        self.earned = self.earned.max(now) + took * 2;
    }

    /// How long to wait before more is taken.
    pub(crate) fn rests(&self, now: Duration) -> Duration {
        self.earned.saturating_sub(now + AT_ONCE * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// How much of so much time is taken by whoever takes as much as he may, so much at a time.
    fn taken(time: Duration, each: Duration) -> Duration {
        let (mut share, mut now, mut taken) = (Share::default(), Duration::ZERO, Duration::ZERO);
        while now < time {
            let rests = share.rests(now);
            now += rests;
            if rests.is_zero() {
                now += each;
                taken += each;
                share.take(each, now);
            }
        }
        taken
    }

    #[test]
    fn half_of_the_time_is_taken_and_a_little_at_once() {
        assert!((ms(5000)..ms(5600)).contains(&taken(ms(10_000), ms(4))), "{:?}", taken(ms(10_000), ms(4)));
        assert!((ms(5000)..ms(5600)).contains(&taken(ms(10_000), ms(100))));
        assert_eq!(taken(ms(250), ms(10)), ms(250));
    }

    #[test]
    fn whoever_takes_little_never_waits() {
        let mut share = Share::default();
        for now in (0..1000).map(|step| ms(step * 30)) {
            assert_eq!(share.rests(now), Duration::ZERO);
            share.take(ms(14), now);
        }
    }
}
