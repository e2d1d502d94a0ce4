//! How often what has moved is searched for.

use std::time::Duration;

/// Searches for what has moved that found nothing, one after the other. Where nothing moves, as in a video, there are fewer then: they take
/// as long as a fourth of a video's images.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Searches {
    in_vain: u8,
    /// Updates since the last one.
    passed_over: u8,
    at: Duration,
}

impl Searches {
    /// So many in vain are enough.
    const ENOUGH: u8 = 4;

    /// Then one in so many updates has one.
    const SELDOM: u8 = 4;

    /// After such a pause all is as if nothing had been searched.
    const PAUSE: Duration = Duration::from_secs(3);

    /// Whether the next update is to have one.
    pub(crate) fn is_due(&mut self, now: Duration) -> bool {
        let is_due = self.in_vain < Self::ENOUGH
            || self.passed_over + 1 >= Self::SELDOM
            || now.saturating_sub(self.at) > Self::PAUSE;
        self.passed_over = if is_due { 0 } else { self.passed_over + 1 };
        is_due
    }

    /// Whether one has found anything.
    pub(crate) fn done(&mut self, found: bool, now: Duration) {
        let before = if now.saturating_sub(self.at) > Self::PAUSE { 0 } else { self.in_vain };
        self.in_vain = if found { 0 } else { before.saturating_add(1) };
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which updates, a tenth of a second apart, have searches, if some find something.
    fn searched(
        searches: &mut Searches,
        from: u64,
        updates: usize,
        finds: impl Fn(u64) -> bool,
    ) -> Vec<bool> {
        let at = |number: u64| Duration::from_millis(100 * number);
        let mut one = |number| {
            let is_due = searches.is_due(at(number));
            if is_due {
                searches.done(finds(number), at(number));
            }
            is_due
        };
        (from..).take(updates).map(&mut one).collect()
    }

    #[test]
    fn after_some_in_vain_there_are_few_until_one_finds_something_or_nothing_happens_for_a_while() {
        let mut searches = Searches::default();
        let seldom = [true, true, true, true, false, false, false, true, false, false, false, true];
        assert_eq!(searched(&mut searches, 0, 12, |_| false), seldom);
        assert_eq!(searched(&mut searches, 12, 6, |_| true), [false, false, false, true, true, true]);
        assert_eq!(searched(&mut searches, 18, 6, |_| false), seldom[..6]);
        assert_eq!(searched(&mut searches, 100, 6, |_| false), seldom[..6]);
    }
}
