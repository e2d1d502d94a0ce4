//! What an operator may decide about consoles.

use std::fmt;
use std::time::Duration;

use podzol_console_proxy_api::Origin;
use podzol_mgmt_dns::ConsoleNames;

use super::capacity::Rules;

/// What an operator may decide about consoles.
#[derive(Clone)]
pub struct ConsoleSettings {
    /// What console proxies are called, below the console domain.
    pub names: ConsoleNames,
    /// Where browsers find this API.
    pub api_origin: Origin,
    /// The port of a console proxy's first server. The second has 8443, and so on.
    pub port: u16,
    /// How many sessions a server of a console proxy takes.
    pub sessions_per_server: u32,
    /// How many servers a console proxy has at most.
    pub servers_per_proxy: u32,
    /// How many console proxies a zone has at most.
    pub most_proxies: u32,
    /// How many more sessions there should always be room for in a zone.
    pub reserve: u32,
    /// How many more than that before anything is given up.
    pub margin: u32,
    /// For how long there has to be that much before anything is given up.
    pub surplus_for: Duration,
    /// How long a console proxy may take to start.
    pub start_within: Duration,
    /// How long a console proxy may drain before its sessions lose their places.
    pub drain_within: Duration,
    /// After how long without input a session ends, and after how long without a page it is forgotten.
    pub session_idle: Duration,
    /// After how long a session ends whatever happens.
    pub session_lifetime: Duration,
    /// Whether displays are kept from looking seldom while a page looks at them.
    pub nudge: bool,
}

/// The ports of a console proxy's servers after the first.
const FURTHER_PORTS: u16 = 8443;

impl fmt::Debug for ConsoleSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleSettings").field("domain", self.names.domain()).finish_non_exhaustive()
    }
}

impl ConsoleSettings {
    /// Where pages ask for another proxy.
    pub(super) fn resume_url(&self) -> String {
        format!("{}/v1/console-sessions/resume", self.api_origin)
    }

    /// The first port that none of these is, if there is one.
    pub(super) fn free_port(&self, taken: &[i64]) -> Option<u16> {
        let further = (FURTHER_PORTS..=u16::MAX).filter(|port| *port != self.port);
        let mut all = std::iter::once(self.port).chain(further);
        all.find(|port| !taken.contains(&i64::from(*port)))
    }

    pub(super) fn rules(&self) -> Rules {
        Rules {
            sessions_per_server: self.sessions_per_server,
            servers_per_proxy: self.servers_per_proxy,
            reserve: self.reserve,
            margin: self.margin,
            surplus_for: self.surplus_for,
            start_within: self.start_within,
            drain_within: self.drain_within,
            most_proxies: self.most_proxies,
        }
    }
}
