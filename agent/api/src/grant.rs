//! The grant by which a console proxy opens a VM's console at the VM's host.
//!
//! ```text
//!   management ── session, with the grant ──▶ console proxy ── asks for a stream, and shows it ──▶ agent
//! ```
//! A proxy's certificate says only that it is one. The grant, a [`Statement`] of the management service, says which VM it may
//! see, at which host, what of it, and until when: until the session ends whatever happens. The agent verifies it by the authority
//! that it trusts already, so a session goes on while the management service is down. A stream that is open ends with its grant.
//!
//! It is bound to the proxy's identity, not to its certificate: a proxy that was started anew has another certificate, and is told
//! its sessions anew; one whose certificate was renewed keeps its grants. The management service signs with a key that it makes
//! at its start, and the grant brings the certificate of that key (825 days): so grants of before a restart hold, and those of all
//! management servers do. What it grants is no secret, as it is worth nothing with another's certificate.
//!
//! It cannot be taken back: a proxy in other hands may see what it was granted until that ends, and nothing else. Whether a page
//! may only look is the proxy's to hold, for the agent does not read what a stream carries.
//!
//! Design notes: refused are grants that live for minutes and are renewed, as sessions would end soon after the management
//! service; a list of sessions at each agent, which is one more thing to be told at every start of a session, and before its first
//! picture; asking the management service at each stream, for both reasons; and a bare list of VMs in a proxy's certificate, which
//! would have to be made anew for every session.

use std::collections::BTreeSet;

use podzol_rpc::statement::Statement;
use podzol_vocab::{HostId, Invalid, VmId};
use serde::{Deserialize, Serialize};

/// What a console proxy may open. A field that an agent does not know may narrow it, so it is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleGrant {
    /// The proxy that may.
    pub proxy: VmId,
    /// The VM whose console it is.
    pub vm: VmId,
    /// The host that it may be opened at.
    pub host: HostId,
    /// What of the console.
    pub streams: BTreeSet<ConsoleStream>,
    /// Until when, in Unix seconds.
    pub expires_unix: u64,
}

/// A stream of a VM's console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsoleStream {
    /// Its display.
    Display,
    /// Its serial port.
    Serial,
}

/// What a proxy asks an agent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsoleAsk {
    /// The proxy.
    pub proxy: VmId,
    /// The VM.
    pub vm: VmId,
    /// The host that is asked.
    pub host: HostId,
    /// The stream.
    pub stream: ConsoleStream,
}

impl Statement for ConsoleGrant {
    const KIND: &'static str = "console grant 1";
}

impl ConsoleGrant {
    /// Whether this may be had at this time (Unix seconds).
    ///
    /// # Errors
    /// What the grant must be for that.
    pub fn covers(&self, asked: &ConsoleAsk, now: u64) -> Result<(), Invalid> {
        for (holds, rule) in [
            (self.proxy == asked.proxy, "must be for this proxy"),
            (self.vm == asked.vm, "must be for this VM"),
            (self.host == asked.host, "must be for this host"),
            (self.streams.contains(&asked.stream), "must be for this stream"),
            (now < self.expires_unix, "must not have expired"),
        ] {
            if !holds {
                return Err(Invalid::new(rule));
            }
        }
        Ok(())
    }
}
