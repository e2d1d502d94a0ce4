//! What of a document is for haproxy: whether there is one, whether it takes it, and what it is told.

use podzol_appliance_api::{Document, Problem};
use podzol_appliance_haproxy::Model;
use podzol_vocab::{ErrorCode, WireError};

use super::{Router, internal};
use crate::haproxy::CheckError;

impl Router {
    /// What of a document takes an extension that the image does not have.
    pub(super) fn problem_of_extensions(&self, document: &Document) -> Option<Problem> {
        let id = document.http_balancers.keys().next().filter(|_| self.balancing.is_none())?;
        let rule = "must not be, as this router's image has no L7 extension";
        Some(Problem { field: format!("http_balancers.{id}"), rule: rule.into() })
    }

    /// Has haproxy look at what it is to do, if it needs a new process for it.
    pub(super) async fn check_http(&self, http: &Model) -> Result<(), WireError> {
        let Some(balancing) = &self.balancing else { return Ok(()) };
        if http.is_empty() || http.fits(&self.http.borrow()) {
            return Ok(());
        }
        balancing.check(http).await.map_err(|error| match error {
            CheckError::Refused(blame) => WireError::new(ErrorCode::Invalid, blame.to_string()),
            other => internal(&other),
        })
    }

    /// Has it done from now on.
    pub(super) fn set_http(&self, http: Model) {
        self.http.send_if_modified(|before| {
            let is_other = *before != http;
            *before = http;
            is_other
        });
    }
}
