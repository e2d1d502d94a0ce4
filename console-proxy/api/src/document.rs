//! The document: what a proxy is, apart from its sessions.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use podzol_vocab::{ConsoleServerId, Generation, Invalid, Name, Secret};
use serde::{Deserialize, Serialize};

use crate::ticket::TicketKey;

/// All that a proxy should be. What is not in it, the proxy is not: a server that is left out ends, with its sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The number of this description.
    pub generation: Generation,
    /// The domain below which each proxy's address is a name.
    pub domain: Domain,
    /// What browsers are shown. A new one is used from the next connection on; connections that there are go on.
    pub certificate: Certificate,
    /// The keys whose tickets are taken; at most 4.
    pub ticket_keys: Vec<TicketKey>,
    /// Where pages may ask for another proxy: the origins of what [`Session::resume`](crate::Session::resume) names. At most 8.
    pub resume_origins: Vec<Origin>,
    /// Its servers; at most 64.
    pub servers: BTreeMap<ConsoleServerId, ProxyServer>,
    /// Whether displays of QEMU are nudged, so that they show changes at once.
    #[serde(default = "yes")]
    pub nudge: bool,
}

const fn yes() -> bool {
    true
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The certificate and those between it and a root, as PEM.
    pub chain: String,
    /// Its key, as PEM.
    pub key: Secret<String>,
}

/// One of a proxy's servers: a port for browsers, and a thread that does all for its sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyServer {
    /// The address that it listens on.
    pub address: IpAddr,
    /// Its port: no two servers have the same address and port.
    pub port: u16,
    /// How many sessions it takes; 1 to 10000.
    pub max_sessions: u32,
    /// Whether it takes no new sessions, and pages are asked to go elsewhere.
    #[serde(default)]
    pub draining: bool,
}

/// A domain: names (DNS labels) with dots between, at most 189 bytes. Written without the last dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(String);

impl Domain {
    /// As text, without the last dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Domain {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_name = |label: &str| label.parse::<Name>().is_ok();
        if text.len() > 189 || !text.split('.').all(is_name) {
            return Err(Invalid::new(
                "must be a domain such as console.example.org, in lower case and at most 189 bytes long",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// An origin of the web (RFC 6454) of the scheme `https`: `https://host` or `https://host:port`, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

impl Origin {
    /// As text, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an address is below it.
    pub fn covers(&self, url: &str) -> bool {
        url.strip_prefix(&self.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl FromStr for Origin {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid =
            || Invalid::new("must be an origin such as https://cloud.example.org:8443, in lower case");
        let rest = text.strip_prefix("https://").ok_or_else(invalid)?;
        let with_port =
            if rest.rsplit_once(':').is_some_and(|(host, _)| !host.is_empty() && !rest.ends_with(']')) {
                rest.to_owned()
            } else {
                format!("{rest}:443")
            };
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        if is_lower && podzol_rpc::config::is_host_and_port(&with_port) {
            return Ok(Self(text.to_owned()));
        }
        Err(invalid())
    }
}

macro_rules! text {
    ($($name:ident)*) => {$(
        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
text!(Domain Origin);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        for good in
            ["https://a.example.org", "https://10.0.0.1:8443", "https://[fd00::1]", "https://[fd00::1]:1"]
        {
            assert!(good.parse::<Origin>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "http://a",
            "https://",
            "https://a/",
            "https://a:0",
            "https://A",
            "https://a b",
            "https://a;b",
            "https://a 'x'",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_origin_covers_what_is_below_it_alone() {
        let origin: Origin = "https://mgmt.example".parse().unwrap();
        assert!(origin.covers("https://mgmt.example/v1/x"));
        for other in [
            "https://mgmt.example",
            "https://mgmt.example.evil/v1",
            "https://mgmt.example:1/v1",
            "http://mgmt.example/",
        ] {
            assert!(!origin.covers(other), "{other}");
        }
    }
}
