//! Routers: the VMs that connect an account's networks in a zone with the outside.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use podzol_vocab::{AccountId, Generation, HostId, NetworkId, RouterId, TemplateId, VmId, ZoneId};
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
