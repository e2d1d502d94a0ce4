//! Which polls were asked before.
//!
//! A browser, or what stands between, asks once more by itself when a connection ends under a request, and does not tell the page. If
//! the first one had come, its answer is lost with an update in it; the second one would get the next update, and the page would wait
//! for the one between. So a page numbers its polls, and a number that comes again is told so.

/// How many numbers before the newest one are told apart: far more than a page has polls open.
const KNOWN: u64 = u64::BITS as u64;

/// The numbers of polls that came.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Repeats {
    newest: u64,
    /// A bit for each of the [`KNOWN`] newest numbers that came, the lowest for the newest.
    came: u64,
}

impl Repeats {
    /// Notes a number: whether it has not come before.
    pub(crate) fn is_new(&mut self, number: u64) -> bool {
        if number > self.newest {
            let further = u32::try_from(number - self.newest).unwrap_or(u32::MAX);
            self.came = self.came.checked_shl(further).unwrap_or_default() | 1;
            self.newest = number;
            return true;
        }
        let behind = self.newest - number;
        let bit = if behind < KNOWN { 1 << behind } else { 0 };
        let is_new = bit != 0 && self.came & bit == 0;
        self.came |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_new_once_in_whatever_order_they_come() {
        let mut repeats = Repeats::default();
        for number in [1, 2, 5, 3, 4, 64, 70, 69] {
            assert!(repeats.is_new(number), "{number}");
            assert!(!repeats.is_new(number), "{number} again");
        }
        assert!(!repeats.is_new(1) && !repeats.is_new(64) && repeats.is_new(63));
    }

    #[test]
    fn what_is_too_old_to_be_told_apart_counts_as_a_repeat() {
        let mut repeats = Repeats::default();
        assert!(repeats.is_new(u64::MAX));
        assert!(repeats.is_new(u64::MAX - 63) && !repeats.is_new(u64::MAX - 64) && !repeats.is_new(0));
    }
}
