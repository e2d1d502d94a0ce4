//! The keys that tickets are signed with, and the tokens by which pages go on elsewhere.
//!
//! ```text
//!   new key ─▶ all proxies are told of it with the next document ─▶ signs, for each proxy that was told
//!           ─▶ a week later another one signs ─▶ it is forgotten when no ticket of it can be good any more
//! ```
//! A key is made of its number and of a secret that is in no database, and so is a token of its session's id: who gets to read
//! the database signs no ticket and has no token, and a session's proxy can be told the same token again whenever it must be.
//!
//! # Design notes
//! Refused: tokens as random numbers of which the database has a hash. A proxy keeps nothing over a restart, so it has to be told
//! the token again, which nobody would have then.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use podzol_console_proxy_api::limits::MAX_TICKET_KEYS;
use podzol_console_proxy_api::{TICKET_SECS, Ticket, TicketSigner};
use podzol_mgmt_db::console::{self, key};
use podzol_mgmt_db::now;
use podzol_vocab::{ConsoleProxyId, ConsoleServerId, ConsoleSessionId, Secret};
use ring::hmac;

use crate::{App, AppError};

/// How long a key signs.
const SIGNS: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long a key is kept after that: longer than any ticket of it is good.
const KEPT: Duration = Duration::from_secs(10 * TICKET_SECS);

impl App {
    /// Has there be a key that signs, and none that is not needed any more.
    pub(super) async fn renew_ticket_keys(&self) -> Result<(), AppError> {
        let at = now().0;
        let is_new = |key: &key::Model| at - key.created_at < SIGNS.as_millis() as i64;
        let keys = console::keys(self.db.reader()).await?;
        if keys.first().is_some_and(is_new) && keys.len() <= 1 {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        let keys = console::keys(tx.reader()).await?;
        if !keys.first().is_some_and(is_new) {
            let number = keys.first().map_or(1, |newest| newest.number + 1);
            tx.console_key_create(key::Model { number, created_at: at }).await?;
            return Ok(tx.commit().await?);
        }
        let signs_since = keys.first().map_or(at, |key| key.created_at);
        if at - signs_since > KEPT.as_millis() as i64 {
            for key in keys.iter().skip(1) {
                tx.console_key_delete(key.number).await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }

    /// The keys that sign tickets, the newest first.
    pub(super) async fn ticket_signers(&self) -> Result<Vec<TicketSigner>, AppError> {
        let keys = console::keys(self.db.reader()).await?;
        let signer = |key: key::Model| TicketSigner::new(&self.authority.ticket_seed(key.number));
        Ok(keys.into_iter().take(MAX_TICKET_KEYS).map(signer).collect())
    }

    /// A ticket for a session at a server, and until when it is good, in milliseconds since 1970. It is of the newest key that its
    /// proxy was told of.
    pub(super) async fn ticket(
        &self,
        session: ConsoleSessionId,
        proxy: ConsoleProxyId,
        server: ConsoleServerId,
    ) -> Result<(Ticket, i64), AppError> {
        let told = self.here.consoles.of(proxy).heard().ticket_keys.clone();
        let signers = self.ticket_signers().await?;
        let signer = signers.iter().find(|signer| told.contains(&signer.key()));
        let signer = signer
            .ok_or_else(|| AppError::Unavailable("its console proxy knows no key for tickets yet".into()))?;
        let at = unix_secs();
        let ticket = signer.sign(session, server, at, rand::random());
        Ok((ticket, ((at + TICKET_SECS) * 1000) as i64))
    }

    /// The token by which the pages of a session go on elsewhere.
    pub(super) fn resume_token(&self, session: ConsoleSessionId) -> Secret<String> {
        let proof = hmac::sign(self.authority.resume_key(), session.as_bytes());
        let bytes: Vec<u8> = session.as_bytes().iter().chain(proof.as_ref()).copied().collect();
        Secret::new(BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The session that a token is of; nothing if it is no token.
    pub(super) fn session_of_token(&self, token: &Secret<String>) -> Option<ConsoleSessionId> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token.expose()).ok()?;
        let (id, proof) = bytes.split_first_chunk::<16>()?;
        hmac::verify(self.authority.resume_key(), id, proof).ok()?;
        Some(ConsoleSessionId::from_bytes(*id))
    }
}

/// The time as proxies have it, which compare it with that of tickets to the second: a clock that was set since this service began
/// counts as it was set.
fn unix_secs() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
