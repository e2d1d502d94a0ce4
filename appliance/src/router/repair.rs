//! Putting right what somebody else has changed.

use std::sync::Arc;

use podzol_appliance_api::Delta;
use podzol_appliance_nft::{LIST, ListingError, counters, observed};

use super::{Router, RulesError, State, chain};
use crate::links::kernel::KernelError;
use crate::links::{MANAGEMENT, Observed, plan, settings};
use crate::nft;

impl Router {
    /// Puts right what somebody else has changed: rules, and what is in their sets.
    ///
    /// # Errors
    /// When that is not possible now.
    pub(crate) async fn repair_rules(&self) -> Result<(), RulesError> {
        let mut state = self.state.lock().await;
        let generation = self.generations.now().ok();
        if state.is_sure && generation.is_some() && state.seen == generation {
            return Ok(());
        }
        state.seen = None;
        let listing = nft::list(&LIST).await?;
        let (differences, script) = match observed(listing.as_bytes()) {
            Ok(found) if found.ruleset == *state.rules.ruleset() && found.shape == state.shape => {
                // A change while they were listed has made the generation another one, and they are listed again.
                (state.is_sure, state.seen) = (true, generation);
                return Ok(());
            }
            Ok(found) => {
                (found.shape.differences(&state.shape), state.rules.ruleset().repair(&found, &state.shape))
            }
            // An element that is in no form of ours: somebody else has put it there.
            Err(error @ ListingError::Element { .. }) => {
                (vec![error.to_string()], state.rules.ruleset().whole())
            }
            Err(error) => return Err(error.into()),
        };
        // A table of counters that somebody has changed is made anew.
        if let Ok(counted) = counters(listing.as_bytes()) {
            let document = Arc::clone(&state.document);
            state.tally.look(&document, counted);
        }
        nft::run(&script).await?;
        tracing::warn!(?differences, "rules were not as they should be, and are now");
        state.repairs += 1;
        state.is_sure = true;
        Ok(())
    }

    /// Puts right what somebody else has changed: links, addresses, routes, and settings.
    ///
    /// # Errors
    /// When links cannot be looked at.
    pub(crate) async fn repair_links(&self) -> Result<(), KernelError> {
        let mut state = self.state.lock().await;
        let settings = settings::repair(state.document.limits());
        if !settings.is_empty() {
            tracing::warn!(?settings, "settings of the kernel were not as they should be, and are now");
            state.repairs += 1;
        }
        let wanted = self.wanted(&state);
        let plan = plan(&wanted, &self.kernel.observe().await?);
        let failures = self.kernel.apply_all(&plan.changes).await;
        for failure in &failures {
            tracing::warn!(error = chain(failure), "a link is not as it should be");
        }
        for mac in &plan.missing {
            tracing::warn!(%mac, "no interface has this MAC address");
        }
        if plan.changes.len() > failures.len() {
            tracing::warn!(changes = plan.changes.len(), "links were not as they should be, and are now");
            state.repairs += 1;
        }
        let observed = self.kernel.observe().await?;
        let index = self.index(&observed, self.management.mac);
        if index.is_some() && index != state.management_index {
            tracing::error!("{MANAGEMENT} is another interface than the one that is listened on");
            self.cut_off.cancel();
        }
        self.show_if_other(&state, &observed);
        Ok(())
    }

    /// Shows services the links again, if an interface is another than before.
    fn show_if_other(&self, state: &State, observed: &Observed) {
        let is_same = self.shown.borrow().links.iter().all(|(network, link)| {
            let guest = state.document.guests.get(network);
            guest.is_some_and(|guest| self.index(observed, guest.mac) == Some(link.index))
        });
        let all_are_shown = self.shown.borrow().links.len() == state.names.all().len();
        if !is_same || !all_are_shown {
            self.show(state, observed, Some(&Delta::default()));
        }
    }
}
