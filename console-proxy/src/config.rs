//! The configuration file. All else the management service says.

use std::net::SocketAddr;
use std::path::PathBuf;

use podzol_rpc::config::{Check, Rules};
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// All that can be set on the machine.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Where the control API listens: an address on the management network. There is no other that would do: on all addresses it would
    /// be open to the public network.
    pub listen: SocketAddr,
    /// The folder with the identity: `ca.pem`, `certificate.pem` and `key.pem`.
    #[serde(default = "default_identity")]
    pub identity: PathBuf,
    /// What is logged, in the syntax of `tracing-subscriber`'s filters.
    #[serde(default = "default_log")]
    pub log: String,
}

fn default_identity() -> PathBuf {
    "/var/lib/podzol-console-proxy/identity".into()
}

fn default_log() -> String {
    "info".into()
}

impl Check for Config {
    fn problems(&self) -> Vec<String> {
        let mut rules = Rules::default();
        rules.must(self.listen.port() > 0, "listen: must have a port from 1 on");
        let is_one = !self.listen.ip().to_canonical().is_unspecified();
        rules.must(is_one, "listen: must be an address of the management network, not all addresses");
        rules.must(self.identity.is_absolute(), "identity: must be an absolute path");
        let is_filter = EnvFilter::try_new(&self.log).is_ok();
        rules.must(is_filter, "log: must be a filter, such as info or podzol_console_proxy=debug,info");
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
    fn the_packaged_file_is_valid_once_it_says_where_to_listen() {
        let packaged = include_str!("../package/console-proxy.toml");
        check(packaged, &["missing field `listen`"]);
        check(&packaged.replace("# listen =", "listen ="), &[]);
    }

    #[test]
    fn every_rule_has_its_error_and_all_come_at_once() {
        check(
            "listen = '10.0.0.1:0'\nidentity = 'x'\nlog = 'a=b=c'\nport = 1\n",
            &[
                "port: is not a known key",
                "listen: must have a port from 1 on",
                "identity: must be an absolute path",
                "log: must be a filter, such as info or podzol_console_proxy=debug,info",
            ],
        );
        for all in ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]"] {
            let problem = "listen: must be an address of the management network, not all addresses";
            check(&format!("listen = '{all}:8448'"), &[problem]);
        }
    }
}
