//! What is wrong with pools, so that it is logged when it begins and when it ends, and not every few seconds.

use std::collections::BTreeMap;

use podzol_vocab::{PoolId, WireError};

/// What could not be done, pool by pool.
pub(crate) struct Troubles {
    what: &'static str,
    of: BTreeMap<PoolId, String>,
}

impl Troubles {
    /// None yet. `what` says in the log what cannot be done.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, of: BTreeMap::new() }
    }

    /// Takes all troubles there are now, and logs those that are new and those that are over.
    pub(crate) fn are(&mut self, now: impl IntoIterator<Item = (PoolId, WireError)>) {
        let now: BTreeMap<PoolId, String> =
            now.into_iter().map(|(pool, error)| (pool, error.to_string())).collect();
        for (pool, error) in &now {
            if self.of.get(pool) != Some(error) {
                tracing::error!(%pool, error, "{}", self.what);
            }
        }
        for pool in self.of.keys().filter(|pool| !now.contains_key(pool)) {
            tracing::info!(%pool, "no longer: {}", self.what);
        }
        self.of = now;
    }
}
