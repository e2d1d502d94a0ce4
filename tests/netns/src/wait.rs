//! Waiting for something that other processes bring about.

use std::time::{Duration, Instant};

/// Long enough for anything here, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(120);

/// Long enough for a system to boot under emulation, on a machine that is busy with other tests.
const BOOTED: Duration = Duration::from_secs(600);

/// How often to look.
const LOOK: Duration = Duration::from_millis(50);

/// Looks again and again until the probe finds what it looks for.
///
/// # Panics
/// When that takes too long; the message holds what the last look saw.
pub fn wait_for<T>(what: &str, probe: impl FnMut() -> Result<T, String>) -> T {
    wait(what, SOON, probe)
}

/// The same, for what needs a system to boot.
pub(crate) fn wait_long_for<T>(what: &str, probe: impl FnMut() -> Result<T, String>) -> T {
    wait(what, BOOTED, probe)
}

fn wait<T>(what: &str, longest: Duration, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + longest;
    loop {
        let status = match probe() {
            Ok(found) => return found,
            Err(status) => status,
        };
        assert!(Instant::now() < end, "waited {} s for {what}; last seen: {status}", longest.as_secs());
        std::thread::sleep(LOOK);
    }
}
