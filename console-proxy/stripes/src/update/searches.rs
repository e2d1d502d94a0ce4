//! How often, and how, what has moved is searched for.

use std::time::Duration;

/// What searches of one kind have found lately. Where nothing moves, as in a video, there are fewer of them: they take as long as a
/// fourth of a video's images.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Searches {
    /// Searches that found nothing, one after the other.
    in_vain: u8,
    /// Updates since the last one.
    passed_over: u8,
    at: Duration,
    /// The way of searching that found something last.
    way: usize,
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
        let is_due = self.in_vain < Self::ENOUGH || self.passed_over + 1 >= Self::SELDOM || self.is_over(now);
        self.passed_over = if is_due { 0 } else { self.passed_over + 1 };
        is_due
    }

    /// Which way of searching is to be the first: the one that found something last, as what moves goes on to.
    pub(crate) fn first(self, now: Duration) -> usize {
        if self.is_over(now) { 0 } else { self.way }
    }

    /// Whether nothing was searched for so long that what was found before says nothing.
    fn is_over(self, now: Duration) -> bool {
        now.saturating_sub(self.at) > Self::PAUSE
    }

    /// The way in which one has found something, if it has.
    pub(crate) fn done(&mut self, found_by: Option<usize>, now: Duration) {
        let before = if self.is_over(now) { 0 } else { self.in_vain };
        self.in_vain = if found_by.is_some() { 0 } else { before.saturating_add(1) };
        self.way = found_by.unwrap_or(self.way);
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
                searches.done(finds(number).then_some(1), at(number));
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
        assert_eq!(searches.first(Duration::from_millis(1200)), 0);
        assert_eq!(searched(&mut searches, 12, 6, |_| true), [false, false, false, true, true, true]);
        assert_eq!([1800, 9000].map(|at| searches.first(Duration::from_millis(at))), [1, 0]);
        assert_eq!(searched(&mut searches, 18, 6, |_| false), seldom[..6]);
        assert_eq!(searched(&mut searches, 100, 6, |_| false), seldom[..6]);
    }
}
