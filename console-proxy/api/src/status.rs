//! What a proxy says of itself.

use std::collections::BTreeMap;

use podzol_vocab::{ConsoleServerId, ConsoleSessionId, Generation, VmId};
use serde::{Deserialize, Serialize};

/// What a proxy does, looked up now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyStatus {
    /// The document in force; none right after its start.
    pub generation: Option<Generation>,
    /// Which start of the program this is: another one knows no sessions.
    pub boot_id: String,
    /// Its version.
    pub version: String,
    /// When it started, in Unix seconds. Tickets that were issued before are refused.
    pub started_unix: u64,
    /// How much time of processors it has taken, in microseconds.
    pub cpu_micros: u64,
    /// How much memory it has, in bytes.
    pub memory_bytes: u64,
    /// Its servers: those of the document.
    pub servers: BTreeMap<ConsoleServerId, ServerStatus>,
    /// The sessions of each server, without those that were deleted there.
    pub sessions: BTreeMap<ConsoleServerId, BTreeMap<ConsoleSessionId, SessionStatus>>,
}

impl ProxyStatus {
    /// A session at a server.
    pub fn session(&self, server: ConsoleServerId, id: ConsoleSessionId) -> Option<&SessionStatus> {
        self.sessions.get(&server)?.get(&id)
    }

    /// All sessions, each with its server. One that moves may be at two.
    pub fn all_sessions(&self) -> impl Iterator<Item = (ConsoleServerId, ConsoleSessionId, &SessionStatus)> {
        self.sessions
            .iter()
            .flat_map(|(server, sessions)| sessions.iter().map(move |(id, session)| (*server, *id, session)))
    }
}

/// How a proxy server is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Why it does not work, in words: its port cannot be opened, or its thread does not answer. None if it works.
    pub problem: Option<String>,
    /// How many sessions it has.
    pub sessions: u32,
    /// How many pages are open at it.
    pub viewers: u32,
    /// How many VMs they look at.
    pub vms: u32,
    /// How many connections it has.
    pub connections: u32,
    /// Bytes of updates that it has sent since its start.
    pub sent_bytes: u64,
    /// Updates that it has sent since its start.
    pub updates: u64,
    /// Input events that it has given to VMs since its start.
    pub events: u64,
    /// Requests that it has refused since its start.
    pub refused: u64,
}

/// How a session is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// The description in force.
    pub generation: Generation,
    /// The VM that it shows.
    pub vm: VmId,
    /// How many pages are open.
    pub viewers: u32,
    /// When a page was last heard of, in Unix seconds.
    pub seen_unix: Option<u64>,
    /// When there was input last, in Unix seconds.
    pub input_unix: Option<u64>,
    /// How the way to the display is.
    pub line: Line,
    /// Bytes of updates that were sent.
    pub sent_bytes: u64,
    /// Whether it is over, because its time or its idle time is.
    pub over: bool,
}

/// The way from a proxy to a VM's display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// Nobody looks.
    #[default]
    Idle,
    /// It is being made for the first time.
    Connecting,
    /// It works.
    On,
    /// It was lost, and is tried again.
    Waiting,
    /// The VM has no display now.
    Off,
}

/// A proxy's sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Which start of the program this is.
    pub boot_id: String,
    /// Those of each server, with their states.
    pub sessions: BTreeMap<ConsoleServerId, BTreeMap<ConsoleSessionId, SessionStatus>>,
}
