//! How long to wait before a line is tried again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);

/// So that a VM which starts is seen in the time that it takes to look up.
const LONGEST: Duration = Duration::from_secs(3);

/// A line that was there for so long was no failure.
const LASTS: Duration = Duration::from_secs(10);

/// Waits twice as long each time.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        (FIRST * 2_u32.saturating_pow((self.failures - 1).min(8))).min(LONGEST)
    }

    /// The line was there for this time.
    pub(crate) fn lasted(&mut self, time: Duration) {
        if time >= LASTS {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_longer_each_time_and_not_for_ever() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..7).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3000, 3000]);
        backoff.lasted(Duration::from_secs(1));
        assert_eq!(backoff.next(), LONGEST);
        backoff.lasted(LASTS);
        assert_eq!(backoff.next(), FIRST);
    }
}
