//! Routers: the VMs that connect an account's networks in a zone with the outside.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use podzol_vocab::{AccountId, Generation, HostId, MacAddr, NetworkId, RouterId, TemplateId, VmId, ZoneId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::vm::Step;

/// What a router does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouterState {
    /// It is being started.
    Starting,
    /// It runs and answers, and all its services work.
    Running,
    /// It runs, and does not answer or not all of its services work.
    Degraded,
    /// Another VM is being made to take its place.
    Replacing,
    /// It is being removed.
    Stopping,
    /// It could not be started, and is started again when a VM needs it.
    Failed,
}

/// The router of an account in a zone. It is there while a VM needs it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Router {
    /// Its id, which stays whichever VM it is.
    pub id: RouterId,
    /// The account whose networks it connects.
    pub account: AccountId,
    /// Its zone.
    pub zone: ZoneId,
    /// What it does.
    pub state: RouterState,
    /// Why it is not as it should be.
    pub error: Option<String>,
    /// The networks that it is the gateway of.
    pub networks: Vec<NetworkId>,
    /// The address that connections to the outside come from.
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub source_nat: Option<Ipv4Addr>,
    /// The number of the description that should be in force.
    pub generation: Generation,
    /// The number of the description that is in force; none if it has none, or has not said.
    pub generation_in_force: Option<Generation>,
    /// Which image it runs, by the id in the image's manifest; once it has said.
    pub image: Option<String>,
    /// The version of the appliance in it; once it has said.
    pub version: Option<String>,
    /// What it can do beside what all can, such as `l7`; once it has said.
    #[serde(default)]
    pub extensions: BTreeSet<String>,
    /// Each of its services, with what is wrong with it; nothing where it works.
    pub health: BTreeMap<String, Option<String>>,
    /// How often it has put something right that was not as it should be, since its start.
    pub repairs: Option<u64>,
    /// Bytes that went out through its public addresses since it was started; once it has said.
    pub sent_bytes: Option<u64>,
    /// Bytes that came in through its public addresses since it was started; once it has said.
    pub received_bytes: Option<u64>,
    /// When it was heard last.
    pub heard_at: Option<Timestamp>,
    /// Since when no VM needs it.
    pub idle_since: Option<Timestamp>,
    /// How long the steps of its VM's last start took.
    pub start_timing: Vec<Step>,
    /// The VM that it is; shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmId>,
    /// The VM that is to take its place; shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_vm: Option<VmId>,
    /// The host that it runs on; shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
    /// The template that it is of; shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateId>,
    /// Its address on the management network; shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub management_address: Option<Ipv4Addr>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// The last lines of a router's log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RouterLogs {
    /// The lines, oldest first.
    pub lines: Vec<String>,
    /// How many older ones it has dropped since its start.
    pub dropped: u64,
}

/// What there is in a router, looked up now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RouterDiagnosis {
    /// Its links and their addresses, one a line.
    pub links: Vec<String>,
    /// Its routes, one a line.
    pub routes: Vec<String>,
    /// Its packet filter's rules, as nftables lists them, without the elements of sets and maps.
    pub rules: String,
    /// Memory that is free, in KiB.
    pub memory_free_kib: u64,
    /// All its memory, in KiB.
    pub memory_kib: u64,
    /// The addresses of VMs that DHCP has.
    pub leases: Vec<RouterLease>,
    /// The connections that it follows; none if they could not be counted in time.
    pub connections: Option<RouterConnections>,
}

/// An address that DHCP has for a VM.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RouterLease {
    /// The network.
    pub network: NetworkId,
    /// The VM.
    pub vm: VmId,
    /// The MAC address that it is given to.
    #[schema(value_type = String)]
    pub mac: MacAddr,
    /// The address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// How many seconds ago it was given last; none if it was not since the router's start.
    pub acked_secs_ago: Option<u64>,
    /// What was said of it last since the router's start: `offered`, `acked`, `refused`, `released` or `declined`.
    pub last: Option<String>,
    /// How many seconds ago that was.
    pub last_secs_ago: Option<u64>,
}

/// The connections that a router follows, counted. While they are counted, some come and go.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RouterConnections {
    /// How many there are.
    pub entries: u64,
    /// How many there can be.
    pub limit: u64,
    /// How many of each protocol and state, such as `tcp` and `established`.
    pub states: BTreeMap<String, BTreeMap<String, u64>>,
    /// How many are begun from each network, by its id.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub networks: BTreeMap<NetworkId, u64>,
    /// How many are begun from elsewhere: from outside, or by the router itself.
    pub elsewhere: u64,
    /// The sources of the most connections, at most 20, those with the most first.
    pub talkers: Vec<RouterTalker>,
    /// By how many a source's number may be too low.
    pub talkers_short: u64,
}

/// A source of connections.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RouterTalker {
    /// Its address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// How many connections it has.
    pub connections: u64,
}

/// One of a router's links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouterLink {
    /// That to a network of VMs.
    Guest,
    /// That to the outside.
    Public,
    /// That to the management network.
    Management,
}

/// A protocol whose packets are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CaptureProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP of IPv4.
    Icmp,
    /// ICMP of IPv6.
    Icmp6,
    /// ARP.
    Arp,
}

/// A capture of a router's packets. They must match all of `host`, `protocol` and `port`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RouterCapture {
    /// Of which link.
    pub link: RouterLink,
    /// Of which network, for the link `guest`; may be left out if the router has one only.
    #[serde(default)]
    pub network: Option<NetworkId>,
    /// How many seconds it takes at most: 1 to 60.
    pub seconds: u32,
    /// How many bytes the file has at most: 1024 to 4194304, which is also what it is if left out.
    #[serde(default)]
    pub bytes: Option<u32>,
    /// How many bytes of each packet are kept: 64 to 65535. All of it if left out.
    #[serde(default)]
    pub snap_bytes: Option<u32>,
    /// Only packets from or to this address.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub host: Option<IpAddr>,
    /// Only packets of this protocol.
    #[serde(default)]
    pub protocol: Option<CaptureProtocol>,
    /// Only packets of TCP or UDP from or to this port.
    #[serde(default)]
    pub port: Option<u16>,
}
