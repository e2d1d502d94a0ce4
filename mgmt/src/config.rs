//! The configuration file.

mod console;

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use podzol_console_proxy_api::Origin;
use podzol_mgmt_app::ROUTER_CONNECTIONS_PER_VM;
use podzol_rpc::config::{Check, Rules};
use podzol_vocab::Invalid;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

pub use console::Console;

/// All that an operator can set.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Where the database, the authority and the uploaded templates are.
    pub data_dir: PathBuf,
    /// Where the API listens.
    pub api_listen: SocketAddr,
    /// Where agents are listened to.
    pub agent_listen: SocketAddr,
    /// Further DNS names by which clients know the API.
    #[serde(default)]
    pub names: Vec<String>,
    /// Further addresses by which clients know the API.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// What is logged, in the syntax of `tracing-subscriber`'s filters.
    #[serde(default = "default_log")]
    pub log: String,
    /// How many virtual CPUs may be placed on each processor of a host.
    #[serde(default = "default_overcommit")]
    pub cpu_overcommit: u32,
    /// How much memory of VMs may be placed on each 100 MiB of a host's. More than 100 needs hosts that can swap or merge
    /// pages.
    #[serde(default = "default_memory_overcommit")]
    pub memory_overcommit_percent: u32,
    /// How many bytes of volumes may be promised for each byte of a pool: volumes take room only as they fill.
    #[serde(default = "default_overcommit")]
    pub storage_overcommit: u32,
    /// How long a host may be silent before it counts as disconnected, in seconds.
    #[serde(default = "default_silent")]
    pub silent_secs: u64,
    /// How long a join token may be used, in seconds.
    #[serde(default = "default_token")]
    pub join_token_secs: u64,
    /// How long a volume that no VM has is kept before it is removed, in seconds.
    #[serde(default = "default_leftover")]
    pub leftover_secs: u64,
    /// How long a VM may take to start, in seconds.
    #[serde(default = "default_start")]
    pub vm_start_secs: u64,
    /// How long a deleted VM can be recovered, in seconds; 0 for not at all.
    #[serde(default = "default_expunge")]
    pub vm_expunge_secs: u64,
    /// How long it is kept who did what, in days.
    #[serde(default = "default_event")]
    pub event_days: u64,
    /// How long a router is kept that no VM needs, in seconds.
    #[serde(default = "default_router_idle")]
    pub router_idle_secs: u64,
    /// How many connections a VM may have begun through its router at a time, by each of its addresses. More than the router
    /// follows at all it never has.
    #[serde(default = "default_router_connections")]
    pub router_connections_per_vm: u32,
    /// How many API requests a second an account may send on average, where its quotas do not say.
    #[serde(default = "default_requests")]
    pub api_requests_per_second: NonZeroU32,
    /// How many API requests are answered at once; what comes beyond that is told to come again.
    #[serde(default = "default_at_once")]
    pub api_requests_at_once: NonZeroUsize,
    /// Consoles of VMs in a browser; none if left out.
    #[serde(default)]
    pub console: Option<Console>,
}

impl Config {
    /// Whether nobody but who is on the same machine finds the API by what [`Config::api_origin`] makes of the configuration.
    fn is_here_alone(&self) -> bool {
        let of_address = |address: IpAddr| {
            let address = address.to_canonical();
            address.is_loopback() || address.is_unspecified()
        };
        match (self.names.first(), self.addresses.first()) {
            (Some(name), _) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                name == "localhost" || name.ends_with(".localhost") || name.parse().is_ok_and(of_address)
            }
            (None, address) => of_address(address.copied().unwrap_or(self.api_listen.ip())),
        }
    }

    /// Where clients find the API, as far as the configuration says: by its first name or address, or where it listens.
    pub(crate) fn api_origin(&self) -> Result<Origin, Invalid> {
        let address = |address: &IpAddr| match address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        let first = self.names.first().map(|name| name.to_ascii_lowercase());
        let host = first.or_else(|| self.addresses.first().map(address));
        let host = host.unwrap_or_else(|| address(&self.api_listen.ip()));
        match self.api_listen.port() {
            443 => format!("https://{host}").parse(),
            port => format!("https://{host}:{port}").parse(),
        }
    }
}

fn default_log() -> String {
    "info".into()
}

fn default_overcommit() -> u32 {
    4
}

fn default_memory_overcommit() -> u32 {
    100
}

fn default_silent() -> u64 {
    15
}

fn default_token() -> u64 {
    3600
}

fn default_leftover() -> u64 {
    3600
}

fn default_start() -> u64 {
    300
}

fn default_expunge() -> u64 {
    86_400
}

fn default_event() -> u64 {
    400
}

fn default_router_connections() -> u32 {
    32_768
}

fn default_router_idle() -> u64 {
    900
}

fn default_requests() -> NonZeroU32 {
    const { NonZeroU32::new(100).unwrap() }
}

fn default_at_once() -> NonZeroUsize {
    const { NonZeroUsize::new(256).unwrap() }
}

impl Check for Config {
    fn problems(&self) -> Vec<String> {
        let mut rules = Rules::default();
        if let Some(Console { domain, .. }) = &self.console {
            console::check_domain(&mut rules, domain, &self.names);
        }
        let mut must = |holds, problem| rules.must(holds, problem);
        must(self.data_dir.is_absolute(), "data_dir: must be an absolute path");
        must(
            self.api_listen != self.agent_listen || self.api_listen.port() == 0,
            "agent_listen: must not be where the API listens",
        );
        must((1..=64).contains(&self.cpu_overcommit), "cpu_overcommit: must be 1 to 64");
        must(
            (50..=1000).contains(&self.memory_overcommit_percent),
            "memory_overcommit_percent: must be 50 to 1000",
        );
        must((1..=64).contains(&self.storage_overcommit), "storage_overcommit: must be 1 to 64");
        must((2..=3600).contains(&self.silent_secs), "silent_secs: must be 2 to 3600");
        must((1..=604_800).contains(&self.join_token_secs), "join_token_secs: must be 1 to 604800");
        must(self.leftover_secs <= 31_536_000, "leftover_secs: must be at most 31536000");
        must((10..=86_400).contains(&self.vm_start_secs), "vm_start_secs: must be 10 to 86400");
        must(self.vm_expunge_secs <= 31_536_000, "vm_expunge_secs: must be at most 31536000");
        must((1..=36_500).contains(&self.event_days), "event_days: must be 1 to 36500");
        must(self.router_idle_secs <= 604_800, "router_idle_secs: must be at most 604800");
        must(
            ROUTER_CONNECTIONS_PER_VM.contains(&self.router_connections_per_vm),
            "router_connections_per_vm: must be 64 to 1048576",
        );
        must(
            self.api_requests_per_second.get() <= 1_000_000,
            "api_requests_per_second: must be at most 1000000",
        );
        must(self.api_requests_at_once.get() <= 65_536, "api_requests_at_once: must be at most 65536");
        must(
            EnvFilter::try_new(&self.log).is_ok(),
            "log: must be a filter, such as info or podzol_mgmt=debug,info",
        );
        if let Some(console) = &self.console {
            console.check(&mut rules);
            let is_known = console.api_origin.is_some() || self.api_origin().is_ok();
            rules.must(
                is_known,
                "console.api_origin: must be given, as the API's first name is none of an origin",
            );
            rules.must(
                console.api_origin.is_some() || !self.is_here_alone(),
                "console.api_origin: must be given, as browsers elsewhere do not find the API by its first name or address",
            );
        }
        rules.problems()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    pub(super) fn check(text: &str, expected: &[&str]) {
        let found = podzol_rpc::config::parse::<Config>(text).map(|_| ()).err().unwrap_or_default();
        assert_eq!(found, expected);
    }

    pub(super) const GOOD: &str =
        "data_dir = '/var/lib/podzol'\napi_listen = '127.0.0.1:8443'\nagent_listen = '127.0.0.1:8444'\n";

    #[test]
    fn the_packaged_file_is_valid() {
        check(include_str!("../package/mgmt.toml"), &[]);
        check(GOOD, &[]);
    }

    #[test]
    fn every_rule_has_its_error_and_all_come_at_once() {
        check(
            "data_dir = 'var'\napi_listen = '127.0.0.1:1'\nagent_listen = '127.0.0.1:1'\ncpu_overcommit = 0\n\
             memory_overcommit_percent = 49\nstorage_overcommit = 65\nsilent_secs = 1\njoin_token_secs = 0\n\
             leftover_secs = 31536001\nvm_start_secs = 9\nvm_expunge_secs = 31536001\nevent_days = 0\n\
             router_idle_secs = 604801\nrouter_connections_per_vm = 63\n\
             api_requests_per_second = 1000001\napi_requests_at_once = 65537\n\
             log = 'a=b=c'\ncolour = 'red'\nlog_level = 'x'\n",
            &[
                "colour: is not a known key",
                "log_level: is not a known key",
                "data_dir: must be an absolute path",
                "agent_listen: must not be where the API listens",
                "cpu_overcommit: must be 1 to 64",
                "memory_overcommit_percent: must be 50 to 1000",
                "storage_overcommit: must be 1 to 64",
                "silent_secs: must be 2 to 3600",
                "join_token_secs: must be 1 to 604800",
                "leftover_secs: must be at most 31536000",
                "vm_start_secs: must be 10 to 86400",
                "vm_expunge_secs: must be at most 31536000",
                "event_days: must be 1 to 36500",
                "router_idle_secs: must be at most 604800",
                "router_connections_per_vm: must be 64 to 1048576",
                "api_requests_per_second: must be at most 1000000",
                "api_requests_at_once: must be at most 65536",
                "log: must be a filter, such as info or podzol_mgmt=debug,info",
            ],
        );
        check(&GOOD.replace("8444", "84444"), &["agent_listen: invalid socket address syntax"]);
    }
}
