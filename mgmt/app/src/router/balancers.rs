//! What of balancers of HTTP a router is told: those that it takes.
//!
//! ```text
//!   told ── the router refuses the document for it ──▶ laid aside, and the rest is told ── it is changed ──▶ told
//! ```
//! A router has the program that is to balance look at what it is told, and that may know a rule that nobody here does. It
//! refuses the whole document then, and says for which balancer. That one is laid aside until it is changed, and says
//! meanwhile why: so no balancer keeps another rule from coming into force. Where the router does not say for which, those are
//! that are new or were changed, and they are tried again after a while: it may have been short of memory.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use podzol_appliance_api::Termination;
use podzol_mgmt_db::{router, rule, termination};
use tokio::time::Instant;

use super::TellError;
use super::known::{Aside, Dirty, Heard, Known};
use crate::{App, AppError};

/// How problems with balancers of HTTP begin.
const FIELD: &str = "http_balancers";

/// When those are tried again of which the router did not say that they are at fault.
const AGAIN: Duration = Duration::from_secs(300);

/// The length of an id as text.
const ID: usize = 36;

/// What a router that balances HTTP is told of it.
#[derive(Debug, Default)]
pub(super) struct HttpSide {
    /// Certificates and keys, by the ids of their balancers.
    pub(super) terminations: HashMap<String, Termination>,
    /// The balancers that it does not take.
    pub(super) aside: BTreeSet<String>,
}

impl App {
    /// What a router is told of those of some rules that are balancers of HTTP; nothing if it does not balance any.
    pub(super) async fn http_side(
        &self,
        known: &Known,
        rules: impl IntoIterator<Item = &rule::Model>,
    ) -> Result<Option<HttpSide>, AppError> {
        let aside = {
            let heard = known.heard();
            if heard.has_l7() != Some(true) {
                return Ok(None);
            }
            heard.aside.keys().cloned().collect()
        };
        let balancers: Vec<String> =
            rules.into_iter().filter(|row| row.is_http).map(|row| row.id.clone()).collect();
        let mut side = HttpSide { aside, ..HttpSide::default() };
        if !balancers.is_empty() {
            for row in termination::of(self.db.reader(), balancers).await? {
                let termination = Termination { certificates: row.certificates, key: row.private_key.0 };
                side.terminations.insert(row.rule_id, termination);
            }
        }
        Ok(Some(side))
    }

    /// Lays the balancers of HTTP aside for which a router has refused what it was told. Says whether there are any that
    /// were not aside before.
    pub(super) async fn lay_aside(
        &self,
        row: &router::Model,
        known: &Known,
        dirty: &Dirty,
        why: &str,
    ) -> Result<bool, TellError> {
        if !why.contains(FIELD) {
            return Ok(false);
        }
        let rules = rule::http_of(self.db.reader(), row.account_id.0, row.zone_id.0).await?;
        let all: Vec<String> = rules.into_iter().map(|row| row.id).collect();
        let named: Vec<String> = named(why).filter(|id| all.contains(id)).collect();
        let mut heard = known.heard();
        let (ids, until) = if named.is_empty() {
            let served = heard.status.iter().flat_map(|status| status.http_balancers.keys());
            let served: BTreeSet<String> = served.map(ToString::to_string).collect();
            let is_new = |id: &String| !served.contains(id) || dirty.rules.contains(id);
            (all.into_iter().filter(is_new).collect(), Some(Instant::now() + AGAIN))
        } else {
            (named, None)
        };
        tracing::warn!(router = %row.id, balancers = ?ids, why, "a router refuses balancers of HTTP");
        let before = heard.aside.len();
        heard.aside.extend(ids.into_iter().map(|id| (id, Aside { why: why.to_owned(), until })));
        Ok(heard.aside.len() > before)
    }
}

/// The balancers that a router names.
fn named(why: &str) -> impl Iterator<Item = String> {
    let places = why.match_indices(FIELD);
    places.filter_map(|(at, _)| why.get(at + FIELD.len() + 1..)?.get(..ID).map(str::to_owned))
}

/// Why a balancer of HTTP is not in force on a router that runs, if that is so.
pub(crate) fn why_no_http(row: &router::Model, heard: &Heard, balancer: &str) -> Option<String> {
    match heard.has_l7()? {
        true => heard
            .aside
            .get(balancer)
            .map(|aside| format!("the account's router does not take it: {}", aside.why)),
        false if row.next_vm_id.is_some() => {
            Some("a router that balances HTTP is taking the place of one that does not".into())
        }
        false => {
            let why = row.error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            Some(format!("the account's router has no extension l7, and could not be replaced yet{why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_balancers_are_found_that_a_router_names() {
        let (one, other) = ("0199c2e0-0000-7000-8000-000000000001", "0199c2e0-0000-7000-8000-000000000002");
        let why =
            format!("http_balancers.{one}.tls: haproxy refuses it: no; http_balancers.{other}: must not be");
        assert_eq!(named(&why).collect::<Vec<_>>(), [one, other]);
        assert_eq!(named("http_balancers: haproxy refuses it").count(), 0);
    }
}
