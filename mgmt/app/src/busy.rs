//! How many requests are answered at once. What comes beyond that is refused at once and told to come again, so that what
//! was taken in is answered as fast as ever, however many ask. No account has more than half of the places, and a few are
//! kept for admins: who must stop a flood must not drown in it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use podzol_vocab::AccountId;

use crate::{Actor, App, AppError};

/// How many requests of admins are answered beyond the limit, or looked at for being an admin's.
const FOR_ADMINS: usize = 32;

/// Requests that are being answered.
#[derive(Debug, Default)]
pub(crate) struct Busy(Mutex<Now>);

#[derive(Debug, Default)]
struct Now {
    all: usize,
    of: HashMap<AccountId, usize>,
}

/// A request that is being answered, until it is dropped.
#[derive(Debug)]
pub struct Admitted {
    busy: Arc<Busy>,
    account: Option<AccountId>,
}

impl Busy {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place to find out who asks.
    fn admit(self: &Arc<Self>, most: usize) -> Option<Admitted> {
        let mut now = self.now();
        if now.all >= most + FOR_ADMINS {
            return None;
        }
        now.all += 1;
        Some(Admitted { busy: Arc::clone(self), account: None })
    }
}

impl Admitted {
    /// Whether there is a place for somebody who is no admin, and for one more of that account.
    fn may_stay(&mut self, account: Option<AccountId>, most: usize) -> bool {
        let mut now = self.busy.now();
        if now.all > most {
            return false;
        }
        let Some(account) = account else { return true };
        let of_account = now.of.entry(account).or_default();
        if *of_account >= most.div_ceil(2) {
            return false;
        }
        *of_account += 1;
        self.account = Some(account);
        true
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut now = self.busy.now();
        now.all -= 1;
        if let Some(account) = self.account
            && let Some(of_account) = now.of.get_mut(&account)
        {
            *of_account -= 1;
            if *of_account == 0 {
                now.of.remove(&account);
            }
        }
    }
}

impl App {
    /// Admits a request, and says whose it is if it came with a valid key.
    ///
    /// # Errors
    /// [`AppError::Overloaded`] when as many are being answered as may be.
    pub async fn admit(&self, key: Option<&str>) -> Result<(Admitted, Option<Actor>), AppError> {
        let most = self.settings.api_requests_at_once.get();
        let mut admitted = self.busy.admit(most).ok_or(AppError::Overloaded)?;
        // Why a key is not valid is said to whoever asks for something that needs one.
        let actor = match key {
            Some(key) => self.authenticate(key).await.ok(),
            None => None,
        };
        let is_admin = actor.as_ref().is_some_and(Actor::is_admin);
        if is_admin || admitted.may_stay(actor.as_ref().map(|actor| actor.account), most) {
            Ok((admitted, actor))
        } else {
            Err(AppError::Overloaded)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_half_of_the_places_and_gives_them_back() {
        let busy = Arc::<Busy>::default();
        let (acme, globex) = (AccountId::new(), AccountId::new());
        let ask = |account| {
            let mut admitted = busy.admit(4)?;
            admitted.may_stay(account, 4).then_some(admitted)
        };
        let first = ask(Some(acme)).unwrap();
        let _second = ask(Some(acme)).unwrap();
        assert!(ask(Some(acme)).is_none());
        let _third = ask(Some(globex)).unwrap();
        let _fourth = ask(None).unwrap();
        assert!(ask(Some(globex)).is_none() && ask(None).is_none());
        drop(first);
        assert!(ask(Some(acme)).is_some());
    }

    #[test]
    fn beyond_the_limit_only_so_many_are_even_looked_at() {
        let busy = Arc::<Busy>::default();
        let looked_at: Vec<Admitted> = (0..4 + FOR_ADMINS).filter_map(|_| busy.admit(4)).collect();
        assert_eq!((looked_at.len(), busy.admit(4).is_none()), (4 + FOR_ADMINS, true));
        drop(looked_at);
        assert!(busy.admit(4).is_some());
    }
}
