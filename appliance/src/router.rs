//! The router: the document in force, and the way from one to the next.
//!
//! ```text
//!   document ─▶ rules between its parts ─▶ are all interfaces there? ─▶ packet filter, one transaction ─▶ links ─▶ services
//! ```
//! Whatever refuses, nothing has changed then: the packet filter's transaction is all or nothing, and if the links cannot
//! be changed after it, both are brought back to the document before.
//!
//! Rules come before links, so that a new link is never there without them; until it has its address, the check of sources
//! lets nothing in by it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use podzol_appliance_api::{Counters, Delta, DeltaError, Document, ManagementSide, Problem};
use podzol_appliance_nft::{LIST, LIST_COUNTERS, ListingError, Ruleset, Shape, counters, observed, skeleton};
use podzol_rpc::exec::ExecError;
use podzol_vocab::{ErrorCode, Generation, LoadBalancerId, MacAddr, NicId, Order, WireError};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::links::kernel::{Kernel, KernelError};
use crate::links::{MANAGEMENT, Names, Observed, Wanted, plan, settings};
use crate::nft;
use crate::shown::{Link, Shown};
use crate::tally::Tally;

/// How many of a document's problems an answer names.
const TOLD: usize = 5;

/// Members of balancers that do not work.
pub(crate) type Down = BTreeSet<(LoadBalancerId, NicId)>;

/// The router. One change at a time.
#[derive(Debug)]
pub(crate) struct Router {
    management: ManagementSide,
    kernel: Kernel,
    /// The rules that no document changes, as they were listed when they were made.
    shape: Shape,
    state: Mutex<State>,
    shown: watch::Sender<Shown>,
    /// Cancelled when the link to the management network is another than the one that is listened on.
    cut_off: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    document: Arc<Document>,
    /// Whether the document is one that was put; the first is empty.
    is_told: bool,
    names: Names,
    ruleset: Ruleset,
    /// Whether the rule set is what the kernel has, as far as is known.
    is_sure: bool,
    down: Down,
    repairs: u64,
    tally: Tally,
    /// The index of the link to the management network.
    management_index: Option<u32>,
}

/// What a router knows of itself, at one moment.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) generation: Option<Generation>,
    pub(crate) repairs: u64,
    pub(crate) nics: BTreeMap<NicId, Counters>,
    pub(crate) public: BTreeMap<Ipv4Addr, Counters>,
    /// What nft(8) lists.
    pub(crate) listing: String,
}

/// Why rules cannot be looked at or put right.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RulesError {
    /// nft(8) fails.
    #[error("cannot change or list the rules")]
    Nft(#[from] ExecError),
    /// What it lists is not understood.
    #[error("cannot read the rules")]
    Listing(#[from] ListingError),
}

impl Router {
    /// A router without a document: it has its link to the management network, and lets nothing through.
    ///
    /// # Errors
    /// When the rules cannot be loaded, or the link is not there.
    pub(crate) async fn start(management: ManagementSide, kernel: Kernel) -> anyhow::Result<Self> {
        // Counters of a router before this one, in the same kernel, go with it.
        nft::apply(&format!("flush ruleset\n{}", skeleton())).await?;
        settings::apply();
        let shape = observed(nft::list(&LIST).await?.as_bytes())?.shape;
        let router = Self {
            management,
            kernel,
            shape,
            state: Mutex::default(),
            shown: watch::Sender::new(Shown::default()),
            cut_off: CancellationToken::new(),
        };
        let mut state = router.state.lock().await;
        let plan = plan(&router.wanted(&state), &router.kernel.observe().await?);
        if let Some(mac) = plan.missing.first() {
            anyhow::bail!("no interface has the MAC address {mac}, as that to the management network should");
        }
        router.kernel.apply(&plan.changes).await?;
        state.management_index = router.index(&router.kernel.observe().await?, router.management.mac);
        state.is_sure = true;
        drop(state);
        Ok(router)
    }

    /// What services see.
    pub(crate) fn shown(&self) -> watch::Receiver<Shown> {
        self.shown.subscribe()
    }

    /// Cancelled when nobody can reach the router any more, and it had better start anew.
    pub(crate) fn cut_off(&self) -> CancellationToken {
        self.cut_off.clone()
    }

    /// What it knows of itself.
    ///
    /// # Errors
    /// When the rules cannot be looked at.
    pub(crate) async fn facts(&self) -> Result<Facts, RulesError> {
        let mut state = self.state.lock().await;
        let listing = nft::list(&LIST).await?;
        let document = Arc::clone(&state.document);
        state.tally.look(&document, counters(listing.as_bytes())?);
        Ok(Facts {
            generation: state.is_told.then_some(document.generation),
            repairs: state.repairs,
            nics: state.tally.nics().clone(),
            public: state.tally.public().clone(),
            listing,
        })
    }

    /// Puts a document in force.
    ///
    /// # Errors
    /// When it is older, breaks a rule, or cannot be applied. Nothing is changed then.
    pub(crate) async fn put(&self, document: Document) -> Result<(), WireError> {
        let mut state = self.state.lock().await;
        if state.is_told {
            let in_force = state.document.generation;
            match document.generation.order(in_force, *state.document == document) {
                Order::Newer => {}
                Order::Same => return Ok(()),
                Order::Older => return Err(stale(in_force)),
                Order::Different => return Err(conflict(in_force)),
            }
        }
        self.bring(&mut state, document).await
    }

    /// Changes the document in force.
    ///
    /// # Errors
    /// As [`Router::put`], and when the change begins at another generation than the one in force.
    pub(crate) async fn patch(&self, delta: &Delta) -> Result<(), WireError> {
        let mut state = self.state.lock().await;
        let in_force = state.document.generation;
        if state.is_told && in_force == delta.to && delta.from < delta.to {
            // The same change again, as its answer was lost; or another one of the same number.
            return if delta.is_in(&state.document) { Ok(()) } else { Err(conflict(in_force)) };
        }
        let mut document = Document::clone(&state.document);
        match delta.apply(&mut document) {
            Ok(()) if state.is_told => self.bring(&mut state, document).await,
            Ok(()) | Err(DeltaError::Elsewhere { .. }) => Err(stale(in_force)),
            Err(DeltaError::Backwards) => {
                Err(WireError::new(ErrorCode::Invalid, "to: must be greater than from"))
            }
        }
    }

    async fn bring(&self, state: &mut State, document: Document) -> Result<(), WireError> {
        let mut problems = document.problems();
        problems.extend(document.problems_beside(&self.management));
        if !problems.is_empty() {
            return Err(WireError::new(ErrorCode::Invalid, told(&problems)));
        }
        let names = state.names.follow(document.guests.keys().copied());
        let ruleset = Ruleset::of(&document, names.all(), &state.down);
        if state.document.nics != document.nics || state.document.public != document.public {
            // What was counted until now is of those who have the addresses now.
            self.look_at_counters(state).await.map_err(|error| internal(&error))?;
        }
        let next = State {
            document: Arc::new(document),
            is_told: true,
            names,
            ruleset,
            is_sure: true,
            down: state.down.clone(),
            repairs: state.repairs,
            tally: std::mem::take(&mut state.tally),
            management_index: state.management_index,
        };
        let stepped = self.step(state, &next).await;
        let observed = match stepped {
            Ok(observed) => observed,
            Err(error) => {
                state.tally = next.tally;
                return Err(error);
            }
        };
        *state = next;
        self.show(state, &observed);
        tracing::info!(generation = state.document.generation.0, "a document is in force");
        Ok(())
    }

    async fn look_at_counters(&self, state: &mut State) -> Result<(), RulesError> {
        let counted = counters(nft::list(&LIST_COUNTERS).await?.as_bytes())?;
        let document = Arc::clone(&state.document);
        state.tally.look(&document, counted);
        Ok(())
    }

    /// Shows services the document, and those of its networks' links that are there.
    fn show(&self, state: &State, observed: &Observed) {
        let links = state.names.all().iter().filter_map(|(network, name)| {
            let guest = state.document.guests.get(network)?;
            let index = self.index(observed, guest.mac)?;
            Some((*network, Link { name: name.clone(), index }))
        });
        self.shown.send_replace(Shown { document: Arc::clone(&state.document), links: links.collect() });
    }

    fn index(&self, observed: &Observed, mac: MacAddr) -> Option<u32> {
        observed.links.iter().find(|link| link.mac == mac).map(|link| link.index)
    }

    /// Brings rules and links from one state to the next, or leaves both. Gives the links as they are then.
    async fn step(&self, before: &mut State, next: &State) -> Result<Observed, WireError> {
        let observed = self.kernel.observe().await.map_err(|error| internal(&error))?;
        let wanted = self.wanted(next);
        let plan = plan(&wanted, &observed);
        self.check_missing(&plan.missing, before, next)?;
        self.filter(before, &next.ruleset).await?;
        let mut applied = self.kernel.apply(&plan.changes).await;
        if applied.is_ok() && !plan.changes.is_empty() {
            // With an address the kernel removes routes that were there when it was looked at.
            applied = self.converge(&wanted).await;
        }
        let error = match applied {
            Ok(()) if plan.changes.is_empty() => return Ok(observed),
            Ok(()) => match self.kernel.observe().await {
                Ok(observed) => return Ok(observed),
                Err(error) => error,
            },
            Err(error) => error,
        };
        // Back to where it was. What cannot be brought back now is drift, which is put right like any other.
        before.is_sure = false;
        if let Err(error) = self.filter(before, &before.ruleset.clone()).await {
            tracing::error!(%error, "the rules cannot be brought back");
        }
        if let Err(error) = self.converge(&self.wanted(before)).await {
            tracing::error!(error = chain(&error), "the links cannot be brought back");
        }
        Err(internal(&error))
    }

    /// An interface may be about to be plugged in; one that was there before and is not any more stands in nobody's way.
    fn check_missing(
        &self,
        missing: &BTreeSet<MacAddr>,
        before: &State,
        next: &State,
    ) -> Result<(), WireError> {
        let known: BTreeSet<MacAddr> = self.wanted(before).links.iter().map(|link| link.mac).collect();
        let Some(mac) = missing.difference(&known).next() else { return Ok(()) };
        let guest = next.document.guests.iter().find(|(_, guest)| guest.mac == *mac);
        let field = guest.map_or("public.mac".to_owned(), |(id, _)| format!("guests.{id}.mac"));
        let message = format!("{field}: no interface has the MAC address {mac}");
        Err(WireError::new(ErrorCode::Unavailable, message))
    }

    /// Brings the rules from what is in force to another rule set. If that fails half-known, the state says so.
    async fn filter(&self, before: &mut State, next: &Ruleset) -> Result<(), WireError> {
        let script = if before.is_sure { next.script_from(&before.ruleset) } else { Some(next.whole()) };
        let Some(script) = script else { return Ok(()) };
        match nft::apply(&script).await {
            Ok(()) => {
                before.is_sure = true;
                Ok(())
            }
            Err(error) => {
                // One that was too slow may have done it all the same.
                before.is_sure = before.is_sure && matches!(error, ExecError::Failed { .. });
                Err(internal(&error))
            }
        }
    }

    fn wanted(&self, state: &State) -> Wanted {
        Wanted::of(&self.management, &state.document, &state.names)
    }

    async fn converge(&self, wanted: &Wanted) -> Result<(), KernelError> {
        self.kernel.apply(&plan(wanted, &self.kernel.observe().await?).changes).await
    }

    /// Takes members of balancers out that do not work, and puts others back.
    ///
    /// # Errors
    /// When the rules cannot be changed; they are as before then.
    pub(crate) async fn set_down(&self, down: Down) -> Result<(), WireError> {
        let mut state = self.state.lock().await;
        if state.down == down {
            return Ok(());
        }
        let ruleset = Ruleset::of(&state.document, state.names.all(), &down);
        self.filter(&mut state, &ruleset).await?;
        (state.ruleset, state.down) = (ruleset, down);
        Ok(())
    }

    /// Puts right what somebody else has changed: rules, and what is in their sets.
    ///
    /// # Errors
    /// When that is not possible now.
    pub(crate) async fn repair_rules(&self) -> Result<(), RulesError> {
        let mut state = self.state.lock().await;
        let listing = nft::list(&LIST).await?;
        let (differences, script) = match observed(listing.as_bytes()) {
            Ok(found) if found.ruleset == state.ruleset && found.shape == self.shape => {
                state.is_sure = true;
                return Ok(());
            }
            Ok(found) => (found.shape.differences(&self.shape), state.ruleset.repair(&found, &self.shape)),
            // An element that is in no form of ours: somebody else has put it there.
            Err(error @ ListingError::Element { .. }) => (vec![error.to_string()], state.ruleset.whole()),
            Err(error) => return Err(error.into()),
        };
        // A table of counters that somebody has changed is made anew.
        if let Ok(counted) = counters(listing.as_bytes()) {
            let document = Arc::clone(&state.document);
            state.tally.look(&document, counted);
        }
        nft::apply(&script).await?;
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
            self.show(state, observed);
        }
    }
}

/// The first problems of a document, in one line.
fn told(problems: &[Problem]) -> String {
    let told: Vec<String> = problems.iter().take(TOLD).map(ToString::to_string).collect();
    let more = problems.len().saturating_sub(TOLD);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    told.join("; ") + &more
}

fn stale(in_force: Generation) -> WireError {
    let error = WireError::new(ErrorCode::StaleGeneration, format!("generation {in_force} is in force"));
    WireError { in_force: Some(in_force), ..error }
}

fn conflict(in_force: Generation) -> WireError {
    let message = format!("another document of generation {in_force} is in force");
    WireError::new(ErrorCode::GenerationConflict, message)
}

fn internal(error: &dyn std::error::Error) -> WireError {
    WireError::new(ErrorCode::Internal, chain(error))
}

/// An error with all that has led to it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
