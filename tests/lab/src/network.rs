//! The lab's network namespace: a bridge for management, a bridge as the pod's switch, one that leads outside, and what
//! ends all of it.

use std::time::{Duration, Instant};

use anyhow::bail;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::run;
use crate::state::{Host, Lab, Role};

/// The management service's address on the management network.
pub const MANAGEMENT: &str = "10.77.0.1";

/// The bridge that is the management network.
const MANAGEMENT_BRIDGE: &str = "mgmt";

/// The bridge that is the pod's switch: it passes tagged frames unchanged.
pub const SWITCH: &str = "switch";

/// The bridge that leads outside.
pub const OUTSIDE_BRIDGE: &str = "outside";

/// Runs `ip` inside a namespace.
pub(crate) fn ip(namespace: &str, line: &str) -> anyhow::Result<String> {
    let mut arguments = vec!["-n", namespace];
    arguments.extend(line.split(' '));
    run("ip", &arguments)
}

impl Lab {
    /// Makes the namespace with its bridges, and the one outside.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub fn make_network(&self) -> anyhow::Result<()> {
        let namespace = self.namespace();
        run("ip", &["netns", "add", &namespace])?;
        ip(&namespace, "link set lo up")?;
        for bridge in [MANAGEMENT_BRIDGE, SWITCH, OUTSIDE_BRIDGE] {
            let make = format!("link add {bridge} type bridge forward_delay 0 stp_state 0 mcast_snooping 0");
            ip(&namespace, &make)?;
        }
        self.be_nobody_outside()?;
        for bridge in [MANAGEMENT_BRIDGE, SWITCH, OUTSIDE_BRIDGE] {
            ip(&namespace, &format!("link set {bridge} up"))?;
        }
        ip(&namespace, &format!("addr add {MANAGEMENT}/24 dev {MANAGEMENT_BRIDGE}"))?;
        self.make_outside()
    }

    /// Has the namespace take nothing for itself that comes over the bridge to the outside. A kernel answers for each of
    /// its addresses on all of its links, with an address there or not. With the filter it takes from a link only what comes
    /// from where it has a route over that link to: on this one, nothing.
    fn be_nobody_outside(&self) -> anyhow::Result<()> {
        let namespace = self.namespace();
        let set = |options: &str, key: &str| {
            run("ip", &["netns", "exec", &namespace, "sysctl", options, key]).map(drop)
        };
        set("-qw", &format!("net.ipv4.conf.{OUTSIDE_BRIDGE}.rp_filter=1"))?;
        // The key is not there on a machine without IPv6.
        set("-eqw", &format!("net.ipv6.conf.{OUTSIDE_BRIDGE}.disable_ipv6=1"))
    }

    /// Makes the taps of a server, in the order of its NICs.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub fn make_taps(&self, host: &Host) -> anyhow::Result<Vec<String>> {
        let namespace = self.namespace();
        let mut taps =
            vec![(format!("{}-mgmt", host.name), MANAGEMENT_BRIDGE), (trunk_tap(&host.name), SWITCH)];
        if host.role == Role::Compute {
            taps.push((format!("{}-routers", host.name), MANAGEMENT_BRIDGE));
            taps.push((format!("{}-outside", host.name), OUTSIDE_BRIDGE));
        }
        for (tap, bridge) in &taps {
            ip(&namespace, &format!("tuntap add {tap} mode tap"))?;
            ip(&namespace, &format!("link set {tap} master {bridge} up"))?;
        }
        Ok(taps.into_iter().map(|(tap, _)| tap).collect())
    }

    /// The processes of the lab: in its namespace, and in the one outside.
    pub fn processes(&self) -> Vec<Pid> {
        let in_namespace = |name: &String| run("ip", &["netns", "pids", name]).unwrap_or_default();
        let listed = self.namespaces().iter().map(in_namespace).collect::<String>();
        listed.lines().filter_map(|line| line.trim().parse().ok()).map(Pid::from_raw).collect()
    }

    fn namespaces(&self) -> [String; 2] {
        [self.namespace(), self.outside_namespace()]
    }

    /// Ends the lab: its processes, its namespaces, its folder. Success when there is none.
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
        for namespace in self.namespaces() {
            if exists.split_whitespace().any(|word| word == namespace) {
                run("ip", &["netns", "delete", &namespace])?;
            }
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
