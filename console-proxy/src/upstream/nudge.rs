//! When to nudge a QEMU so that it looks at its display.
//!
//! QEMU's VNC server looks every 30 ms while something happens, and then ever more seldom, down to every 3 s; any message of
//! a client that is about keys has it look every 30 ms again. A key that goes up which never went down does nothing else: QEMU
//! drops it before it reaches the VM. So without nudges a change that a VM makes by itself is seen up to seconds late.
//!
//! How often depends on what happens: each nudge costs a message and QEMU's look. Nobody who looks, no nudges. After a look that has
//! found something QEMU looks again by itself [`AGAIN`] later, so a nudge before that would be for nothing.

use std::time::Duration;

/// After input, and while the picture changes all the time: a look is never later than its 30 ms.
const ACTIVE: Duration = Duration::from_millis(25);

/// When neither is so: a change is seen within a tenth of a second.
const QUIET: Duration = Duration::from_millis(50);

/// When nothing has happened for [`IDLE_AFTER`].
const IDLE: Duration = Duration::from_millis(100);

/// When QEMU looks again after it has found something: [`ACTIVE`] after that, as after a nudge, is soon enough for the next one.
const AGAIN: Duration = Duration::from_millis(30);

/// Changes that are no further apart are a motion. Characters that appear as somebody types elsewhere are none, and a nudge takes as
/// long as showing one does.
const MOTION: Duration = Duration::from_millis(100);

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

    /// When the next one is due: so long after the last one, or after QEMU's own look that follows a change.
    pub(crate) fn due(&self, now: Duration) -> Duration {
        let after = match now.saturating_sub(self.input) {
            quiet_for if quiet_for < QUIET_AFTER || now < self.moves_until => ACTIVE,
            quiet_for if quiet_for.min(now.saturating_sub(self.changed)) < IDLE_AFTER => QUIET,
            _ => IDLE,
        };
        let looks = if self.changed.is_zero() { Duration::ZERO } else { self.changed + AGAIN };
        self.nudged.max(looks) + after
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
        assert_eq!([nudges(1000, 2000), nudges(10_000, 11_000), nudges(30_000, 31_000)], [40, 20, 10]);
    }

    #[test]
    fn what_changes_is_nudged_no_sooner_than_qemu_looks_again_by_itself() {
        let in_three_seconds = |pace: u64| nudges_while(30_000, 33_000, |ms| ms % pace == 0);
        // Not at all as long as each look finds something; else 55 ms after a change, 80 after single ones.
        assert_eq!(in_three_seconds(33), 0);
        assert!((60..=70).contains(&in_three_seconds(90)), "{}", in_three_seconds(90));
        assert_eq!(in_three_seconds(150), 40);
    }
}
