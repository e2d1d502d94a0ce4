//! Pings from one VM to another, for as long as something goes on.

use std::time::Duration;

use anyhow::ensure;
use podzol_lab::Console;

const SHORT: Duration = Duration::from_secs(180);

/// How many may get no answer while a VM moves: it stands still for less than a second on hosts that are not emulated, and for
/// some seconds on those that are. One that its network does not find anew is away for much longer.
const LOST: u32 = 5;

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

    /// Ends them after a few more; all but a few must have been answered, the last ones too.
    ///
    /// # Errors
    /// When more were lost.
    pub fn hardly_one_is_lost(self, console: &mut Console) -> anyhow::Result<()> {
        // A shell has what it starts in the background ignore the signal upon which ping would tell how many it has sent.
        let end = format!(
            "sh grep -c seq= /run/pings; sleep {AFTERWARDS}; kill $(cat /run/pinger); grep -c seq= /run/pings; \
             grep -o seq=.* /run/pings | tail -n 1 | cut -d= -f2 | cut -d' ' -f1"
        );
        let said = console.ask(&end, SHORT)?;
        let numbers: Vec<u32> = said.iter().filter_map(|line| line.trim().parse().ok()).collect();
        let [before, answered, last] = numbers[..] else { anyhow::bail!("not three numbers: {said:?}") };
        let sent = last + 1;
        ensure!(sent <= answered + LOST, "of {sent} pings {answered} were answered");
        ensure!(before + AFTERWARDS <= answered + LOST, "no ping was answered after the {answered}th");
        Ok(())
    }
}
