//! The router: the document in force, and the way from one to the next.
//!
//! ```text
//!   document ─▶ rules between its parts ─▶ are all interfaces there? ─▶ packet filter, one transaction ─▶ links ─▶ services
//! ```
//! Whatever refuses, nothing has changed then: the packet filter's transaction is all or nothing, and if the links cannot
//! be changed after it, both are brought back to the document before.
//!
//! Rules come before links, so that a new link is never there without them.

use std::collections::BTreeSet;
use std::sync::Arc;

use podzol_appliance_api::{Delta, DeltaError, Document, ManagementSide};
use podzol_appliance_nft::{LIST, ListingError, Ruleset, Shape, observed, skeleton};
use podzol_rpc::exec::ExecError;
use podzol_vocab::{ErrorCode, Generation, LoadBalancerId, NicId, Order, WireError};
use tokio::sync::{Mutex, watch};

use crate::links::kernel::{Kernel, KernelError};
use crate::links::{Missing, Names, Observed, Wanted, changes, settings};
use crate::nft;
use crate::shown::Shown;

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
}

#[derive(Debug, Default)]
struct State {
    document: Arc<Document>,
    /// Whether the document is one that was put; the first is empty.
    is_told: bool,
    names: Names,
    ruleset: Ruleset,
    down: Down,
    repairs: u64,
}

/// Why links do not become what they should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinksError {
    /// One is not there.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The kernel refuses.
    #[error(transparent)]
    Kernel(#[from] KernelError),
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
        let shown = watch::Sender::new(Shown::default());
        let router = Self { management, kernel, shape, state: Mutex::default(), shown };
        let wanted = router.wanted(&State::default());
        let observed = router.kernel.observe().await?;
        router.kernel.apply(&changes(&wanted, &observed)?).await?;
        Ok(router)
    }

    /// What services see.
    pub(crate) fn shown(&self) -> watch::Receiver<Shown> {
        self.shown.subscribe()
    }

    /// The document in force; none before the first.
    pub(crate) async fn document(&self) -> Option<Arc<Document>> {
        let state = self.state.lock().await;
        state.is_told.then(|| Arc::clone(&state.document))
    }

    /// How often something was put right.
    pub(crate) async fn repairs(&self) -> u64 {
        self.state.lock().await.repairs
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
                Order::Different => {
                    let message = format!("another document of generation {in_force} is in force");
                    return Err(WireError::new(ErrorCode::GenerationConflict, message));
                }
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
        if state.is_told && state.document.generation == delta.to && delta.from < delta.to {
            // The same change again, as its answer was lost. Whatever led to this generation is in force.
            return Ok(());
        }
        let mut document = Document::clone(&state.document);
        match delta.apply(&mut document) {
            Ok(()) if state.is_told => self.bring(&mut state, document).await,
            Ok(()) | Err(DeltaError::Elsewhere { .. }) => Err(stale(state.document.generation)),
            Err(DeltaError::Backwards) => {
                Err(WireError::new(ErrorCode::Invalid, "to: must be greater than from"))
            }
        }
    }

    async fn bring(&self, state: &mut State, document: Document) -> Result<(), WireError> {
        let problems = document.problems();
        if !problems.is_empty() {
            let told: Vec<String> = problems.iter().take(TOLD).map(ToString::to_string).collect();
            let more = problems.len().saturating_sub(TOLD);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            return Err(WireError::new(ErrorCode::Invalid, told.join("; ") + &more));
        }
        let names = state.names.follow(document.guests.keys().copied());
        let ruleset = Ruleset::of(&document, names.all(), &state.down);
        let next = State {
            document: Arc::new(document),
            is_told: true,
            names,
            ruleset,
            down: state.down.clone(),
            repairs: state.repairs,
        };
        self.step(state, &next).await?;
        self.shown.send_replace(Shown { document: next.document.clone(), links: next.names.all().clone() });
        tracing::info!(generation = next.document.generation.0, "a document is in force");
        *state = next;
        Ok(())
    }

    /// Brings rules and links from one state to the next, or leaves both.
    async fn step(&self, before: &State, next: &State) -> Result<(), WireError> {
        let unavailable = |error: LinksError| WireError::new(ErrorCode::Unavailable, chain(&error));
        let observed = self.kernel.observe().await.map_err(|error| unavailable(error.into()))?;
        let changes = self.changes(next, &observed).map_err(unavailable)?;
        self.filter(&before.ruleset, &next.ruleset).await?;
        let applied = match self.kernel.apply(&changes).await {
            // With an address the kernel removes routes that were there when it was looked at.
            Ok(()) if !changes.is_empty() => self.converge_links(next).await.map(drop),
            other => other.map_err(LinksError::from),
        };
        let Err(error) = applied else { return Ok(()) };
        // Back to where it was. What cannot be brought back now is drift, which is put right like any other.
        if let Err(error) = self.filter(&next.ruleset, &before.ruleset).await {
            tracing::error!(%error, "the rules cannot be brought back");
        }
        if let Err(error) = self.converge_links(before).await {
            tracing::error!(error = chain(&error), "the links cannot be brought back");
        }
        Err(WireError::new(ErrorCode::Internal, chain(&error)))
    }

    async fn filter(&self, before: &Ruleset, next: &Ruleset) -> Result<(), WireError> {
        let Some(script) = next.script_from(before) else { return Ok(()) };
        nft::apply(&script).await.map_err(|error| WireError::new(ErrorCode::Internal, chain(&error)))
    }

    fn wanted(&self, state: &State) -> Wanted {
        Wanted::of(&self.management, &state.document, &state.names)
    }

    fn changes(&self, state: &State, observed: &Observed) -> Result<Vec<crate::links::Change>, LinksError> {
        Ok(changes(&self.wanted(state), observed)?)
    }

    /// How many changes were necessary.
    async fn converge_links(&self, state: &State) -> Result<usize, LinksError> {
        let changes = self.changes(state, &self.kernel.observe().await?)?;
        self.kernel.apply(&changes).await?;
        Ok(changes.len())
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
        self.filter(&state.ruleset, &ruleset).await?;
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
            Ok(found) if found.ruleset == state.ruleset && found.shape == self.shape => return Ok(()),
            Ok(found) => (found.shape.differences(&self.shape), state.ruleset.repair(&found, &self.shape)),
            // An element that is in no form of ours: somebody else has put it there.
            Err(error @ ListingError::Element { .. }) => (vec![error.to_string()], state.ruleset.whole()),
            Err(error) => return Err(error.into()),
        };
        nft::apply(&script).await?;
        tracing::warn!(?differences, "rules were not as they should be, and are now");
        state.repairs += 1;
        Ok(())
    }

    /// Puts right what somebody else has changed: links, addresses and routes.
    ///
    /// # Errors
    /// When that is not possible now.
    pub(crate) async fn repair_links(&self) -> Result<(), LinksError> {
        let mut state = self.state.lock().await;
        let changed = self.converge_links(&state).await?;
        if changed > 0 {
            tracing::warn!(changed, "links were not as they should be, and are now");
            state.repairs += 1;
        }
        Ok(())
    }
}

fn stale(in_force: Generation) -> WireError {
    let error = WireError::new(ErrorCode::StaleGeneration, format!("generation {in_force} is in force"));
    WireError { in_force: Some(in_force), ..error }
}

/// An error with all that has led to it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
