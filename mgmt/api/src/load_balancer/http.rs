//! What balancers of HTTP have beside others: cookies, certificates and limits.

use podzol_vocab::{Secret, Sha256};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// What a balancer does with requests. VMs see them come from the router's address in their network; who asked stands in
/// `X-Forwarded-For`, and `X-Forwarded-Proto` says `http` or `https`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Http {
    /// The cookie that keeps a client on its member.
    pub cookie: Option<String>,
    /// The certificate that it shows; without one, requests come in the clear.
    pub certificate: Option<Certificate>,
    /// How many clients' connections there are at a time; others wait. A router with little memory has fewer.
    pub max_connections: u32,
    /// How long a client or a member may say nothing in the middle of a request or an answer, in seconds.
    pub idle_secs: u32,
}

/// A certificate, without its key, which is never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// SHA-256 of it, which is what browsers show as its fingerprint.
    pub sha256: Sha256,
    /// When it, or one between it and its authority, runs out.
    pub expires_at: Timestamp,
}

/// Has a balancer do something with requests. It takes a router whose template has the extension `l7`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpCreate {
    /// The name of a cookie that keeps a client on its member, set by the router: 1 to 64 letters, digits, hyphens and
    /// underscores; none when left out.
    #[serde(default)]
    pub cookie: Option<String>,
    /// How TLS ends at the router; when left out, requests come in the clear.
    #[serde(default)]
    pub tls: Option<TlsCreate>,
    /// How many clients' connections there are at a time: 1 to 20000; 2000 when left out.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// How long a client or a member may say nothing in the middle of a request or an answer, in seconds: 1 to 3600; 60
    /// when left out.
    #[serde(default)]
    pub idle_secs: Option<u32>,
}

/// A certificate and its key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsCreate {
    /// The certificate and those between it and its authority, in this order, as PEM; at most 32 KiB. None of them has run
    /// out.
    pub certificates: String,
    /// The certificate's private key, without a password, as PEM; at most 16 KiB. It is never shown again.
    #[schema(value_type = String, write_only)]
    pub key: Secret<String>,
}

/// Changes what a balancer does with requests. What is left out stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpUpdate {
    /// The name of a cookie that keeps a client on its member.
    #[serde(default)]
    pub cookie: Option<String>,
    /// Whether clients are no longer kept on their members: takes the cookie away.
    #[serde(default)]
    pub no_cookie: bool,
    /// Another certificate and its key. Connections go on with the one before.
    #[serde(default)]
    pub tls: Option<TlsCreate>,
    /// Whether requests come in the clear from now on: takes certificate and key away.
    #[serde(default)]
    pub no_tls: bool,
    /// How many clients' connections there are at a time: 1 to 20000.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// How long a client or a member may say nothing in the middle of a request or an answer, in seconds: 1 to 3600.
    #[serde(default)]
    pub idle_secs: Option<u32>,
}

/// What has gone through a balancer of HTTP since its router's start, as that says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HttpTraffic {
    /// How many clients' connections it has now.
    pub open: u64,
    /// Connections that clients have made.
    pub connections: u64,
    /// Requests that have come by them.
    pub requests: u64,
    /// Requests that were answered with a status from 500 on, by a member or for want of one.
    pub failures: u64,
    /// Bytes that came from clients.
    pub received_bytes: u64,
    /// Bytes that went to clients.
    pub sent_bytes: u64,
}
