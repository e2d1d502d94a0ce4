//! What was heard of leases since the router's start, for people who look for what is wrong. Nothing depends on it.
//!
//! Only clients that the document knows are noted, and those that leave it are forgotten, so that it holds no more than two
//! entries for each interface.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use podzol_appliance_api::{Document, Lease, LeaseEvent, Said};
use podzol_appliance_dhcp::v6::Gives;
use podzol_appliance_dhcp::{EventKind, ReplyKind};
use podzol_vocab::{MacAddr, NetworkId};
use tokio::time::Instant;

use crate::links::Family;

type Client = (NetworkId, MacAddr, Family);

/// What was heard of a lease.
#[derive(Debug, Clone, Copy)]
struct Heard {
    last: (LeaseEvent, Instant),
    acked: Option<Instant>,
    /// When it was last to be logged that the client said so, for each thing that it can say.
    logged: [Option<Instant>; 2],
}

/// How often what a client says is logged: the log holds little, and a VM can say it without end.
const LOGGED_EVERY: Duration = Duration::from_secs(60);

/// What was heard of all leases. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leases(Arc<Mutex<HashMap<Client, Heard>>>);

impl Leases {
    /// Notes what a client was answered over IPv4. A client that is relayed is of its relay's link here.
    pub(super) fn replied(&self, network: NetworkId, mac: MacAddr, kind: ReplyKind) {
        let event = match kind {
            ReplyKind::Offer => LeaseEvent::Offered,
            ReplyKind::Ack => LeaseEvent::Acked,
            ReplyKind::Nak => LeaseEvent::Refused,
            ReplyKind::Information { .. } => return,
        };
        self.note((network, mac, Family::V4), event);
    }

    /// Notes what a client was given over IPv6.
    pub(super) fn gave(&self, network: NetworkId, mac: MacAddr, gives: Gives) {
        let event = match gives {
            Gives::Nothing => return,
            Gives::Offer => LeaseEvent::Offered,
            Gives::Address => LeaseEvent::Acked,
        };
        self.note((network, mac, Family::V6), event);
    }

    /// Notes what a client said of its address. Says whether that is to be logged.
    pub(super) fn said(&self, network: NetworkId, mac: MacAddr, family: Family, kind: EventKind) -> bool {
        let (event, number) = match kind {
            EventKind::Released => (LeaseEvent::Released, 0),
            EventKind::Declined => (LeaseEvent::Declined, 1),
        };
        self.note((network, mac, family), event);
        let (mut all, now) = (self.all(), Instant::now());
        let Some(heard) = all.get_mut(&(network, mac, family)) else { return false };
        let logged = &mut heard.logged[number];
        let is_due = logged.is_none_or(|logged| now - logged >= LOGGED_EVERY);
        if is_due {
            *logged = Some(now);
        }
        is_due
    }

    fn note(&self, client: Client, event: LeaseEvent) {
        let now = Instant::now();
        let mut all = self.all();
        let new = Heard { last: (event, now), acked: None, logged: [None; 2] };
        let heard = all.entry(client).or_insert(new);
        heard.last = (event, now);
        if event == LeaseEvent::Acked {
            heard.acked = Some(now);
        }
    }

    /// Forgets whom the document does not know.
    pub(super) fn keep(&self, document: &Document) {
        let known: HashSet<_> = document.nics.values().map(|nic| (nic.network, nic.mac)).collect();
        self.all().retain(|(network, mac, _), _| known.contains(&(*network, *mac)));
    }

    /// All addresses of a document, with what was heard of them, by network and address.
    pub(crate) fn shown(&self, document: &Document) -> Vec<Lease> {
        let all = self.all();
        let families = document.nics.values().flat_map(|nic| {
            let six = nic.address6.map(|address| (nic, Family::V6, address.into()));
            [Some((nic, Family::V4, nic.address.into())), six].into_iter().flatten()
        });
        let lease = families.map(|(nic, family, address)| {
            let heard = all.get(&(nic.network, nic.mac, family));
            Lease {
                network: nic.network,
                vm: nic.vm,
                mac: nic.mac,
                address,
                acked_secs_ago: heard.and_then(|heard| heard.acked).map(|acked| acked.elapsed().as_secs()),
                last: heard
                    .map(|heard| Said { what: heard.last.0, secs_ago: heard.last.1.elapsed().as_secs() }),
            }
        });
        let mut leases: Vec<Lease> = lease.collect();
        leases.sort_by_key(|lease| (lease.network, lease.address));
        leases
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Client, Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_client_says_without_end_is_logged_once_a_minute() {
        let (leases, network) = (Leases::default(), NetworkId::new());
        let says =
            |last: u8, kind| leases.said(network, MacAddr::local([2, 0, 0, 0, 0, last]), Family::V4, kind);
        assert!(says(1, EventKind::Released));
        assert!(!says(1, EventKind::Released));
        assert!(says(1, EventKind::Declined), "something else");
        assert!(says(2, EventKind::Released), "another client");
        tokio::time::advance(LOGGED_EVERY).await;
        assert!(says(1, EventKind::Released));
        assert!(!says(1, EventKind::Released));
    }
}
