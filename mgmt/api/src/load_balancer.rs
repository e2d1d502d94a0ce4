//! Load balancers: ports of public addresses that lead to several VMs, by connections or, of HTTP, by requests.

mod http;

use std::net::Ipv4Addr;

use podzol_vocab::{AccountId, LoadBalancerId, Name, NetworkId, NicId, PublicIpId, Transport, VmId, ZoneId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

pub use http::{Certificate, Http, HttpCreate, HttpTraffic, HttpUpdate, TlsCreate};

/// A port of a public address that leads to several VMs. What may use it, firewall rules say.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LoadBalancer {
    /// Its id.
    pub id: LoadBalancerId,
    /// Its name, unique in its account.
    pub name: Name,
    /// Its account.
    pub account: AccountId,
    /// Its zone.
    pub zone: ZoneId,
    /// The public address.
    pub public_ip: PublicIpId,
    /// The same as an address.
    #[schema(value_type = String, format = "ipv4")]
    pub address: Ipv4Addr,
    /// Of which protocol.
    pub transport: Transport,
    /// Its port.
    pub port: u16,
    /// Which member a new connection goes to.
    pub method: BalancingMethod,
    /// Those it leads to.
    pub members: Vec<Member>,
    /// How it is found out whether a member works; it always does without one.
    pub check: Option<HealthCheck>,
    /// What it does with requests, if it is a balancer of HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// What has gone through it, if it is a balancer of HTTP and its router has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<HttpTraffic>,
    /// Why it is not in force, though the account's router runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Which member of a balancer a new connection goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BalancingMethod {
    /// One after the other, by their weights.
    #[default]
    RoundRobin,
    /// The same for all connections of one source address, by their weights.
    SourceHash,
    /// By chance, in the proportions of their weights; of HTTP, the one with the fewest connections for its weight.
    LeastLoad,
}

/// A VM that a balancer leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// The VM.
    pub vm: VmId,
    /// The VM's network interface.
    pub nic: NicId,
    /// Its port.
    pub port: u16,
    /// Its share: 1 to 100.
    pub weight: u8,
    /// Whether it gets no new connections, while those it has go on; of HTTP, only requests whose cookie names it.
    pub drains: bool,
    /// Whether it works, by its check, if its router has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub works: Option<bool>,
}

/// A VM that a balancer is to lead to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberSpec {
    /// The VM.
    pub vm: VmId,
    /// In which of its networks, which has a router; the only one of them when left out.
    #[serde(default)]
    pub network: Option<NetworkId>,
    /// Its port; the balancer's when left out.
    #[serde(default)]
    pub port: Option<u16>,
    /// Its share: 1 to 100; 1 when left out.
    #[serde(default = "one")]
    pub weight: u8,
    /// Whether it gets no new connections, while those it has go on; of HTTP, only requests whose cookie names it.
    #[serde(default)]
    pub drains: bool,
}

fn one() -> u8 {
    1
}

/// How it is found out whether a member works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// The path that must answer `GET` with a status from 200 to 399; when left out, a connection must be accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_path: Option<String>,
    /// How often, in milliseconds: 500 to 60000; 2000 when left out.
    #[serde(default = "two_seconds")]
    pub interval_ms: u32,
    /// How long it may take, in milliseconds: 100 to 10000; 1000 when left out.
    #[serde(default = "a_second")]
    pub timeout_ms: u32,
    /// How many checks in a row must succeed before it is used again: 1 to 10; 2 when left out.
    #[serde(default = "two")]
    pub rise: u8,
    /// How many checks in a row must fail before it is used no more: 1 to 10; 2 when left out.
    #[serde(default = "two")]
    pub fall: u8,
}

fn two_seconds() -> u32 {
    2000
}

fn a_second() -> u32 {
    1000
}

fn two() -> u8 {
    2
}

/// Creates a load balancer.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancerCreate {
    /// Its name, unique in its account.
    pub name: Name,
    /// The public address.
    pub public_ip: PublicIpId,
    /// Of which protocol; TCP when left out.
    #[serde(default = "tcp")]
    pub transport: Transport,
    /// Its port, which leads nowhere else.
    pub port: u16,
    /// Which member a new connection goes to.
    #[serde(default)]
    #[schema(inline)]
    pub method: BalancingMethod,
    /// Those it leads to: at most 64.
    #[serde(default)]
    pub members: Vec<MemberSpec>,
    /// How it is found out whether a member works; only of TCP.
    #[serde(default)]
    pub check: Option<HealthCheck>,
    /// What it does with requests, if it is to be a balancer of HTTP, which is over TCP; when left out, it looks at
    /// connections alone.
    #[serde(default)]
    pub http: Option<HttpCreate>,
}

fn tcp() -> Transport {
    Transport::Tcp
}

/// Changes a load balancer. What is left out stays; what is given replaces all of what was.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancerUpdate {
    /// Its port, which leads nowhere else.
    #[serde(default)]
    pub port: Option<u16>,
    /// Which member a new connection goes to.
    #[serde(default)]
    pub method: Option<BalancingMethod>,
    /// Those it leads to: at most 64.
    #[serde(default)]
    pub members: Option<Vec<MemberSpec>>,
    /// How it is found out whether a member works.
    #[serde(default)]
    pub check: Option<HealthCheck>,
    /// Whether members are no longer looked after: takes the check away.
    #[serde(default)]
    pub no_check: bool,
    /// What it does with requests; only of a balancer of HTTP. What is left out in it stays too.
    #[serde(default)]
    pub http: Option<HttpUpdate>,
}
