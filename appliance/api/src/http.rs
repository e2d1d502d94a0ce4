//! Balancers of HTTP: what the router reads of each request, where those of the packet filter see connections alone.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use podzol_rpc::Identity;
use podzol_rpc::identity::IdentityError;
use podzol_rpc::tls::public_server_config;
use podzol_vocab::{Invalid, NicId, Secret};
use serde::{Deserialize, Serialize};

use crate::document::{Check, Member, Method};

/// A port of a public address whose HTTP requests lead to several VMs. It takes a router with the extension
/// [`EXTENSION_L7`].
///
/// VMs see requests come from the router's address in their network; who asked stands in `X-Forwarded-For`, and
/// `X-Forwarded-Proto` says `http` or `https`. What a client itself says in these or in `Forwarded` is taken away. What may
/// come in, ingress rules say, as for all ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpBalancer {
    /// The public address.
    pub public: Ipv4Addr,
    /// Its port, of TCP.
    pub port: u16,
    /// Which member a request goes to, unless a cookie says so.
    pub method: Method,
    /// Those it leads to, each at an address and port of its own; at most 64. One that drains gets only requests whose
    /// cookie names it, and the connections that it has go on.
    pub members: BTreeMap<NicId, Member>,
    /// How it is found out whether a member works; it always does without one.
    #[serde(default)]
    pub check: Option<Check>,
    /// The cookie that keeps a client on its member, set by the router.
    #[serde(default)]
    pub cookie: Option<CookieName>,
    /// How TLS ends here; without it, requests come in the clear.
    #[serde(default)]
    pub tls: Option<Termination>,
    /// How many clients' connections there are at a time: 1 to 20000. Others wait. A router with little memory has fewer.
    #[serde(default = "usual_connections")]
    pub max_connections: u32,
    /// How long a client or a member may say nothing in the middle of a request or an answer, in seconds: 1 to 3600.
    #[serde(default = "a_minute")]
    pub idle_secs: u32,
}

/// The extension of a router that balances HTTP, as its status names it.
pub const EXTENSION_L7: &str = "l7";

const fn usual_connections() -> u32 {
    2000
}

const fn a_minute() -> u32 {
    60
}

/// Certificates and the key with which a router answers for a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Termination {
    /// The certificate and those between it and its authority, in this order, as PEM; at most 32 KiB.
    pub certificates: String,
    /// The certificate's private key, without a password, as PEM; at most 16 KiB.
    pub key: Secret<String>,
}

/// The largest PEM texts in bytes: some ten certificates, and a key of 8192 bits.
const MAX_CERTIFICATES: usize = 32 << 10;
const MAX_KEY: usize = 16 << 10;

impl Termination {
    /// What is wrong with it: the field and the rule. Never a part of the key.
    ///
    /// That a certificate has run out is nothing wrong with it here: a router goes on with what it was given.
    pub fn problem(&self) -> Option<(&'static str, &'static str)> {
        const CERTIFICATES: (&str, &str) = ("certificates", "must be certificates as PEM and nothing else");
        const KEY: (&str, &str) = ("key", "must be one private key without a password, as PEM");
        let (certificates, key) = (labels(&self.certificates), labels(self.key.expose()));
        if self.certificates.len() > MAX_CERTIFICATES {
            return Some(("certificates", "must be at most 32768 bytes"));
        }
        if self.key.expose().len() > MAX_KEY {
            return Some(("key", "must be at most 16384 bytes"));
        }
        if certificates.is_empty() || certificates.iter().any(|label| *label != "CERTIFICATE") {
            return Some(CERTIFICATES);
        }
        if !matches!(key.as_slice(), ["PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY"]) {
            return Some(KEY);
        }
        let identity = Identity {
            ca_pem: String::new(),
            certificate_pem: self.certificates.clone(),
            key_pem: self.key.clone(),
        };
        match public_server_config(&identity) {
            Ok(_) => None,
            Err(IdentityError::Pem { what: "the key", .. }) => Some(KEY),
            Err(IdentityError::Pem { .. }) => Some(CERTIFICATES),
            Err(error) if error.is_of_another_key() => Some(("key", "must be that of the first certificate")),
            Err(_) => Some(("key", "must be of a usual kind: ECDSA, Ed25519 or RSA")),
        }
    }
}

/// What the parts of a PEM text are (RFC 7468, 2).
fn labels(pem: &str) -> Vec<&str> {
    pem.lines().filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----")).collect()
}

/// The name of a cookie: 1 to 64 letters, digits, hyphens and underscores, which are tokens (RFC 6265, 4.1.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CookieName(String);

impl CookieName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CookieName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(1..=64).contains(&text.len()) || !text.bytes().all(inside) {
            return Err(Invalid::new("must be 1 to 64 letters, digits, hyphens and underscores"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for CookieName {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<CookieName> for String {
    fn from(name: CookieName) -> Self {
        name.0
    }
}

impl fmt::Display for CookieName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_s_name_holds_nothing_that_could_end_it() {
        for bad in ["", "a b", "a;b", "a=b", "a\nb", "a\"", "a\\", "ü", "a#", &"x".repeat(65)] {
            assert!(bad.parse::<CookieName>().is_err(), "{bad:?}");
        }
        for good in ["SRV", "session_id-2", &"x".repeat(64)] {
            assert!(good.parse::<CookieName>().is_ok(), "{good}");
        }
    }
}
