//! Consoles of VMs in a browser: sessions, and the proxies that show them.

use std::net::Ipv4Addr;

use podzol_vocab::{
    AccountId, ConsoleProxyId, ConsoleServerId, ConsoleSessionId, Generation, HostId, Secret, TemplateId,
    UserId, VmId, ZoneId,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Timestamp;
use crate::operation::Operation;

/// What opens the console of a VM.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsoleOpen {
    /// Whether it is only looked at: keys and mouse do nothing then.
    #[serde(default)]
    pub view_only: bool,
    /// A session of the caller's own that is there already, and gets another link. What it may do stays as it is.
    #[serde(default)]
    pub session: Option<ConsoleSessionId>,
}

/// A console that is open, or is about to be.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ConsoleOpened {
    /// The session.
    pub session: ConsoleSession,
    /// Where a browser goes, once and soon; none while there is no place for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub url: Option<Secret<String>>,
    /// Until when the link is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// What finds a place for it, if there is none yet. When that has succeeded, a link is had by asking again with the session's
    /// id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

/// One user's right to one VM's console, for as long as pages look at it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ConsoleSession {
    /// Its id.
    pub id: ConsoleSessionId,
    /// The account that the VM belongs to.
    pub account: AccountId,
    /// The VM.
    pub vm: VmId,
    /// The user who looks.
    pub user: UserId,
    /// What others who look at the same VM are told of who this is.
    pub viewer: String,
    /// Whether keys and mouse do nothing.
    pub view_only: bool,
    /// How many pages are open, as its proxy says; none while it has no place, or its proxy has not said.
    pub pages: Option<u32>,
    /// Since when somebody waits for a place for it.
    pub waits_since: Option<Timestamp>,
    /// When a page was last seen to be open, give or take a minute.
    pub seen_at: Timestamp,
    /// When it ends whatever happens.
    pub expires_at: Timestamp,
    /// The proxy that shows it; shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ConsoleProxyId>,
    /// The server of that proxy; shown to admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ConsoleServerId>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Narrows a list of sessions.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ConsoleSessionFilter {
    /// Only those on VMs of this account.
    pub account: Option<AccountId>,
    /// Only those on this VM.
    pub vm: Option<VmId>,
}

/// What a page sends that has lost its proxy.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsoleResume {
    /// What it was given when its ticket was exchanged.
    #[schema(value_type = String)]
    pub token: Secret<String>,
}

/// Where a page goes on.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ConsoleResumed {
    /// Where, once and soon.
    #[schema(value_type = String)]
    pub url: Secret<String>,
}

/// That there is no place for a page yet.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ConsoleWaits {
    /// After how many seconds it asks again.
    pub wait: u32,
    /// What it waits for.
    pub progress: String,
}

/// What a console proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConsoleProxyState {
    /// It is being started.
    Starting,
    /// It runs and answers.
    Running,
    /// It runs, and does not answer or not all of it works.
    Degraded,
    /// It gets no new sessions, and goes when those that it has are elsewhere.
    Draining,
    /// It is being removed.
    Stopping,
    /// It could not be started, and is replaced.
    Failed,
}

/// A VM from the console proxy template.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ConsoleProxy {
    /// Its id.
    pub id: ConsoleProxyId,
    /// Its zone.
    pub zone: ZoneId,
    /// What it does.
    pub state: ConsoleProxyState,
    /// Why it is not as it should be.
    pub error: Option<String>,
    /// Where browsers find it.
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub address: Option<Ipv4Addr>,
    /// Its servers, by their ports.
    pub servers: Vec<ConsoleServer>,
    /// How many sessions it may have.
    pub max_sessions: u32,
    /// How many it has.
    pub sessions: u32,
    /// The number of the description that is in force; none if it has none, or has not said.
    pub generation_in_force: Option<Generation>,
    /// The version of the proxy in it; once it has said.
    pub version: Option<String>,
    /// How much processor time its proxy has taken since its start, in milliseconds; once it has said.
    pub cpu_ms: Option<u64>,
    /// How much memory its proxy has, in bytes; once it has said.
    pub memory_bytes: Option<u64>,
    /// When it was heard last.
    pub heard_at: Option<Timestamp>,
    /// Since when it gets no new sessions.
    pub draining_since: Option<Timestamp>,
    /// The VM that it is.
    pub vm: VmId,
    /// The host that it runs on.
    pub host: Option<HostId>,
    /// The template that it is of.
    pub template: Option<TemplateId>,
    /// Its address on the management network.
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub management_address: Option<Ipv4Addr>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A port of a console proxy, with its own limit of sessions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ConsoleServer {
    /// Its id.
    pub id: ConsoleServerId,
    /// Its port.
    pub port: u16,
    /// How many sessions it may have.
    pub max_sessions: u32,
    /// How many have their places at it.
    pub sessions: u32,
    /// How many pages are open at it; once its proxy has said.
    pub pages: Option<u32>,
    /// Whether its port is open; once its proxy has said.
    pub open: Option<bool>,
    /// Since when it gets no new sessions.
    pub draining_since: Option<Timestamp>,
}

/// The wildcard certificate that console proxies show to browsers.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ConsoleCertificate {
    /// The console domain.
    pub domain: String,
    /// The chain as PEM, its own first.
    pub certificates: String,
    /// Whether an operator has brought it; the installation's own authority has made it otherwise.
    pub uploaded: bool,
    /// Until when it holds.
    pub not_after: Timestamp,
    /// When it was brought or made.
    pub created_at: Timestamp,
}

/// A wildcard certificate to be shown in place of the one before.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsoleCertificatePut {
    /// The chain as PEM, its own first.
    pub certificates: String,
    /// Its private key as PEM.
    #[schema(value_type = String)]
    pub key: Secret<String>,
}
