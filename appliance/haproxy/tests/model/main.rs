//! From documents to configurations and commands, without a process of haproxy.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod blames;
mod changes;
mod configuration;
mod numbers;

use std::collections::{BTreeMap, BTreeSet};

use podzol_appliance_api::{Document, HttpBalancer, Member, Method, Termination};
use podzol_appliance_haproxy::Model;
use podzol_vocab::{LoadBalancerId, NicId, Secret};

pub(crate) const PLAIN: LoadBalancerId = LoadBalancerId::from_bytes([1; 16]);
pub(crate) const SECURE: LoadBalancerId = LoadBalancerId::from_bytes([2; 16]);

pub(crate) fn nic(number: u8) -> NicId {
    NicId::from_bytes([number; 16])
}

pub(crate) fn member(last: u8, weight: u8) -> (NicId, Member) {
    (nic(last), Member { address: [10, 1, 1, last].into(), port: 80, weight, drains: false })
}

pub(crate) fn balancer(port: u16, members: &[(NicId, Member)]) -> HttpBalancer {
    HttpBalancer {
        public: [203, 0, 113, 10].into(),
        port,
        method: Method::RoundRobin,
        members: members.iter().cloned().collect(),
        check: None,
        cookie: None,
        tls: None,
        max_connections: 2000,
        idle_secs: 60,
    }
}

/// One that hides nothing and one that does.
pub(crate) fn document() -> Document {
    let tls = Termination { certificates: "A CHAIN".into(), key: Secret::new("A KEY".into()) };
    let secure = HttpBalancer {
        method: Method::SourceHash,
        cookie: Some("SRV".parse().unwrap()),
        tls: Some(tls),
        max_connections: 100,
        idle_secs: 7,
        ..balancer(443, &[member(2, 30), member(3, 10), member(4, 1)])
    };
    let http_balancers = [(PLAIN, balancer(80, &[member(2, 1)])), (SECURE, secure)].into();
    Document { http_balancers, ..Document::default() }
}

pub(crate) fn change(document: &mut Document, nic: NicId, change: impl FnOnce(&mut Member)) {
    change(document.http_balancers.get_mut(&SECURE).unwrap().members.get_mut(&nic).unwrap());
}

/// The model while all members work.
pub(crate) fn model(document: &Document) -> Model {
    Model::of(document, &BTreeSet::new())
}

pub(crate) fn only(balancer: HttpBalancer) -> Document {
    Document { http_balancers: BTreeMap::from([(SECURE, balancer)]), ..Document::default() }
}
