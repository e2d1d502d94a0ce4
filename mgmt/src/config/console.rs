//! The section `[console]` of the configuration file: consoles of VMs in a browser.

mod dns;

use podzol_console_proxy_api::Origin;
use podzol_mgmt_dns::NameForm;
use podzol_rpc::config::Rules;
use podzol_vocab::DomainName;
use serde::Deserialize;

use self::dns::Dns;

pub(super) use dns::check_domain;

/// All that an operator can set about consoles.
#[derive(Debug, Clone, Deserialize)]
pub struct Console {
    /// The domain below which each console proxy's address is a name. Nothing else may be in it.
    pub domain: DomainName,
    /// How console proxies are named in links.
    #[serde(default)]
    pub names: NameForm,
    /// The domain's name server; without it, another one must answer for the domain.
    #[serde(default)]
    pub dns: Option<Dns>,
    /// Where browsers find this API: `https://host` or `https://host:port`. If left out, by the first of the names and addresses
    /// by which clients know it, or by the address that it listens at.
    #[serde(default)]
    pub api_origin: Option<Origin>,
    /// The port of a console proxy's first server. Its second one has 8443, and so on.
    #[serde(default = "default_port")]
    pub port: u16,
    /// How many sessions a server of a console proxy takes.
    #[serde(default = "default_sessions")]
    pub sessions_per_server: u32,
    /// How many servers a console proxy has at most; 1 where firewalls let nothing but the first port out.
    #[serde(default = "default_servers")]
    pub servers_per_proxy: u32,
    /// How many console proxies a zone has at most.
    #[serde(default = "default_most_proxies")]
    pub most_proxies: u32,
    /// How many more sessions there should always be room for in a zone; 0 to start console proxies only when somebody asks.
    #[serde(default = "default_reserve")]
    pub reserve_sessions: u32,
    /// How many more than that there have to be before a console proxy is given up.
    #[serde(default = "default_margin")]
    pub margin_sessions: u32,
    /// For how long there have to be that many, in seconds.
    #[serde(default = "default_surplus")]
    pub surplus_secs: u64,
    /// How long a console proxy may take to start before another one is made, in seconds.
    #[serde(default = "default_start")]
    pub start_secs: u64,
    /// How long a console proxy may drain before its sessions lose their places, in seconds.
    #[serde(default = "default_drain")]
    pub drain_secs: u64,
    /// After how long without input a session ends, and without a page it is forgotten, in seconds.
    #[serde(default = "default_idle")]
    pub session_idle_secs: u64,
    /// After how long a session ends whatever happens, in seconds.
    #[serde(default = "default_lifetime")]
    pub session_secs: u64,
    /// Whether displays are kept from looking seldom while a page looks at them: a change is seen within a tenth of a second then, and
    /// otherwise up to three seconds late. It takes some processor time of hosts.
    #[serde(default = "default_nudge")]
    pub nudge: bool,
}

fn default_port() -> u16 {
    443
}

/// Far below what a thread carries whose viewers are all busy.
fn default_sessions() -> u32 {
    100
}

fn default_servers() -> u32 {
    2
}

fn default_most_proxies() -> u32 {
    20
}

fn default_reserve() -> u32 {
    10
}

fn default_margin() -> u32 {
    10
}

fn default_surplus() -> u64 {
    600
}

fn default_start() -> u64 {
    300
}

fn default_drain() -> u64 {
    3600
}

fn default_idle() -> u64 {
    1800
}

fn default_lifetime() -> u64 {
    12 * 3600
}

fn default_nudge() -> bool {
    true
}

impl Console {
    pub(super) fn check(&self, rules: &mut Rules) {
        let mut must = |holds, problem| rules.must(holds, problem);
        must(self.port > 0, "console.port: must be 1 to 65535");
        must(
            (1..=10_000).contains(&self.sessions_per_server),
            "console.sessions_per_server: must be 1 to 10000",
        );
        must((1..=16).contains(&self.servers_per_proxy), "console.servers_per_proxy: must be 1 to 16");
        must((1..=1000).contains(&self.most_proxies), "console.most_proxies: must be 1 to 1000");
        must(self.reserve_sessions <= 100_000, "console.reserve_sessions: must be at most 100000");
        must(self.margin_sessions <= 100_000, "console.margin_sessions: must be at most 100000");
        must(self.surplus_secs <= 604_800, "console.surplus_secs: must be at most 604800");
        must((10..=86_400).contains(&self.start_secs), "console.start_secs: must be 10 to 86400");
        must(self.drain_secs <= 604_800, "console.drain_secs: must be at most 604800");
        must(
            (60..=86_400).contains(&self.session_idle_secs),
            "console.session_idle_secs: must be 60 to 86400",
        );
        must((60..=604_800).contains(&self.session_secs), "console.session_secs: must be 60 to 604800");
        if let Some(dns) = &self.dns {
            dns.check(rules, &self.domain);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::tests::{GOOD, check};

    const CONSOLE: &str = "[console]\ndomain = 'console.example.org'\n";

    #[test]
    fn every_rule_of_capacity_has_its_error_and_all_come_at_once() {
        let text = "api_origin = 'https://cloud.example.org'\nport = 0\nsessions_per_server = 10001\nservers_per_proxy = 17\nmost_proxies = 0\n\
            reserve_sessions = 100001\nmargin_sessions = 100001\nsurplus_secs = 604801\nstart_secs = 9\n\
            drain_secs = 604801\nsession_idle_secs = 59\nsession_secs = 604801\n";
        check(
            &[GOOD, CONSOLE, text].concat(),
            &[
                "console.port: must be 1 to 65535",
                "console.sessions_per_server: must be 1 to 10000",
                "console.servers_per_proxy: must be 1 to 16",
                "console.most_proxies: must be 1 to 1000",
                "console.reserve_sessions: must be at most 100000",
                "console.margin_sessions: must be at most 100000",
                "console.surplus_secs: must be at most 604800",
                "console.start_secs: must be 10 to 86400",
                "console.drain_secs: must be at most 604800",
                "console.session_idle_secs: must be 60 to 86400",
                "console.session_secs: must be 60 to 604800",
            ],
        );
    }

    #[test]
    fn browsers_find_the_api_by_its_first_name_or_address_unless_it_is_said() {
        let origin = |before: &str| {
            let config = podzol_rpc::config::parse::<Config>(&[before, GOOD, CONSOLE].concat()).unwrap();
            config.api_origin().unwrap().to_string()
        };
        assert_eq!(origin("addresses = ['2001:db8::1']\n"), "https://[2001:db8::1]:8443");
        assert_eq!(origin("names = ['Cloud.example.org']\n"), "https://cloud.example.org:8443");
        assert_eq!(origin("addresses = ['192.0.2.7', '127.0.0.1']\n"), "https://192.0.2.7:8443");
        let own = "api_origin = 'https://cloud.example.org/'\n";
        let wrong = podzol_rpc::config::parse::<Config>(&[GOOD, CONSOLE, own].concat()).unwrap_err();
        assert!(wrong[0].starts_with("console.api_origin: must be an origin"), "{wrong:?}");
    }

    #[test]
    fn what_no_browser_elsewhere_finds_is_said_to_be_missing() {
        let missing = "console.api_origin: must be given, as browsers elsewhere do not find the API by its first name or address";
        for before in [
            "",
            "names = ['localhost', 'cloud.example.org']\n",
            "names = ['a.LOCALHOST.']\n",
            "addresses = ['127.0.0.2']\n",
            "addresses = ['::']\n",
            "addresses = ['::ffff:127.0.0.1']\n",
        ] {
            check(&[before, GOOD, CONSOLE].concat(), &[missing]);
            check(&[before, GOOD, CONSOLE, "api_origin = 'https://cloud.example.org'\n"].concat(), &[]);
        }
    }
}
