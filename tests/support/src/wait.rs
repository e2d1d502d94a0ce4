//! Waiting for something that other tasks bring about.

use std::time::Duration;

use tokio::time::Instant;

/// Long enough for anything that a simulated pod does, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(60);

/// How often to look.
const LOOK: Duration = Duration::from_millis(20);

/// Looks again and again until the probe finds what it looks for.
///
/// # Panics
/// When that takes longer than the deadline; the message holds what the last look saw.
pub async fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        let status = match probe().await {
            Ok(found) => return found,
            Err(status) => status,
        };
        assert!(Instant::now() < end, "waited {} s for {what}; last seen: {status}", deadline.as_secs());
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_later_is_found() {
        let mut looks = 0;
        let found = wait_for("three", SOON, async || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(format!("{looks}")) }
        });
        assert_eq!(found.await, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "for a miracle; last seen: nothing yet")]
    async fn the_last_status_is_in_the_message() {
        wait_for("a miracle", Duration::ZERO, async || Err::<(), _>("nothing yet".into())).await;
    }
}
