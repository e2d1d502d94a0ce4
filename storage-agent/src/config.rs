//! The configuration file.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use podzol_rpc::config::{Check, Rules, is_host_and_port};
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
    /// The address at which hosts mount the pools; when left out, the one on the way to the management service.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// Where the identity and the list of pools are.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// The folders in which pools may be made.
    pub pool_roots: Vec<PathBuf>,
    /// Files of public keys (PEM), with one of which every template must be signed; none is asked for when left out.
    #[serde(default)]
    pub template_keys: Vec<PathBuf>,
    /// The user id as which the hosts' QEMU opens volumes; Debian's libvirt-qemu when left out.
    #[serde(default = "default_owner")]
    pub volume_owner: u32,
    /// How often to report, in seconds.
    #[serde(default = "default_report")]
    pub report_secs: u64,
    /// What is logged, in the syntax of `tracing-subscriber`'s filters.
    #[serde(default = "default_log")]
    pub log: String,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8446))
}

fn default_state_dir() -> PathBuf {
    "/var/lib/podzol-storage-agent".into()
}

/// The user libvirt-qemu has this id on every Debian system (`/usr/share/doc/base-passwd`: 60000-64999 are allocated
/// by hand; 64055 is libvirt-qemu's).
fn default_owner() -> u32 {
    64055
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
        must(!self.pool_roots.is_empty(), "pool_roots: must name at least one folder");
        must(self.pool_roots.iter().all(|root| root.is_absolute()), "pool_roots: must be absolute paths");
        must(self.template_keys.iter().all(|key| key.is_absolute()), "template_keys: must be absolute paths");
        must((1..=60).contains(&self.report_secs), "report_secs: must be 1 to 60");
        must(
            EnvFilter::try_new(&self.log).is_ok(),
            "log: must be a filter, such as info or podzol_storage_agent=debug,info",
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
        check(include_str!("../package/storage-agent.toml"), &[]);
    }

    #[test]
    fn every_rule_has_its_error_and_all_come_at_once() {
        check(
            "management = 'mgmt:0'\nstate_dir = 'x'\npool_roots = ['srv']\ntemplate_keys = ['a.pub']\nreport_secs = 61\nlog = 'a=b=c'\nexports = 1\n",
            &[
                "exports: is not a known key",
                "management: must be host:port",
                "state_dir: must be an absolute path",
                "pool_roots: must be absolute paths",
                "template_keys: must be absolute paths",
                "report_secs: must be 1 to 60",
                "log: must be a filter, such as info or podzol_storage_agent=debug,info",
            ],
        );
        check("management = 'm:1'\npool_roots = []\n", &["pool_roots: must name at least one folder"]);
    }
}
