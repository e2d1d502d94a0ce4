//! Rounds of damage at random: so many that are the same each time, and then, for as long as `PODZOL_FUZZ_SECONDS` says, others from
//! another beginning each time. A round that fails says how it is run once more: `PODZOL_FUZZ_SEED=SEED:ROUND`, with which that one
//! round follows those that are always the same, and no other.
//!
//! It knows nothing of what is damaged, and needs none of Podzol's crates, so that each of them can have it in its tests.

#![allow(clippy::unwrap_used, reason = "in a test an error is a panic, in its helpers too")]

use std::env;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::SeedableRng;
use rand::rngs::StdRng;

/// Runs so many rounds from this beginning, and then others for the time that was asked for. Says how many they were.
///
/// # Panics
/// As a round does, and when `PODZOL_FUZZ_SECONDS` is no number of seconds or `PODZOL_FUZZ_SEED` is not SEED:ROUND.
pub fn rounds(count: usize, beginning: u64, mut round: impl FnMut(usize, &mut StdRng)) -> usize {
    let mut random = StdRng::seed_from_u64(beginning);
    (0..count).for_each(|number| round(number, &mut random));
    let mut run = |seed, number| {
        let _told = Told { seed, number };
        round(number, &mut of_round(seed, number));
    };
    if let Ok(asked) = env::var("PODZOL_FUZZ_SEED") {
        let (seed, number) = read(&asked);
        run(seed, number);
        return count + 1;
    }
    let Ok(seconds) = env::var("PODZOL_FUZZ_SECONDS") else { return count };
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seconds = seconds.parse().expect("PODZOL_FUZZ_SECONDS: must be a number of seconds");
    let end = Instant::now() + Duration::from_secs(seconds);
    let more = (count..).take_while(|_| Instant::now() < end).map(|number| run(seed, number));
    count + more.count()
}

/// The random numbers of one round, which need none of those of the rounds before it.
fn of_round(seed: u64, number: usize) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_add((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// Reads `SEED:ROUND`.
fn read(asked: &str) -> (u64, usize) {
    let parts =
        asked.split_once(':').and_then(|(seed, number)| Some((seed.parse().ok()?, number.parse().ok()?)));
    parts.expect("PODZOL_FUZZ_SEED: must be SEED:ROUND, as a round that fails prints it")
}

/// Says how a round is repeated if it fails.
struct Told {
    seed: u64,
    number: usize,
}

impl Drop for Told {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("this round once more: PODZOL_FUZZ_SEED={}:{}", self.seed, self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn rounds_are_the_same_each_time_and_each_has_its_number() {
        let seen = || {
            let mut seen = Vec::new();
            rounds(50, 7, |number, random| {
                // What is searched for longer is not the same.
                if seen.len() < 50 {
                    seen.push((number, random.random::<u64>()));
                }
            });
            seen
        };
        let first = seen();
        assert_eq!(first, seen());
        assert!(first.iter().enumerate().all(|(number, round)| round.0 == number));
    }

    #[test]
    fn a_round_is_repeated_from_what_was_printed_of_it() {
        let (seed, number) = read("1795938000000000000:61234");
        assert_eq!((seed, number), (1_795_938_000_000_000_000, 61_234));
        let numbers = |number| of_round(seed, number).random::<[u64; 4]>();
        assert_eq!(numbers(number), numbers(number));
        assert_ne!(numbers(number), numbers(number + 1));
    }

    #[test]
    #[should_panic(expected = "must be SEED:ROUND")]
    fn a_seed_without_a_round_is_refused() {
        read("17");
    }
}
