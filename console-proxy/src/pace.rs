//! How much a viewer's line carries: how many bytes may be on their way to it, and how large an update should be.
//!
//! ```text
//!   sent(number, bytes) ──▶ on its way ──▶ acknowledged(number)
//! ```
//! The time from one to the other is the round trip and the time that the bytes take; the smallest one lately is the round trip
//! alone. What was acknowledged by how much time is the rate. Twice what the line holds at that rate may be on its way: enough
//! to keep it busy, and little that a newer picture has to wait behind.
//!
//! **What adapts to a line** is how many pictures come, and how much of one an update has: what is made anew leaves out what has been
//! overwritten since. How good a lossy tile is does not: photographs and video are at 35 dB or better on any line, and without loss once
//! they rest. Refused: worse tiles on thin lines, which takes more bytes in all once they are made good, and looks broken meanwhile.
//!
//! **A picture that the line cannot carry at once is given up when a newer one comes**: an update has about half of what may be on its
//! way, and what it had no room for is not kept, but made of what is there when the next one is asked for. Refused: to take back
//! an update that was handed over, too. It is small, so what waits in front of a newer picture is what the line carries in two round
//! trips; and the page, which has the ones after it already, would have to be told.
//!
//! It reads no clock.

use std::collections::VecDeque;
use std::time::Duration;

/// What may be on its way at least: so that a typed character never waits for the picture before it.
const MIN_WINDOW: usize = 64 << 10;

/// What may be on its way at most.
const MAX_WINDOW: usize = 4 << 20;

/// How large an update is at least asked to be. Below that, what is around it costs more than it.
const MIN_BUDGET: usize = 16 << 10;

/// How long the smallest round trip counts.
const LATELY: Duration = Duration::from_secs(10);

/// A viewer's line.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    on_the_way: VecDeque<Sent>,
    bytes: usize,
    /// The smallest time to an acknowledgement, and when it was.
    round_trip: Option<(Duration, Duration)>,
    /// Bytes a second.
    rate: Option<f64>,
    acknowledged: Option<Duration>,
}

#[derive(Debug)]
struct Sent {
    number: u32,
    bytes: usize,
    at: Duration,
}

impl Pace {
    /// Whether one more update may be sent.
    pub(crate) fn may_send(&self) -> bool {
        self.bytes == 0 || self.bytes < self.window()
    }

    /// About how many bytes it should have.
    pub(crate) fn budget(&self) -> usize {
        (self.window() / 2).max(MIN_BUDGET)
    }

    /// An update is sent.
    pub(crate) fn sent(&mut self, number: u32, bytes: usize, now: Duration) {
        self.on_the_way.push_back(Sent { number, bytes, at: now });
        self.bytes += bytes;
    }

    /// All up to this update have come.
    pub(crate) fn acknowledged(&mut self, number: u32, now: Duration) {
        let Some(place) = self.on_the_way.iter().position(|sent| sent.number == number) else { return };
        let began = self.on_the_way[0].at.max(self.acknowledged.unwrap_or_default());
        let taken: Vec<Sent> = self.on_the_way.drain(..=place).collect();
        let bytes: usize = taken.iter().map(|sent| sent.bytes).sum();
        self.bytes -= bytes;
        let took = taken.last().map_or(Duration::ZERO, |last| now.saturating_sub(last.at));
        if self.round_trip.is_none_or(|(least, at)| took <= least || now.saturating_sub(at) > LATELY) {
            self.round_trip = Some((took, now));
        }
        // A small update tells nothing of the rate but that it is not less.
        let seconds = now.saturating_sub(began).as_secs_f64().max(0.001);
        let rate = bytes as f64 / seconds;
        self.rate = Some(match self.rate {
            Some(before) if rate < before && bytes < MIN_BUDGET => before,
            Some(before) => before * 0.75 + rate * 0.25,
            None => rate,
        });
        self.acknowledged = Some(now);
    }

    /// For how long the oldest update has been on its way.
    pub(crate) fn waits_for(&self, now: Duration) -> Duration {
        self.on_the_way.front().map_or(Duration::ZERO, |oldest| now.saturating_sub(oldest.at))
    }

    /// Whatever is on its way is lost.
    pub(crate) fn lost(&mut self) {
        self.on_the_way.clear();
        self.bytes = 0;
    }

    fn window(&self) -> usize {
        let round_trip = self.round_trip.map_or(0.0, |(least, _)| least.as_secs_f64());
        // Half of a picture's 30 ms more, as acknowledgements wait for drawing.
        let holds = self.rate.unwrap_or_default() * (round_trip + 0.015) * 2.0;
        (holds as usize).clamp(MIN_WINDOW, MAX_WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Sends as much as may be sent over a line, in steps of a millisecond; tells the window at the end.
    fn run(bytes_per_ms: usize, delay: u64, update: usize) -> usize {
        let (mut pace, mut queue, mut number) = (Pace::default(), VecDeque::new(), 0);
        let (mut free_at, mut acks) = (0_u64, VecDeque::new());
        for now in 1..5000_u64 {
            while pace.may_send() {
                number += 1;
                pace.sent(number, update, ms(now));
                queue.push_back(number);
            }
            while let Some(next) = queue.pop_front() {
                free_at = free_at.max(now) + (update / bytes_per_ms) as u64;
                acks.push_back((free_at + delay, next));
            }
            while let Some((_, next)) = acks.pop_front_if(|(at, _)| *at <= now) {
                pace.acknowledged(next, ms(now));
            }
        }
        pace.window()
    }

    #[test]
    fn a_fast_line_with_a_long_way_is_filled_and_a_thin_one_is_not_flooded() {
        // 10 MB/s and 200 ms hold 2 MB; 100 kB/s and 20 ms hold 2 kB.
        assert!((1 << 20..=4 << 20).contains(&run(10_000, 200, 30_000)), "{}", run(10_000, 200, 30_000));
        assert_eq!(run(100, 20, 16_000), MIN_WINDOW);
    }

    #[test]
    fn what_is_lost_holds_nothing_up() {
        let mut pace = Pace::default();
        pace.sent(1, 10 << 20, ms(1));
        assert!(!pace.may_send());
        pace.lost();
        assert!(pace.may_send());
        pace.acknowledged(1, ms(5));
        assert!(pace.may_send() && pace.budget() >= MIN_BUDGET);
    }
}
