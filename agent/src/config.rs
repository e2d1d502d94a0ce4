//! The configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;

use podzol_rpc::config::{Check, Rules, is_host_and_port};
use podzol_vocab::{InterfaceName, TrafficType};
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// All that an operator can set.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Where the management service listens to agents: `host:port`.
    pub management: String,
    /// Where the agent's API listens.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// The address at which the management service and storage servers see this host; found out when left out.
    #[serde(default)]
    pub address: Option<std::net::IpAddr>,
    /// Where identity, seeds and mounts are. A VM moves between hosts of a zone with its paths, so it is the same on all.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// The NIC or bond that carries the customers' VLANs.
    pub trunk: InterfaceName,
    /// The bridges on the host's own networks.
    #[serde(default)]
    pub traffic: Traffic,
    /// The address where tunnels of VXLANs begin; the one above when left out.
    #[serde(default)]
    pub tunnel_address: Option<std::net::IpAddr>,
    /// Whether VMs may run by software emulation where KVM does not work. It is many times slower.
    #[serde(default)]
    pub allow_emulation: bool,
    /// libvirt's URI.
    #[serde(default = "default_uri")]
    pub libvirt_uri: String,
    /// Where libvirt listens, for VMs that come from other hosts.
    #[serde(default = "default_libvirt_socket")]
    pub libvirt_socket: PathBuf,
    /// QEMU's program, with which KVM is tried out.
    #[serde(default = "default_emulator")]
    pub emulator: PathBuf,
    /// Memory that the host keeps for itself in MiB.
    #[serde(default = "default_reserved")]
    pub memory_reserved_mib: u64,
    /// How often to report when nothing changes, in seconds.
    #[serde(default = "default_report")]
    pub report_secs: u64,
    /// What is logged, in the syntax of `tracing-subscriber`'s filters.
    #[serde(default = "default_log")]
    pub log: String,
}

/// The bridges on the host's own networks, into which VMs of the operator's own are plugged, such as routers. The operator
/// makes each of them, with the NIC or bond in it that carries the network, tagged or not; Podzol never makes, changes or
/// removes them. A VM moves between hosts of a zone with the names of its bridges, so they are the same on all. A host without
/// one runs no such VM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Traffic {
    /// The bridge on the network where the hosts and the management service reach each other.
    #[serde(default)]
    pub management: Option<InterfaceName>,
    /// The bridge on the network that leads to the world outside.
    #[serde(default)]
    pub public: Option<InterfaceName>,
}

impl Traffic {
    /// The bridge of one of the networks.
    pub fn bridge(&self, traffic: TrafficType) -> Option<&InterfaceName> {
        match traffic {
            TrafficType::Management => self.management.as_ref(),
            TrafficType::Public => self.public.as_ref(),
        }
    }

    /// The networks that have a bridge, with its name.
    pub fn bridges(&self) -> impl Iterator<Item = (TrafficType, &InterfaceName)> {
        TrafficType::ALL.into_iter().filter_map(|traffic| Some((traffic, self.bridge(traffic)?)))
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8445))
}

fn default_state_dir() -> PathBuf {
    "/var/lib/podzol-agent".into()
}

fn default_uri() -> String {
    "qemu:///system".into()
}

fn default_libvirt_socket() -> PathBuf {
    "/run/libvirt/libvirt-sock".into()
}

fn default_emulator() -> PathBuf {
    "/usr/bin/qemu-system-x86_64".into()
}

fn default_reserved() -> u64 {
    512
}

fn default_report() -> u64 {
    5
}

fn default_log() -> String {
    "info".into()
}

impl Check for Config {
    fn problems(&self) -> Vec<String> {
        let mut rules = Rules::default();
        let mut must = |holds, problem| rules.must(holds, problem);
        must(is_host_and_port(&self.management), "management: must be host:port");
        must(self.state_dir.is_absolute(), "state_dir: must be an absolute path");
        let is_trunk = |bridge: &Option<InterfaceName>| bridge.as_ref() == Some(&self.trunk);
        must(!is_trunk(&self.traffic.management), "traffic.management: must not be the trunk");
        must(!is_trunk(&self.traffic.public), "traffic.public: must not be the trunk");
        must(self.libvirt_socket.is_absolute(), "libvirt_socket: must be an absolute path");
        must(self.emulator.is_absolute(), "emulator: must be an absolute path");
        must((1..=60).contains(&self.report_secs), "report_secs: must be 1 to 60");
        must(
            EnvFilter::try_new(&self.log).is_ok(),
            "log: must be a filter, such as info or podzol_agent=debug,info",
        );
        rules.problems()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let found = podzol_rpc::config::parse::<Config>(text).map(|_| ()).err().unwrap_or_default();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_packaged_file_is_valid() {
        check(include_str!("../package/agent.toml"), &[]);
    }

    #[test]
    fn every_rule_has_its_error_and_all_come_at_once() {
        check(
            "management = 'mgmt'\ntrunk = 'eth1'\nstate_dir = 'x'\nlibvirt_socket = 's'\nemulator = 'qemu'\nreport_secs = 0\nlog = 'a=b=c'\nnic = 'a'\nvlan = 1\n",
            &[
                "nic: is not a known key",
                "vlan: is not a known key",
                "management: must be host:port",
                "state_dir: must be an absolute path",
                "libvirt_socket: must be an absolute path",
                "emulator: must be an absolute path",
                "report_secs: must be 1 to 60",
                "log: must be a filter, such as info or podzol_agent=debug,info",
            ],
        );
        check(
            "management = 'm:1'\ntrunk = 'a b'\n",
            &["trunk: must be an interface name: 1 to 15 letters, digits, '-', '_' or '.'"],
        );
    }

    #[test]
    fn the_hosts_own_networks_have_rules_of_their_own_and_all_problems_come_at_once() {
        let with = |traffic: &str| format!("management = 'm:1'\ntrunk = 'eth1'\n[traffic]\n{traffic}");
        check(&with(""), &[]);
        check(&with("public = 'br0'\n"), &[]);
        check(&with("management = 'br0'\npublic = 'br1'\n"), &[]);
        check(
            &with("management = 'eth1'\npublic = 'eth1'\nguest = 'br0'\nstorage = 'br1'\n"),
            &[
                "traffic.guest: is not a known key",
                "traffic.storage: is not a known key",
                "traffic.management: must not be the trunk",
                "traffic.public: must not be the trunk",
            ],
        );
        check(
            &with("management = 'a b'\npublic = ''\n"),
            &[
                "traffic.management: must be an interface name: 1 to 15 letters, digits, '-', '_' or '.'",
                "traffic.public: must be an interface name: 1 to 15 letters, digits, '-', '_' or '.'",
            ],
        );
    }

    #[test]
    fn the_packaged_file_shows_how_to_name_the_bridges_of_the_hosts_own_networks() {
        let text = include_str!("../package/agent.toml");
        let shown = text.replace("# [traffic]", "[traffic]").replace("# management =", "management =");
        let shown = shown.replace("# public =", "public =");
        let config: Config = podzol_rpc::config::parse(&shown).unwrap();
        let names: Vec<_> = config.traffic.bridges().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["br-management", "br-public"]);
    }
}
