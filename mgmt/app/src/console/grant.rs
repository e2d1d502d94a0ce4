//! What lets a console proxy in at the host of a session's VM: see [`podzol_agent_api::grant`].
//!
//! It is made anew whenever a session is looked at, and is the same as long as the session is and this service was not started anew;
//! so what a proxy was told can be compared with what it should be told. A VM that is on another host has another grant.

use podzol_agent_api::grant::{ConsoleGrant, ConsoleStream};
use podzol_console_proxy_api::{Session, Upstream};
use podzol_vocab::VmId;

use crate::App;

impl App {
    /// A session with the grant for the proxy that it is at, until it ends whatever happens.
    pub(super) fn granted(&self, proxy: VmId, session: Session) -> Session {
        let Upstream::Agent { host, .. } = session.upstream else { return session };
        let grant = ConsoleGrant {
            proxy,
            vm: session.vm,
            host,
            streams: [ConsoleStream::Display, ConsoleStream::Serial].into(),
            expires_unix: session.expires_unix,
        };
        Session { grant: Some(self.authority.signer().sign(&grant)), ..session }
    }
}
