//! Whether the agent of a session's host would let a console proxy in: what an agent does with a grant, without the agent.

use podzol_agent_api::grant::{ConsoleAsk, ConsoleGrant, ConsoleStream};
use podzol_console_proxy_api::{Session, Upstream};
use podzol_rpc::statement::Verifier;
use podzol_rpc::{Identity, PeerId};
use podzol_vocab::{ErrorCode, VmId, WireError};

use super::unix_now;

/// Looks at a proxy's grants.
#[derive(Debug)]
pub(super) struct Grants {
    verifier: Verifier,
    proxy: VmId,
}

impl Grants {
    /// Of the proxy with this identity.
    pub(super) fn of(identity: &Identity) -> anyhow::Result<Self> {
        match identity.peer()? {
            PeerId::ConsoleProxy(proxy) => Ok(Self { verifier: Verifier::new(identity)?, proxy }),
            other => anyhow::bail!("{other} is no console proxy"),
        }
    }

    /// Refuses a session whose host would not let the proxy in until the session ends.
    pub(super) fn check(&self, session: &Session) -> Result<(), WireError> {
        let Upstream::Agent { host, .. } = session.upstream else { return Ok(()) };
        let refused = |why: String| WireError::new(ErrorCode::Invalid, format!("grant: {why}"));
        let text = session.grant.as_ref().ok_or_else(|| refused("must be there".into()))?;
        let verified = self.verifier.verify::<ConsoleGrant>(text, unix_now());
        let (who, grant) = verified.map_err(|error| refused(error.to_string()))?;
        if who != PeerId::Management {
            return Err(refused(format!("is of {who}")));
        }
        for stream in [ConsoleStream::Display, ConsoleStream::Serial] {
            let asked = ConsoleAsk { proxy: self.proxy, vm: session.vm, host, stream };
            let last = session.expires_unix.saturating_sub(1);
            grant.covers(&asked, last).map_err(|rule| refused(rule.to_string()))?;
        }
        Ok(())
    }
}
