//! Pages that have lost their proxy, or whose proxy goes: where each goes on.
//!
//! A page shows the token that it was given with its session, and nothing else: no key, and no cookie, as it is of another
//! origin. Only pages of console proxies may read what is answered, and nobody may ask too often.

use std::net::IpAddr;
use std::num::NonZeroU32;

use podzol_mgmt_api::console::ConsoleResume;
use podzol_mgmt_db::console::session;
use podzol_mgmt_db::{account, find, now, vm};
use podzol_vocab::{HostName, Secret};

use super::session::{SEEN_EVERY, must_show};
use crate::{App, AppError};

/// After how many seconds a page asks again that has no place.
const PAGE_WAITS: u32 = 2;

/// How many pages a second may ask from one address to go on elsewhere: all of a large office whose proxy has died.
const RESUMES_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).expect("it is more than none");

/// What it came to that a page wants to go on.
#[derive(Debug)]
pub enum Resumed {
    /// It goes there.
    At(Secret<String>),
    /// It asks again in a while.
    Waits {
        /// After how many seconds.
        secs: u32,
        /// What it waits for.
        progress: String,
    },
}

impl App {
    /// Has a page go on that has lost its proxy, or whose proxy goes.
    ///
    /// # Errors
    /// [`AppError::Unauthenticated`] when the token is none, [`AppError::NotFound`] when its session is over.
    pub async fn console_resume(&self, from: IpAddr, body: &ConsoleResume) -> Result<Resumed, AppError> {
        let counted = self.resumes.count(near(from), RESUMES_PER_SECOND);
        counted.map_err(|wait| AppError::TooMany { wait })?;
        // Without a domain there is no session that a token could be of.
        let settings = self.settings.console.as_ref().ok_or(AppError::Unauthenticated)?;
        let id = self.session_of_token(&body.token).ok_or(AppError::Unauthenticated)?;
        let over = || AppError::NotFound("console-session");
        let row = find::<session::Entity>(self.db.reader(), id).await?.ok_or_else(over)?;
        let vm = self.still_may_see(&row).await?.filter(|_| row.expires_at > now().0).ok_or_else(over)?;
        let waits = |progress: &str| Ok(Resumed::Waits { secs: PAGE_WAITS, progress: progress.into() });
        if must_show(&vm).is_err() {
            // It stays, and goes on when the VM is started again.
            if now().0 - row.seen_at > SEEN_EVERY.as_millis() as i64 {
                let tx = self.db.begin().await?;
                tx.console_sessions_seen(&[id], now().0).await?;
                tx.commit().await?;
            }
            return waits("the VM is stopped");
        }
        if let Some(row) = self.console_settled(id).await? {
            return Ok(Resumed::At(self.link(&row, settings).await?.0));
        }
        let progress = self.console_progress(vm.zone_id.0).await?;
        waits(&progress)
    }

    /// The VM of a session, if its user may still see it.
    async fn still_may_see(&self, row: &session::Model) -> Result<Option<vm::Model>, AppError> {
        let user = find::<account::user::Entity>(self.db.reader(), row.user_id).await?;
        let vm = find::<vm::Entity>(self.db.reader(), row.vm_id).await?;
        let (Some(user), Some(vm)) = (user, vm) else { return Ok(None) };
        let may = user.is_admin || user.account_id == vm.account_id;
        Ok(Some(vm).filter(|vm| may && crate::vm::must_stay(vm).is_ok()))
    }

    /// Whether an origin of the web is a console proxy's.
    pub fn is_origin_of_consoles(&self, origin: &str) -> bool {
        let Some(settings) = &self.settings.console else { return false };
        let Some(rest) = origin.strip_prefix("https://") else { return false };
        let host = rest.split_once(':').map_or(rest, |(host, _)| host);
        let name = host.parse::<HostName>();
        name.is_ok_and(|name| name.label_in(settings.names.domain()).is_some())
    }
}

/// Those who share an address, or are likely to be one: with IPv6, all in the 64 bits that one connection has (RFC 6177).
fn near(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}
