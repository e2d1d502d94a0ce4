//! Pings from one VM to another, for as long as something goes on.

use std::time::Duration;

use anyhow::{Context, ensure};
use podzol_lab::Console;

const SHORT: Duration = Duration::from_secs(180);

/// How many may get no answer while a VM moves.
const LOST: u32 = 3;

/// How many more are sent before the end, so that a VM that is not reached any more is noticed.
const AFTERWARDS: u32 = 2 * LOST;

/// One ping a second, until their end is asked for.
#[derive(Debug)]
pub struct Pings(());

impl Pings {
    /// Has the VM at this console ping an address.
    ///
    /// # Errors
    /// When the VM does not answer.
    pub fn begin(console: &mut Console, address: &str) -> anyhow::Result<Self> {
        console.ask(&format!("sh ping {address} > /run/pings 2>&1 & echo $! > /run/pinger"), SHORT)?;
        Ok(Self(()))
    }

    /// Ends them after a few more; all but a few must have been answered.
    ///
    /// # Errors
    /// When more were lost, or there were hardly any.
    pub fn hardly_one_is_lost(self, console: &mut Console) -> anyhow::Result<()> {
        let end =
            format!("sh sleep {AFTERWARDS}; kill -INT $(cat /run/pinger); sleep 1; grep received /run/pings");
        let said = console.ask(&end, SHORT)?;
        let summary = said.first().context("the pings have no summary")?;
        let numbers: Vec<u32> = summary.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [sent, received, ..] = numbers[..] else { anyhow::bail!("no numbers in {summary:?}") };
        ensure!(sent > AFTERWARDS && received + LOST >= sent, "{summary}");
        Ok(())
    }
}
