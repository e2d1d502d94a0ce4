//! The real nft and the real kernel, each test with a router in network namespaces of its own.
//!
//! They need root, nft, ip, veth, and a kernel with nf_tables; without them they fail and say what is missing.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod balancers;
mod churn;
mod firewall;
mod ipv6;
mod limit;
mod nat;
mod router;
#[path = "../sample/mod.rs"]
mod sample;
mod services;
mod upkeep;

use std::net::Ipv4Addr;

use podzol_appliance_api::{Document, StaticNat, Traffic};
use podzol_vocab::{FirewallRuleId, PortForwardId, StaticNatId};
use sample::{OWN, PUBLIC, STATIC, WEB, forward, ingress};

pub(crate) const ALL: &[&str] = &["0.0.0.0/0"];
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);

pub(crate) fn with_ingress(mut document: Document, traffic: Traffic, sources: &[&str]) -> Document {
    for public in [PUBLIC, STATIC] {
        document.ingress.insert(FirewallRuleId::new(), ingress(public, sources, traffic));
    }
    document
}

pub(crate) fn with_forward(mut document: Document) -> Document {
    document.port_forwards.insert(PortForwardId::new(), forward("80", WEB, 8080));
    document
}

pub(crate) fn with_static(mut document: Document) -> Document {
    document.static_nats.insert(StaticNatId::new(), StaticNat { public: STATIC, to: OWN });
    document
}
