//! How many requests are answered at once. What comes beyond that is refused at once and told to come again, so that what
//! was taken in is answered as fast as ever, however many ask. A few places are kept for admins: who must stop a flood must
//! not drown in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{App, AppError};

/// How many requests of admins are answered beyond the limit.
const FOR_ADMINS: usize = 32;

/// Requests that are being answered.
#[derive(Debug, Default)]
pub(crate) struct Busy(AtomicUsize);

/// A request that is being answered, until it is dropped.
#[derive(Debug)]
pub struct Admitted(Arc<Busy>);

impl Busy {
    fn admit(self: &Arc<Self>, most: usize) -> Option<Admitted> {
        let more = |busy| (busy < most).then_some(busy + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Admitted(Arc::clone(self)))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl App {
    /// Admits a request that came with a key, if one did.
    ///
    /// # Errors
    /// [`AppError::Overloaded`] when as many are being answered as may be.
    pub async fn admit(&self, key: Option<&str>) -> Result<Admitted, AppError> {
        let most = self.settings.api_requests_at_once.get();
        if let Some(admitted) = self.busy.admit(most) {
            return Ok(admitted);
        }
        let is_admin = match key {
            Some(key) => self.authenticate(key).await.is_ok_and(|actor| actor.is_admin()),
            None => false,
        };
        let admitted = if is_admin { self.busy.admit(most + FOR_ADMINS) } else { None };
        admitted.ok_or(AppError::Overloaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_request_is_answered() {
        let busy = Arc::<Busy>::default();
        let first = busy.admit(2).unwrap();
        let _second = busy.admit(2).unwrap();
        assert!(busy.admit(2).is_none());
        drop(first);
        assert!(busy.admit(2).is_some());
    }
}
