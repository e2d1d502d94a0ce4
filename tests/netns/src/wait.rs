//! Waiting for something that other processes bring about.

use std::time::{Duration, Instant};

/// Long enough for anything here, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(30);

/// How often to look.
const LOOK: Duration = Duration::from_millis(50);

/// Looks again and again until the probe finds what it looks for.
///
/// # Panics
/// When that takes too long; the message holds what the last look saw.
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + SOON;
    loop {
        let status = match probe() {
            Ok(found) => return found,
            Err(status) => status,
        };
        assert!(Instant::now() < end, "waited {} s for {what}; last seen: {status}", SOON.as_secs());
        std::thread::sleep(LOOK);
    }
}
