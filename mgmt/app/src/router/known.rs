//! What is known of the routers that there are: the document that each has, what has changed since, and what it said of itself.
//!
//! A document is read from the database whole once, when its router is first spoken to. From then on the stream of changes says
//! which rows have changed, and only these are read again: so a change costs what it is, however many rules there are. What is
//! told has the number of the last change before it was read, so that what is told later has a greater one. Nothing here has
//! to last: whoever starts anew reads all once more, and tells it whole.
//!
//! Refused: the document, or its generation, as a column. Every use case that touches a VM, a network or a rule would have to
//! remember to write it, and to pay for that; and the two could come to differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use podzol_appliance_api::{Document, RouterStatus};
use podzol_mgmt_api::Timestamp;
use podzol_mgmt_db::{change, router};
use podzol_vocab::{AccountId, Generation, VmId};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::watch::AT_ONCE;

/// How many rows are noted one by one. With more, all is read once more.
const MOST_NOTED: usize = 4096;

/// Which rows have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dirty {
    /// So many that nobody has noted which.
    pub(crate) all: bool,
    /// The router's own interfaces, its networks, or its public addresses.
    pub(crate) sides: bool,
    pub(crate) vms: BTreeSet<VmId>,
    /// Rules of any kind.
    pub(crate) rules: BTreeSet<String>,
}

impl Dirty {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Has them once more, because they were not told.
    fn add(&mut self, other: Self) {
        self.all |= other.all;
        self.sides |= other.sides;
        self.vms.extend(other.vms);
        self.rules.extend(other.rules);
        self.bound();
    }

    /// Notes a change. Says whether it was not noted before.
    fn note(&mut self, change: &change::Model) -> bool {
        if self.all {
            return false;
        }
        let is_new = match change.kind.as_str() {
            "vm" => change.object_id.parse().is_ok_and(|vm| self.vms.insert(vm)),
            "network" | "public-ip" | "router" | "zone" => !std::mem::replace(&mut self.sides, true),
            "port-forward" | "static-nat" | "firewall-rule" | "egress-rule" | "load-balancer" => {
                self.rules.insert(change.object_id.clone())
            }
            _ => false,
        };
        self.bound();
        is_new
    }

    fn bound(&mut self) {
        if self.vms.len() + self.rules.len() > MOST_NOTED {
            *self = Self { all: true, ..Self::default() };
        }
    }
}

/// What is known of one router's VM.
#[derive(Debug)]
pub(crate) struct Known {
    dirty: Mutex<Dirty>,
    /// Whether somebody tells it whatever it should be told, as long as there is something.
    pub(super) being_told: AtomicBool,
    /// Whether it is being looked at in a round.
    pub(super) being_looked_at: AtomicBool,
    /// How often something that is to be told was noted.
    noted: AtomicU64,
    /// How often it had been before it could last not be told.
    failed_at: AtomicU64,
    /// Held while it is told something: one at a time.
    pub(crate) told: tokio::sync::Mutex<Option<Document>>,
    heard: Mutex<Heard>,
}

/// What a router has said of itself.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) status: Option<RouterStatus>,
    /// When it said so.
    pub(crate) at: Option<Timestamp>,
    /// When it last answered, or was first asked.
    pub(crate) last: Instant,
    /// When it was first asked something after that.
    pub(super) unanswered: Option<Instant>,
    /// The generation that should be in force.
    pub(crate) wanted: Option<Generation>,
    /// The generation that is in force.
    pub(crate) in_force: Option<Generation>,
    /// Why it does not take what it is told.
    pub(crate) refuses: Option<String>,
    /// Why it could not be told something, as long as that is so.
    pub(super) untold: Option<Hitch>,
    /// When its VM was last started, or replaced, because it did not run and should.
    pub(super) brought_back: Option<Instant>,
    /// When what it has counted was last kept.
    pub(super) counted: Option<Instant>,
    /// The generation of its VM for whose end it was asked what it has counted.
    pub(super) asked_at_last: Option<i64>,
    /// When it was last to be replaced before its identity ends.
    pub(crate) renewed: Option<Instant>,
    /// When one that balances HTTP was last to take its place.
    pub(crate) upgraded: Option<Instant>,
    /// The balancers of HTTP that it does not take, by their ids.
    pub(crate) aside: BTreeMap<String, Aside>,
}

/// A router that could not be told something.
#[derive(Debug, Clone)]
pub(super) struct Hitch {
    pub(super) since: Instant,
    pub(super) why: String,
}

impl Heard {
    /// For how long it has not answered who asks. Nobody asks while this service stands still.
    pub(crate) fn silent(&self) -> Duration {
        self.unanswered.map(|since| since.elapsed()).unwrap_or_default()
    }
}

/// A balancer that a router is not told of.
#[derive(Debug, Clone)]
pub(crate) struct Aside {
    /// Why the router does not take it.
    pub(crate) why: String,
    /// When it is tried again though nobody has changed it: if the router did not say that it is this one.
    pub(super) until: Option<Instant>,
}

impl Known {
    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn dirty(&self) -> MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something is to be told at once: what could not be told waits until there is more, or for the next look.
    pub(super) fn is_waiting(&self) -> bool {
        !self.dirty().is_empty()
            && self.noted.load(Ordering::Acquire) != self.failed_at.load(Ordering::Acquire)
    }

    /// How often something was noted, to be given to [`Known::could_not_be_told`].
    pub(super) fn noted(&self) -> u64 {
        self.noted.load(Ordering::Acquire)
    }

    /// What was noted until then could not be told.
    pub(super) fn could_not_be_told(&self, noted: u64) {
        self.failed_at.store(noted, Ordering::Release);
    }

    /// Notes a change. Says whether it was not noted before.
    fn note(&self, change: &change::Model) -> bool {
        let is_new = self.dirty().note(change);
        self.count(is_new)
    }

    /// Notes that its own sides have changed.
    fn note_sides(&self) -> bool {
        self.dirty().sides = true;
        self.count(true)
    }

    /// Notes that all is to be told anew.
    pub(super) fn all_is_new(&self) {
        self.dirty().all = true;
        self.count(true);
    }

    fn count(&self, is_new: bool) -> bool {
        if is_new {
            self.noted.fetch_add(1, Ordering::AcqRel);
        }
        is_new
    }

    /// Has those be told again that it was time to try again.
    pub(super) fn try_again(&self) {
        let due: Vec<String> = {
            let mut heard = self.heard();
            let is_due = |aside: &Aside| aside.until.is_some_and(|until| until <= Instant::now());
            heard.aside.extract_if(.., |_, aside| is_due(aside)).map(|(id, _)| id).collect()
        };
        if !due.is_empty() {
            self.dirty().rules.extend(due);
            self.count(true);
        }
    }

    /// Takes what has changed, to be told.
    pub(super) fn take(&self) -> Untold<'_> {
        let dirty = std::mem::take(&mut *self.dirty());
        Untold { known: self, dirty }
    }
}

/// What a router is being told. If that does not come to its end, whatever ends it, it is still to be told.
#[derive(Debug)]
pub(super) struct Untold<'a> {
    known: &'a Known,
    pub(super) dirty: Dirty,
}

impl Untold<'_> {
    /// It has been told.
    pub(super) fn done(&mut self) {
        self.dirty = Dirty::default();
    }
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        self.known.dirty().add(std::mem::take(&mut self.dirty));
    }
}

/// All routers' VMs that are known.
#[derive(Debug)]
pub(crate) struct Routers {
    known: Mutex<All>,
    /// Who has one looks at a router.
    pub(super) looks: Semaphore,
    /// The last change that was noted. Held while changes are noted.
    pub(super) seen: tokio::sync::Mutex<Option<i64>>,
    /// Somebody should look at them soon.
    pub(crate) wake: Notify,
}

#[derive(Debug, Default)]
struct All {
    known: HashMap<VmId, Arc<Known>>,
    of_account: HashMap<AccountId, BTreeSet<VmId>>,
}

impl Default for Routers {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            looks: Semaphore::new(AT_ONCE),
            seen: tokio::sync::Mutex::default(),
            wake: Notify::new(),
        }
    }
}

impl Routers {
    fn all(&self) -> MutexGuard<'_, All> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a router's VM, from now on if nothing was.
    pub(crate) fn of(&self, row: &router::Model, vm: VmId) -> Arc<Known> {
        let account = row.account_id.0;
        let known = || {
            Arc::new(Known {
                dirty: Mutex::default(),
                being_told: AtomicBool::new(false),
                being_looked_at: AtomicBool::new(false),
                noted: AtomicU64::new(0),
                failed_at: AtomicU64::new(u64::MAX),
                told: tokio::sync::Mutex::default(),
                heard: Mutex::new(Heard {
                    status: None,
                    at: None,
                    last: Instant::now(),
                    unanswered: None,
                    wanted: None,
                    in_force: None,
                    refuses: None,
                    untold: None,
                    brought_back: None,
                    counted: None,
                    asked_at_last: None,
                    renewed: None,
                    upgraded: None,
                    aside: BTreeMap::new(),
                }),
            })
        };
        let mut all = self.all();
        all.of_account.entry(account).or_default().insert(vm);
        Arc::clone(all.known.entry(vm).or_insert_with(known))
    }

    /// What is known of a VM that may be a router's.
    pub(crate) fn get(&self, vm: VmId) -> Option<Arc<Known>> {
        self.all().known.get(&vm).cloned()
    }

    /// Forgets all VMs but these.
    pub(crate) fn keep(&self, vms: &BTreeSet<VmId>) {
        let mut all = self.all();
        all.known.retain(|vm, _| vms.contains(vm));
        all.of_account.retain(|_, own| {
            own.retain(|vm| vms.contains(vm));
            !own.is_empty()
        });
    }

    /// Those of which something has changed that nobody tells them.
    pub(super) fn to_be_told(&self) -> Vec<VmId> {
        let is_waiting = |known: &Known| !known.being_told.load(Ordering::Acquire) && known.is_waiting();
        let all = self.all();
        all.known.iter().filter(|(_, known)| is_waiting(known)).map(|(vm, _)| *vm).collect()
    }

    /// Notes what has changed. Says whether anything has that is to be told.
    pub(super) fn note(&self, changes: &[change::Model]) -> bool {
        let all = self.all();
        let mut any = false;
        for change in changes {
            let itself = change.object_id.parse().ok().filter(|_| change.kind == "vm");
            if let Some(known) = itself.and_then(|vm: VmId| all.known.get(&vm)) {
                any |= known.note_sides();
            } else if change.kind == "zone" {
                any |= all.known.values().fold(false, |any, known| known.note(change) | any);
            } else if let Some(account) = &change.account_id {
                let own = all.of_account.get(&account.0).into_iter().flatten();
                any |= own.fold(false, |any, vm| all.known[vm].note(change) | any);
            }
        }
        any
    }
}
