//! The router: the document in force, and the way from one to the next.
//!
//! ```text
//!   document ─▶ rules between its parts ─▶ does haproxy take it? ─▶ are all interfaces there?
//!            ─▶ packet filter, one transaction ─▶ links ─▶ services
//! ```
//! Whatever refuses, nothing has changed then: the packet filter's transaction is all or nothing, and if the links cannot
//! be changed after it, both are brought back to the document before.
//!
//! Rules come before links, so that a new link is never there without them; until it has its address, the check of sources
//! lets nothing in by it.
//!
//! # Design notes
//! A change costs what it changes, not what there is: what checks it, the packet filter, and the document itself follow it
//! ([`Checker`], [`Rules`], [`Before`]), and services look at the document only if their part of it is another.

mod change;
mod http;
mod repair;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context;
use podzol_appliance_api::limits::MAX_PIECES;
use podzol_appliance_api::{Before, Checker, Counters, Delta, Document, ManagementSide};
use podzol_appliance_haproxy::Model;
use podzol_appliance_nft::{
    Change, Down, LIST, ListingError, Rules, Ruleset, Shape, counters, first_load, observed,
};
use podzol_rpc::exec::ExecError;
use podzol_vocab::{ErrorCode, Generation, MacAddr, NicId, Sha256, WireError};
use sha2::Digest;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio_util::sync::CancellationToken;

use crate::haproxy::Balancing;
use crate::links::kernel::{Kernel, KernelError};
use crate::links::{self, Names, Observed, Wanted, plan, settings};
use crate::nft::{self, ApplyError, CountError, Generations};
use crate::shown::{Link, Shown};
use crate::tally::Tally;

/// The router. One change at a time.
#[derive(Debug)]
pub(crate) struct Router {
    management: ManagementSide,
    kernel: Kernel,
    generations: Generations,
    state: Arc<Mutex<State>>,
    shown: watch::Sender<Shown>,
    /// What balances HTTP, if the image has that.
    balancing: Option<Balancing>,
    /// What it should do.
    http: watch::Sender<Model>,
    /// Cancelled when the link to the management network is another than the one that is listened on.
    cut_off: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    document: Arc<Document>,
    /// The one before it, if a change has led from there.
    before: Option<Before>,
    /// What follows the document in force to check changes of it. It is made anew when there is none.
    checker: Option<Checker>,
    /// Whether the document is one that was put; the first is empty.
    is_told: bool,
    names: Names,
    rules: Rules,
    /// The rules that no document changes, as they were listed when they were made.
    shape: Shape,
    /// Whether the rules are what the kernel has, as far as is known.
    is_sure: bool,
    /// The generation of the kernel's rules at which they were found as they should be, or made so.
    seen: Option<u32>,
    down: Down,
    repairs: u64,
    tally: Tally,
    /// The index of the link to the management network.
    management_index: Option<u32>,
}

/// What a router still has to find out when it starts: how the rules that it has made are listed. Until then it waits.
pub(crate) struct FirstLook(OwnedMutexGuard<State>);

impl FirstLook {
    /// Looks.
    ///
    /// # Errors
    /// When the rules cannot be listed, or somebody else has changed them already.
    pub(crate) async fn take(mut self) -> anyhow::Result<()> {
        self.0.shape = observed(nft::list(&LIST).await?.as_bytes())?.shape;
        let now = Generations::open().and_then(|generations| generations.now())?;
        anyhow::ensure!(self.0.seen == Some(now), "somebody else changes the rules");
        Ok(())
    }
}

/// Where the router is going.
struct Next {
    document: Arc<Document>,
    names: Names,
    turn: Turn,
}

impl Next {
    /// Takes the rules back.
    fn back(&mut self, state: &mut State) {
        self.turn.take(&mut state.rules, &self.document, &state.document, &state.down);
        if state.rules.too_many().is_some() {
            // On the way there were more than at its end.
            state.rules = Rules::of(&state.document, state.names.all(), &state.down);
        }
    }
}

/// How its rules get there: the way back is the same once more.
enum Turn {
    /// These are others.
    Anew(Box<Rules>),
    /// They follow a change.
    Along(Arc<Delta>),
}

impl Turn {
    /// Takes rules from one document to another. Gives what makes the kernel's the same, if they differ then.
    fn take(&mut self, rules: &mut Rules, from: &Document, to: &Document, down: &Down) -> Option<Change> {
        match self {
            Self::Anew(others) => {
                std::mem::swap(rules, others);
                rules.ruleset().change_from(others.ruleset())
            }
            Self::Along(delta) => rules.follow(delta, from, to, down),
        }
    }
}

/// What a router knows of itself, at one moment.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) generation: Option<Generation>,
    pub(crate) repairs: u64,
    pub(crate) nics: BTreeMap<NicId, Counters>,
    pub(crate) public: BTreeMap<Ipv4Addr, Counters>,
    pub(crate) document: Arc<Document>,
    pub(crate) down: Down,
    /// SHA-256 of the rules in the kernel.
    pub(crate) rules: Sha256,
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
    /// The counters are not known.
    #[error("cannot read the counters")]
    Count(#[from] CountError),
}

impl Router {
    /// A router without a document: it has its link to the management network, and lets nothing through. Nothing can be
    /// done with it before it has looked at itself ([`FirstLook::take`]), which need not be waited for.
    ///
    /// # Errors
    /// When the rules cannot be loaded, or the link is not there.
    pub(crate) async fn start(
        management: ManagementSide,
        kernel: Kernel,
        balancing: Option<Balancing>,
    ) -> anyhow::Result<(Self, FirstLook)> {
        // Counters of a router before this one, in the same kernel, go with it.
        nft::commit(first_load()).await.context("the rules cannot be loaded")?;
        settings::apply();
        let router = Self {
            management,
            kernel,
            generations: Generations::open().context("cannot ask for the generation of rules")?,
            state: Arc::default(),
            shown: watch::Sender::new(Shown::default()),
            balancing,
            http: watch::Sender::new(Model::default()),
            cut_off: CancellationToken::new(),
        };
        let mut state = Arc::clone(&router.state).lock_owned().await;
        // What is changed from now on makes it another one, and the rules are listed again.
        (state.is_sure, state.seen) = (true, router.generations.now().ok());
        let plan = plan(&router.wanted(&state), &router.kernel.observe().await?);
        if let Some(mac) = plan.missing.first() {
            anyhow::bail!("no interface has the MAC address {mac}, as that to the management network should");
        }
        router.kernel.apply(&plan.changes).await?;
        state.management_index = router.index(&router.kernel.observe().await?, router.management.mac);
        Ok((router, FirstLook(state)))
    }

    /// Its address on the management network.
    pub(crate) const fn address(&self) -> Ipv4Addr {
        self.management.address
    }

    /// What services see.
    pub(crate) fn shown(&self) -> watch::Receiver<Shown> {
        self.shown.subscribe()
    }

    /// What should be balanced by requests.
    pub(crate) fn http(&self) -> watch::Receiver<Model> {
        self.http.subscribe()
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
        let generation = self.generations.now().ok();
        let is_known = state.is_sure && generation.is_some() && state.seen == generation;
        let (rules, counted) = if is_known {
            // Nobody but the router has changed them, and ten thousand need not be listed.
            let rules = hash_of(state.rules.ruleset(), &state.shape);
            (rules, nft::counted().await?)
        } else {
            let listing = nft::list(&LIST).await?;
            let found = observed(listing.as_bytes())?;
            (hash_of(&found.ruleset, &found.shape), counters(listing.as_bytes())?)
        };
        let document = Arc::clone(&state.document);
        state.tally.look(&document, counted);
        Ok(Facts {
            generation: state.is_told.then_some(document.generation),
            repairs: state.repairs,
            nics: state.tally.nics().clone(),
            public: state.tally.public().clone(),
            down: state.down.clone(),
            document,
            rules,
        })
    }

    /// Brings a document without problems into force, one that a change has led to or another.
    async fn bring(
        &self,
        state: &mut State,
        document: Arc<Document>,
        delta: Option<Arc<Delta>>,
    ) -> Result<(), WireError> {
        let has_other_http = delta.as_ref().is_none_or(|delta| !delta.http_balancers.is_empty());
        let http = has_other_http.then(|| Model::of(&document, &state.down));
        if let Some(http) = &http {
            self.check_http(http).await?;
        }
        let names = state.names.follow(document.guests.keys().copied());
        let has_other_owners = match &delta {
            Some(delta) => delta.public.is_some() || !delta.nics.is_empty(),
            None => state.document.nics != document.nics || state.document.public != document.public,
        };
        if has_other_owners {
            // What was counted until now is of those who have the addresses now.
            self.look_at_counters(state).await.map_err(|error| internal(&error))?;
        }
        let turn = match &delta {
            Some(delta) if Rules::can_follow(delta) => Turn::Along(Arc::clone(delta)),
            _ => Turn::Anew(Box::new(Rules::of(&document, names.all(), &state.down))),
        };
        let observed = self.step(state, Next { document, names, turn }).await?;
        self.show(state, &observed, delta.as_deref());
        if let Some(http) = http {
            self.set_http(http);
        }
        tracing::info!(generation = state.document.generation.0, "a document is in force");
        Ok(())
    }

    async fn look_at_counters(&self, state: &mut State) -> Result<(), RulesError> {
        let counted = nft::counted().await?;
        let document = Arc::clone(&state.document);
        state.tally.look(&document, counted);
        Ok(())
    }

    /// Shows services the document, which a change has led to if that is known, and those of its networks' links that are
    /// there.
    fn show(&self, state: &State, observed: &Observed, delta: Option<&Delta>) {
        let links = state.names.all().iter().filter_map(|(network, name)| {
            let guest = state.document.guests.get(network)?;
            let index = self.index(observed, guest.mac)?;
            Some((*network, Link { name: name.clone(), index }))
        });
        let links = links.collect();
        self.shown.send_modify(|shown| {
            let versions = shown.versions.after(delta);
            *shown = Shown { document: Arc::clone(&state.document), links, versions };
        });
    }

    fn index(&self, observed: &Observed, mac: MacAddr) -> Option<u32> {
        observed.links.iter().find(|link| link.mac == mac).map(|link| link.index)
    }

    /// Brings rules and links from where they are to what is next, or leaves both. Gives the links as they are then.
    async fn step(&self, state: &mut State, mut next: Next) -> Result<Observed, WireError> {
        let mut observed = self.kernel.observe().await.map_err(|error| internal(&error))?;
        let wanted = Wanted::of(&self.management, &next.document, &next.names);
        let plan = plan(&wanted, &observed);
        self.check_missing(&plan.missing, state, &next.document)?;
        let mut change = next.turn.take(&mut state.rules, &state.document, &next.document, &state.down);
        if state.rules.too_many().is_some() && matches!(next.turn, Turn::Along(_)) {
            // On the way there may be more than at its end.
            state.rules = Rules::of(&state.document, state.names.all(), &state.down);
            next.turn = Turn::Anew(Box::new(Rules::of(&next.document, next.names.all(), &state.down)));
            change = next.turn.take(&mut state.rules, &state.document, &next.document, &state.down);
        }
        if let Some(field) = state.rules.too_many() {
            state.rules = Rules::of(&state.document, state.names.all(), &state.down);
            let rule = format!("{field}: must be cut in at most {MAX_PIECES} pieces that do not overlap");
            return Err(WireError::new(ErrorCode::Invalid, rule));
        }
        if let Err(error) = self.filter(state, change).await {
            next.back(state);
            if !state.is_sure {
                self.go_back(state).await;
            }
            return Err(error);
        }
        if !plan.changes.is_empty() {
            // What is not as it should be already, nobody who changes something else is refused for.
            let drift = links::plan(&self.wanted(state), &observed).changes;
            observed = match self.link(&plan.changes, &wanted, &drift).await {
                Ok(observed) => observed,
                Err(error) => {
                    next.back(state);
                    self.go_back(state).await;
                    return Err(internal(&error));
                }
            };
        }
        if state.document.limits() != next.document.limits() {
            settings::limit(next.document.limits());
        }
        (state.document, state.names, state.is_told) = (next.document, next.names, true);
        Ok(observed)
    }

    /// Changes links. Gives them as they are then.
    async fn link(
        &self,
        changes: &[links::Change],
        wanted: &Wanted,
        drift: &[links::Change],
    ) -> Result<Observed, KernelError> {
        self.kernel.apply_but(changes, drift).await?;
        // With an address the kernel removes routes that were there when it was looked at.
        let left = links::plan(wanted, &self.kernel.observe().await?).changes;
        self.kernel.apply_but(&left, drift).await?;
        self.kernel.observe().await
    }

    /// Back to where it was. What cannot be brought back now is drift, which is put right like any other.
    async fn go_back(&self, state: &mut State) {
        (state.is_sure, state.seen) = (false, None);
        if let Err(error) = self.filter(state, None).await {
            tracing::error!(%error, "the rules cannot be brought back");
        }
        if let Err(error) = self.converge(&self.wanted(state)).await {
            tracing::error!(error = chain(&error), "the links cannot be brought back");
        }
    }

    /// An interface may be about to be plugged in; one that was there before and is not any more stands in nobody's way.
    fn check_missing(
        &self,
        missing: &BTreeSet<MacAddr>,
        before: &State,
        next: &Document,
    ) -> Result<(), WireError> {
        let known: BTreeSet<MacAddr> = self.wanted(before).links.iter().map(|link| link.mac).collect();
        let Some(mac) = missing.difference(&known).next() else { return Ok(()) };
        let guest = next.guests.iter().find(|(_, guest)| guest.mac == *mac);
        let field = guest.map_or("public.mac".to_owned(), |(id, _)| format!("guests.{id}.mac"));
        let message = format!("{field}: no interface has the MAC address {mac}");
        Err(WireError::new(ErrorCode::Unavailable, message))
    }

    /// Brings the kernel's rules to the state's, by this change of what was in force. If that fails half-known, the state
    /// says so.
    async fn filter(&self, state: &mut State, change: Option<Change>) -> Result<(), WireError> {
        let whole = || Some(Change::by_script(state.rules.ruleset().whole()));
        let Some(change) = (if state.is_sure { change } else { whole() }) else { return Ok(()) };
        let steps = change.steps().len() as u32;
        if !state.is_sure {
            // All anew leaves counters that should go, which only a look finds.
            state.seen = None;
        }
        let seen = state.seen.take().filter(|seen| self.generations.now().is_ok_and(|now| now == *seen));
        match nft::apply(change).await {
            Ok(()) => {
                state.is_sure = true;
                // Unless somebody else has changed something meanwhile.
                let next = seen.map(|seen| seen.wrapping_add(steps));
                state.seen = next.filter(|next| self.generations.now().is_ok_and(|now| now == *next));
                Ok(())
            }
            Err(ApplyError { error, is_as_before }) => {
                // One that was too slow may have done it all the same.
                state.is_sure = state.is_sure && is_as_before;
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
        let mut guard = self.state.lock().await;
        let state = &mut *guard;
        if state.down == down {
            return Ok(());
        }
        let change = state.rules.follow_down(&state.document, &state.down, &down);
        if let Err(error) = self.filter(state, change).await {
            state.rules.follow_down(&state.document, &down, &state.down);
            if !state.is_sure {
                self.go_back(state).await;
            }
            return Err(error);
        }
        state.down = down;
        self.set_http(Model::of(&state.document, &state.down));
        Ok(())
    }
}

/// SHA-256 of rules, without what counts.
fn hash_of(ruleset: &Ruleset, shape: &Shape) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(format!("{ruleset:?}\n{shape:?}")).into())
}

fn internal(error: &dyn std::error::Error) -> WireError {
    WireError::new(ErrorCode::Internal, chain(error))
}

/// An error with all that has led to it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
