//! Rounds of damage at random: so many that are the same each time, and then, for as long as `PODZOL_FUZZ_SECONDS` says,
//! others from another beginning each time.

use std::env;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::SeedableRng;
use rand::rngs::StdRng;

/// Runs so many rounds from this beginning, and then others for the time that was asked for. Says how many they were.
pub(crate) fn rounds(count: usize, beginning: u64, mut round: impl FnMut(usize, &mut StdRng)) -> usize {
    let mut random = StdRng::seed_from_u64(beginning);
    (0..count).for_each(|number| round(number, &mut random));
    let Ok(seconds) = env::var("PODZOL_FUZZ_SECONDS") else { return count };
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    eprintln!("the seed is {seed}");
    let end = Instant::now() + Duration::from_secs(seconds.parse().unwrap());
    let mut random = StdRng::seed_from_u64(seed);
    let more = (count..).take_while(|_| Instant::now() < end).map(|number| round(number, &mut random));
    count + more.count()
}
