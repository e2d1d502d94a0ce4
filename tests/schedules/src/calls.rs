//! Who decides what becomes of calls.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use podzol_rpc::PeerId;
use podzol_rpc::weather::{self, Call, Fate};
use podzol_sim::{Fault, Step};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use crate::world::{Part, World};

/// What goes wrong at one call of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The call meets this fate.
    Call(Fate),
    /// The call arrives again when something newer has been asked for.
    Overtaken,
    /// A part is killed when the call sets out; the call meets this fate.
    Kill(Whom, Fate),
}

/// What goes wrong at one step that an agent takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// The hypervisor fails at it once.
    Fails,
    /// The hypervisor gives no answer once.
    NoAnswer,
    /// The hypervisor does it, and its answer is lost once.
    Unheard,
    /// The agent is killed in it.
    AgentDies,
}

/// All that can go wrong at a step.
pub(crate) const MISHAPS: [Mishap; 4] = [Mishap::Fails, Mishap::NoAnswer, Mishap::Unheard, Mishap::AgentDies];

impl Mishap {
    pub(crate) fn can_happen_at(self, step: Step) -> bool {
        self != Self::Unheard || Step::WITH_EFFECT.contains(&step)
    }

    /// Has it happen at this step, on whichever server comes to it.
    pub(crate) fn arrange(self, world: &World, step: Step) {
        let fault = match self {
            Self::Fails => Fault::Fails(1),
            Self::NoAnswer => Fault::NoAnswer(1),
            Self::Unheard => Fault::Unheard(1),
            Self::AgentDies => Fault::Hangs,
        };
        world.fault(step, fault);
    }

    /// Has it be over. The agent that dies of what a web server does is the one that imports from it.
    pub(crate) fn end(self, world: &mut World, step: Step) {
        let of_hosts = Step::OF_HYPERVISOR.contains(&step) || Step::OF_HOST.contains(&step);
        let parts: Vec<Part> = match self {
            Self::AgentDies if of_hosts => (0..world.pod.hosts.len()).map(Part::Agent).collect(),
            Self::AgentDies => vec![Part::Storage],
            _ => vec![],
        };
        parts.iter().for_each(|part| world.end(*part));
        world.heal(step);
        parts.iter().for_each(|part| world.start_agent(*part));
    }
}

/// Who is killed at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    Caller,
    Called,
}

/// All that can go wrong at a call.
pub(crate) const TROUBLES: [Trouble; 12] = [
    Trouble::Call(Fate::IsLost),
    Trouble::Call(Fate::AnswerIsLost),
    Trouble::Call(Fate::ArrivesTwice),
    Trouble::Call(Fate::ArrivesAgain(Duration::from_secs(2))),
    Trouble::Call(Fate::IsLate(Duration::from_secs(3))),
    Trouble::Call(Fate::NeverArrives),
    Trouble::Call(Fate::IsNeverAnswered),
    Trouble::Overtaken,
    Trouble::Kill(Whom::Caller, Fate::NeverArrives),
    Trouble::Kill(Whom::Caller, Fate::IsNeverAnswered),
    Trouble::Kill(Whom::Called, Fate::NeverArrives),
    Trouble::Kill(Whom::Called, Fate::Arrives),
];

/// What can go wrong with a stream besides: before its first byte has come, and in the middle of a VM's memory.
pub(crate) const STREAM_TROUBLES: [Trouble; 5] = [
    Trouble::Call(Fate::Breaks(0)),
    Trouble::Call(Fate::Stalls(0)),
    Trouble::Call(Fate::Stalls(8)),
    Trouble::Call(Fate::Breaks(1 << 19)),
    Trouble::Call(Fate::Stalls(1 << 19)),
];

/// Whether a step, as [`Counted`] has it, is a stream between two hosts.
pub(crate) fn is_stream(step: &str) -> bool {
    step.contains("/arrival/")
}

/// When a call that is overtaken arrives again.
const OVERTAKEN: Duration = Duration::from_secs(3);

/// Calls since it was made, those that count.
#[derive(Clone, Default)]
pub(crate) struct Counted(Arc<Mutex<Vec<String>>>);

impl Counted {
    /// The calls that were made, each as a line.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.all().clone()
    }

    /// Counts a call: its number, from 1.
    fn count(&self, call: &Call) -> usize {
        let mut calls = self.all();
        calls.push(format!("{} {}", call.method, call.path));
        calls.len()
    }

    fn all(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a call is a step of a flow. Reports are made at any time, and the doctor looks at any time.
fn is_step(call: &Call) -> bool {
    // Which hosts carry a network is told beside what goes on, at no moment that a flow knows.
    if call.path.ends_with("/peers") {
        return false;
    }
    call.path == "/v1/join"
        || call.peer != PeerId::Management && (call.method != "GET" || call.path.starts_with("/v1/vms/"))
}

/// Has the calls of these numbers go wrong, each in its way; counts all.
pub(crate) fn trouble_at(world: &World, troubles: &[(usize, Trouble)]) -> Counted {
    let troubles: HashMap<usize, Trouble> = troubles.iter().copied().collect();
    let counted = Counted::default();
    let (count, killer) = (counted.clone(), world.killer.clone());
    let peers = world.pod.hosts.iter().map(|host| host.peer()).chain([PeerId::Management]);
    let parts: HashMap<PeerId, Part> = peers.map(|peer| (peer, world.part_of(peer))).collect();
    weather::set(move |call| {
        if !is_step(call) {
            return Fate::Arrives;
        }
        let number = count.count(call);
        match troubles.get(&number).copied() {
            Some(Trouble::Call(fate)) => fate,
            Some(Trouble::Overtaken) => Fate::ArrivesAgain(OVERTAKEN),
            Some(Trouble::Kill(whom, fate)) => {
                let part = match whom {
                    Whom::Caller => Part::Management,
                    Whom::Called => parts.get(&call.peer).copied().unwrap_or(Part::Storage),
                };
                // The world may be gone at the end of a test.
                let _ = killer.send(part);
                fate
            }
            None => Fate::Arrives,
        }
    });
    counted
}

/// The first of two troubles in one flow: those that leave the caller in doubt.
pub(crate) const DOUBTS: [Trouble; 4] = [
    Trouble::Call(Fate::IsLost),
    Trouble::Call(Fate::AnswerIsLost),
    Trouble::Kill(Whom::Caller, Fate::IsNeverAnswered),
    Trouble::Kill(Whom::Called, Fate::Arrives),
];

/// The second of them.
pub(crate) const MORE_DOUBTS: [Trouble; 3] = [
    Trouble::Call(Fate::IsLost),
    Trouble::Call(Fate::AnswerIsLost),
    Trouble::Kill(Whom::Called, Fate::NeverArrives),
];

/// How many calls after one that went wrong are likely to go wrong too.
const BURST: u32 = 4;

/// How likely.
const IN_BURST: f64 = 0.5;

/// Has each call go wrong with this probability, as a seed decides it, and more of them after one that did. The n-th call
/// to a part draws the same in every run of the same seed.
pub(crate) fn stormy(world: &World, seed: u64, probability: f64, log: bool) {
    let numbers: Mutex<HashMap<PeerId, u64>> = Mutex::default();
    let places: HashMap<PeerId, u64> =
        (2..).zip(&world.pod.hosts).map(|(place, host)| (host.peer(), place)).collect();
    // Routers come and go: each draws as any other.
    let routers = 2 + world.pod.hosts.len() as u64;
    let burst = AtomicU32::new(0);
    let begun = Instant::now();
    weather::set(move |call| {
        let number = {
            let mut numbers = numbers.lock().unwrap_or_else(PoisonError::into_inner);
            let number = numbers.entry(call.peer).or_default();
            *number += 1;
            *number
        };
        let place = match call.peer {
            PeerId::Management => 0,
            PeerId::Router(_) => routers,
            peer => places.get(&peer).copied().unwrap_or(1),
        };
        let mut random = StdRng::seed_from_u64(seed ^ (place << 56) ^ (number << 32));
        let left = burst.load(Ordering::Relaxed);
        burst.store(left.saturating_sub(1), Ordering::Relaxed);
        let goes_wrong =
            random.random_bool(if left > 0 && probability > 0.0 { IN_BURST } else { probability });
        let fate = if goes_wrong { trouble(&mut random) } else { Fate::Arrives };
        if goes_wrong {
            burst.store(BURST, Ordering::Relaxed);
        }
        if log && place > 0 {
            let at = begun.elapsed().as_millis();
            let to = match place {
                1 => "storage".to_owned(),
                place if place == routers => "a router".to_owned(),
                place => format!("h{}", place - 1),
            };
            println!("  {at:>6} ms: {} {} to {to}: {fate:?}", call.method, call.path);
        }
        fate
    });
}

/// What becomes of a call that goes wrong.
fn trouble(random: &mut StdRng) -> Fate {
    let later = Duration::from_millis(random.random_range(100..8000));
    match random.random_range(0..9) {
        0 => Fate::IsLost,
        1 => Fate::AnswerIsLost,
        2 => Fate::ArrivesTwice,
        3 => Fate::ArrivesAgain(later),
        4 => Fate::IsLate(later),
        5 => Fate::NeverArrives,
        6 => Fate::IsNeverAnswered,
        7 => Fate::Breaks(random.random_range(0..1 << 20)),
        _ => Fate::Stalls(random.random_range(0..1 << 20)),
    }
}

/// Has all calls arrive again.
pub(crate) fn fair() {
    weather::clear();
}
