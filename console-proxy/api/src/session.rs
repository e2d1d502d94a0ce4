//! A session: that a user may see one VM through one proxy server.

use std::fmt;
use std::str::FromStr;

use podzol_vocab::{AccountId, ConsoleServerId, Generation, HostId, Invalid, Secret, VmId};
use serde::{Deserialize, Serialize};

/// All that a proxy knows of a session. It is put again whenever something of it changes, such as the host that the VM is on:
/// pages that are open see only a new picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// The number of this description.
    pub generation: Generation,
    /// The server that it is on. It stays there.
    pub server: ConsoleServerId,
    /// The VM that it shows. It stays the same.
    pub vm: VmId,
    /// The VM's name, which pages show.
    pub vm_name: String,
    /// Whose VM it is.
    pub account: AccountId,
    /// The way to the VM's display. Sessions of one VM on one server have the same; the one that was put last counts.
    pub upstream: Upstream,
    /// What lets the proxy in at an agent, which it shows as it is; there if the way is through one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// What its pages may do.
    pub rights: Rights,
    /// The user's name, which others who look at the same VM are shown.
    pub viewer: String,
    /// When it ends whatever happens, in Unix seconds.
    pub expires_unix: u64,
    /// After how many seconds without input it ends; 60 to 86400.
    pub idle_secs: u32,
    /// Where and how its pages ask for another proxy.
    pub resume: Resume,
}

/// What a page may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rights {
    /// See the VM, and give it input.
    Control,
    /// See the VM.
    View,
}

/// Where and how pages ask for another proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// The address, below one of [`Document::resume_origins`](crate::Document::resume_origins).
    pub url: String,
    /// What shows that the page is the session's; 32 to 128 characters.
    pub token: Secret<String>,
}

/// The way to a VM's display.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Upstream {
    /// None now: the VM is stopped, or on its way.
    Off,
    /// Through the agent of the host that the VM runs on.
    Agent {
        /// The host, as which the agent must show itself.
        host: HostId,
        /// Where its agent answers, the preferred address first; 1 to 8.
        addresses: Vec<HostAddress>,
    },
    /// Another RFB server.
    Rfb {
        /// Where it is.
        address: HostAddress,
        /// The ways of security that are allowed, the preferred one first.
        security: Vec<UpstreamSecurity>,
        /// The user's name, where the way needs one.
        #[serde(default)]
        username: Option<String>,
        /// The password, where the way needs one.
        #[serde(default)]
        password: Option<Secret<String>>,
        /// The authority (PEM) that its certificate must be of, where the way has certificates.
        #[serde(default)]
        authority: Option<String>,
        /// The name that its certificate must have; the host of `address` when left out.
        #[serde(default)]
        server_name: Option<String>,
    },
}

/// How a proxy shows who it is to another RFB server, and whether the line is encrypted.
///
/// TLS without a certificate is left out: whoever is between would be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamSecurity {
    /// Not at all.
    None,
    /// A password, by VNC's challenge.
    Vnc,
    /// VeNCrypt: TLS with a certificate.
    X509None,
    /// The same, with VNC's challenge.
    X509Vnc,
    /// The same, with name and password.
    X509Plain,
}

/// `host:port`: a host name, an IPv4 address or an IPv6 address in brackets, and a port from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostAddress(String);

impl HostAddress {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host alone, without brackets.
    pub fn host(&self) -> &str {
        let host = self.0.rsplit_once(':').map_or(&*self.0, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl FromStr for HostAddress {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if podzol_rpc::config::is_host_and_port(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new("must be host:port"))
    }
}

impl TryFrom<String> for HostAddress {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<HostAddress> for String {
    fn from(address: HostAddress) -> Self {
        address.0
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// That a session is to end at one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deletion {
    /// The number of this change: that of the session in force, or a newer one.
    pub generation: Generation,
    /// The server that it ends at. What another one of the same proxy has stays.
    pub server: ConsoleServerId,
    /// Why.
    pub reason: DeletionReason,
}

/// Why a session ends at a server, which its pages hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeletionReason {
    /// The right to it, the user or the VM is gone: it is over for good.
    Revoked,
    /// It has another place, or none now: pages ask where it is, and go on there.
    Moved,
}

/// What a proxy says when a session was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionAnswer {
    /// How many sessions its server has now.
    pub sessions: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_what_stands_before_the_port() {
        for (text, host) in [("a.b:1", "a.b"), ("10.0.0.1:5900", "10.0.0.1"), ("[fd00::1]:5900", "fd00::1")] {
            assert_eq!(text.parse::<HostAddress>().unwrap().host(), host);
        }
        assert_eq!("a".parse::<HostAddress>().unwrap_err().to_string(), "must be host:port");
    }

    #[test]
    fn a_field_that_nobody_knows_is_refused() {
        let text =
            r#"{"kind":"agent","host":"0193c5a1-7b7e-7c3f-9d56-2f1f0f6f2a11","addresses":["a:1"],"vnc":1}"#;
        let error = serde_json::from_str::<Upstream>(text).unwrap_err();
        assert!(error.to_string().contains("unknown field `vnc`"), "{error}");
    }
}
