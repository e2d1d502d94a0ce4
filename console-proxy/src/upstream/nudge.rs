//! When to nudge a QEMU so that it looks at its display.
//!
//! QEMU's VNC server looks every 30 ms while something happens, and then ever more seldom, down to every 3 s; any message of
//! a client that is about keys has it look every 30 ms again. A key that goes up which never went down does nothing else: QEMU
//! drops it before it reaches the VM. So without nudges a change that a VM makes by itself is seen up to seconds late.
//!
//! How often depends on what happens: each nudge costs a message and QEMU's look. Nobody who looks, no nudges.
//!
//! QEMU waits for 50 ms more after each look that finds nothing, and half as long after one that does (`vnc_refresh` in its
//! `ui/vnc.c`). So by itself it looks 80 ms after the look for a nudge, and 30 or 40, then 110 or more after a change.

use std::time::Duration;

/// After input, and while the picture changes all the time: a look is never later than its 30 ms.
const ACTIVE: Duration = Duration::from_millis(25);

/// When neither is so: a change is seen within a tenth of a second, its way to the page included.
const QUIET: Duration = Duration::from_millis(64);

/// When nothing has happened for [`IDLE_AFTER`]: in the middle QEMU looks by itself.
const IDLE: Duration = Duration::from_millis(160);

/// After a single change QEMU has looked once more by itself before this, and is not late before it.
const CHANGED: Duration = Duration::from_millis(90);

/// Changes that are no further apart are a motion. Characters that appear as somebody types elsewhere are none, and a nudge takes as
/// long as showing one does.
const MOTION: Duration = Duration::from_millis(80);

const QUIET_AFTER: Duration = Duration::from_secs(2);
const IDLE_AFTER: Duration = Duration::from_secs(20);

/// When something has happened last.
#[derive(Debug, Default)]
pub(crate) struct Nudge {
    input: Duration,
    changed: Duration,
    /// Until when the picture moves, if it does not go on.
    moves_until: Duration,
    nudged: Duration,
}

impl Nudge {
    /// There was input.
    pub(crate) fn input(&mut self, now: Duration) {
        self.input = now;
    }

    /// The picture has changed.
    pub(crate) fn changed(&mut self, now: Duration) {
        if now.saturating_sub(self.changed) < MOTION {
            self.moves_until = now + MOTION;
        }
        self.changed = now;
    }

    /// A nudge, or any other message that does the same, was sent.
    pub(crate) fn nudged(&mut self, now: Duration) {
        self.nudged = now;
    }

    /// When the next one is due.
    pub(crate) fn due(&self, now: Duration) -> Duration {
        let quiet_for = now.saturating_sub(self.input);
        if quiet_for < QUIET_AFTER || now < self.moves_until {
            return self.nudged + ACTIVE;
        }
        let is_idle = quiet_for.min(now.saturating_sub(self.changed)) >= IDLE_AFTER;
        let after = if is_idle { IDLE } else { QUIET };
        (self.nudged + after).max(self.changed + CHANGED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nudges(from_ms: u64, to_ms: u64) -> usize {
        nudges_while(from_ms, to_ms, |_| false)
    }

    fn nudges_while(from_ms: u64, to_ms: u64, changes: impl Fn(u64) -> bool) -> usize {
        let (mut nudge, mut count) = (Nudge::default(), 0);
        for ms in 0..to_ms {
            let now = Duration::from_millis(ms);
            if changes(ms) {
                nudge.changed(now);
            }
            if nudge.due(now) <= now {
                nudge.nudged(now);
                count += usize::from(ms >= from_ms);
            }
        }
        count
    }

    #[test]
    fn the_longer_nothing_happens_the_fewer_nudges_there_are() {
        assert_eq!([nudges(1000, 2000), nudges(10_000, 11_000), nudges(30_000, 31_000)], [40, 16, 7]);
    }

    #[test]
    fn what_moves_is_looked_at_as_often_as_after_input_and_single_changes_are_not() {
        let in_a_second = |pace: u64| nudges_while(30_000, 31_000, |ms| ms % pace == 0);
        assert_eq!([in_a_second(33), in_a_second(60), in_a_second(150)], [40, 40, 7]);
        assert_eq!(in_a_second(90), 0, "QEMU looks by itself");
    }

    /// When QEMU looks, and what it finds: the longest that a change waits, in milliseconds.
    fn longest_wait(input_at: u64, from: u64, to: u64, changes: impl Fn(u64) -> bool) -> u64 {
        let (mut nudge, mut interval, mut last, mut dirty, mut longest) = (Nudge::default(), 30, 0, None, 0);
        nudge.input(Duration::from_millis(input_at));
        for ms in 0..to {
            let now = Duration::from_millis(ms);
            if changes(ms) {
                dirty.get_or_insert(ms);
            }
            if nudge.due(now) <= now {
                nudge.nudged(now);
                interval = 30;
            }
            if ms >= last + interval {
                last = ms;
                match dirty.take() {
                    Some(since) => {
                        nudge.changed(now);
                        interval = (interval / 2).max(30);
                        longest = longest.max(if since >= from { ms - since } else { 0 });
                    }
                    None => interval += 50,
                }
            }
        }
        longest
    }

    #[test]
    fn whatever_the_pace_a_change_waits_for_less_than_a_tenth_of_a_second() {
        for pace in 1..1000 {
            let longest = longest_wait(0, 3000, 20_000, |ms| ms % pace == 0);
            assert!(longest <= 64, "a change each {pace} ms is seen after {longest} ms");
        }
        for at in 30_000..30_400 {
            let longest = longest_wait(0, 30_000, 31_000, |ms| ms == at);
            assert!(longest <= 80, "a change after 30 s of quiet is seen after {longest} ms");
        }
    }
}
