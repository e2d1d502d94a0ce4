//! The lab's network namespace: a bridge for management, a bridge as the pod's switch, and what ends all of it.

use std::time::{Duration, Instant};

use anyhow::bail;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::run;
use crate::state::{Host, Lab};

/// The management service's address on the management network.
pub const MANAGEMENT: &str = "10.77.0.1";

/// The bridge that is the management network.
const MANAGEMENT_BRIDGE: &str = "mgmt";

/// The bridge that is the pod's switch: it passes tagged frames unchanged.
pub const SWITCH: &str = "switch";

impl Lab {
    /// Runs `ip` inside the namespace.
    fn ip(&self, line: &str) -> anyhow::Result<String> {
        let namespace = self.namespace();
        let mut arguments = vec!["-n", namespace.as_str()];
        arguments.extend(line.split(' '));
        run("ip", &arguments)
    }

    /// Makes the namespace with its two bridges.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub fn make_network(&self) -> anyhow::Result<()> {
        run("ip", &["netns", "add", &self.namespace()])?;
        self.ip("link set lo up")?;
        for bridge in [MANAGEMENT_BRIDGE, SWITCH] {
            self.ip(&format!("link add {bridge} type bridge forward_delay 0 stp_state 0 mcast_snooping 0"))?;
            self.ip(&format!("link set {bridge} up"))?;
        }
        self.ip(&format!("addr add {MANAGEMENT}/24 dev {MANAGEMENT_BRIDGE}"))?;
        Ok(())
    }

    /// Makes the taps of a server: one on the management network, one at the switch.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub fn make_taps(&self, host: &Host) -> anyhow::Result<[String; 2]> {
        let taps = [format!("{}-mgmt", host.name), trunk_tap(&host.name)];
        for (tap, bridge) in taps.iter().zip([MANAGEMENT_BRIDGE, SWITCH]) {
            self.ip(&format!("tuntap add {tap} mode tap"))?;
            self.ip(&format!("link set {tap} master {bridge} up"))?;
        }
        Ok(taps)
    }

    /// The processes in the namespace.
    pub fn processes(&self) -> Vec<Pid> {
        let listed = run("ip", &["netns", "pids", &self.namespace()]).unwrap_or_default();
        listed.lines().filter_map(|line| line.trim().parse().ok()).map(Pid::from_raw).collect()
    }

    /// Ends the lab: its processes, its namespace, its folder. Success when there is none.
    ///
    /// # Errors
    /// When a process cannot be ended or the folder not be removed.
    pub fn down(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                bail!("processes of the lab do not end: {left:?}");
            }
            for process in left {
                let _ = kill(process, Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let exists = run("ip", &["netns", "list"])?;
        if exists.split_whitespace().any(|word| word == self.namespace()) {
            run("ip", &["netns", "delete", &self.namespace()])?;
        }
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                bail!("cannot remove {}: {error}", self.folder.display())
            }
            _ => Ok(()),
        }
    }
}

/// The tap of a server's trunk.
pub fn trunk_tap(host: &str) -> String {
    format!("{host}-trunk")
}
