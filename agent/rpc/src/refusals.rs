//! Who was refused by an agent and why, until the management service has heard of it.
//!
//! An agent keeps no record of its own: what it refused goes with its next report, and becomes an event there. Whoever
//! knocks costs a bounded amount of memory; what does not fit is in the log.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use podzol_vocab::{ErrorCode, WireError};
use serde::{Deserialize, Serialize};

use crate::endpoint::refuse;
use crate::server::OnRefused;
use crate::{Caller, PeerId};

/// The most that are remembered, and told at a time: each address with each reason.
pub const MOST: usize = 64;

/// The most characters of a reason: a part of it may be the caller's.
pub const LONGEST: usize = 200;

/// Somebody who was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Where the caller was.
    pub address: IpAddr,
    /// Why it was refused.
    pub reason: String,
    /// How often, since this was told last.
    pub times: u64,
}

/// What was refused and is still to be told. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Arc<Mutex<BTreeMap<(IpAddr, String), u64>>>);

impl Refusals {
    /// Notes a refusal.
    pub fn note(&self, address: SocketAddr, reason: &str) {
        tracing::warn!(%address, reason, "refused a caller");
        let reason = reason.chars().take(LONGEST).collect();
        self.put_back(vec![Refusal { address: address.ip(), reason, times: 1 }]);
    }

    /// What is to be told; it is as told from now on.
    pub fn take(&self) -> Vec<Refusal> {
        let taken = std::mem::take(&mut *self.all());
        taken.into_iter().map(|((address, reason), times)| Refusal { address, reason, times }).collect()
    }

    /// Has what was taken be told later, as nobody has heard it.
    pub fn put_back(&self, refusals: Vec<Refusal>) {
        let mut all = self.all();
        for Refusal { address, reason, times } in refusals {
            let key = (address, reason);
            if all.contains_key(&key) || all.len() < MOST {
                *all.entry(key).or_default() += times;
            }
        }
    }

    /// Notes connections that do not get in.
    pub fn of_connections(&self) -> OnRefused {
        let refusals = self.clone();
        Arc::new(move |address, reason| refusals.note(address, &reason))
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<(IpAddr, String), u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the management service through and nobody else, as a layer of an agent's routes.
pub async fn management_alone(State(refusals): State<Refusals>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>();
    match caller.and_then(Caller::peer) {
        Some(PeerId::Management) => next.run(request).await,
        other => {
            if let Some(caller) = caller {
                let who = other.map_or("somebody without a certificate".to_owned(), |peer| peer.to_string());
                refusals.note(caller.address, &format!("{who} asked, and only the management service may"));
            }
            refuse(&WireError::new(ErrorCode::Refused, "only the management service may ask"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 1000 + u16::from(last)))
    }

    #[test]
    fn a_refusal_is_told_once_and_again_if_nobody_has_heard_it() {
        let refusals = Refusals::default();
        refusals.note(at(1), "a stranger");
        refusals.note(at(1), "a stranger");
        let told = refusals.take();
        assert_eq!(told, [Refusal { address: at(1).ip(), reason: "a stranger".into(), times: 2 }]);
        assert!(refusals.take().is_empty());

        refusals.note(at(1), "a stranger");
        refusals.put_back(told);
        assert_eq!(refusals.take()[0].times, 3);
    }

    #[test]
    fn whoever_knocks_costs_a_bounded_amount_of_memory() {
        let refusals = Refusals::default();
        for number in 0..1000 {
            refusals.note(at(1), &format!("{number}{}", "x".repeat(1000)));
        }
        let told = refusals.take();
        assert_eq!(told.len(), MOST);
        assert!(told.iter().all(|refusal| refusal.reason.len() == LONGEST));
    }
}
