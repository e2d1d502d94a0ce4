//! Where connections go and come from.

use std::collections::BTreeSet;

use podzol_appliance_api::{Document, PortForward, Transport};
use podzol_vocab::{LoadBalancerId, NicId};

use super::{Ruleset, Set};
use crate::balancer::{Chain, chain_name};

impl Ruleset {
    pub(super) fn add_forwards(&mut self, document: &Document) {
        for forward in document.port_forwards.values() {
            let PortForward { public, transport, ports, to, to_port } = forward;
            if ports.count() > 1 && ports.first() == *to_port {
                self.map(Set::ForwardRange, format_args!("{public} . {transport} . {ports}"), to);
                continue;
            }
            for (port, to_port) in (ports.first()..=ports.last()).zip(*to_port..=u16::MAX) {
                let key = format!("{public} . {transport} . {port}");
                self.map(Set::ForwardPort, key, format_args!("{to} . {to_port}"));
            }
        }
        for nat in document.static_nats.values() {
            self.map(Set::StaticIn, nat.public, nat.to);
        }
    }

    pub(super) fn add_balancers(&mut self, document: &Document, down: &BTreeSet<(LoadBalancerId, NicId)>) {
        for (id, balancer) in &document.balancers {
            let key = format!("{} . {} . {}", balancer.public, balancer.transport, balancer.port);
            match Chain::of(*id, balancer, down) {
                Some(chain) => {
                    self.map(Set::Balancers, key, format_args!("goto {}", chain_name(*id)));
                    self.chains.insert(*id, Some(chain));
                }
                // UDP has no reset; its packets go to the router itself, which drops them.
                None if balancer.transport == Transport::Udp => {}
                None => self.add(Set::Refused, key),
            }
        }
    }

    pub(super) fn add_sources(&mut self, document: &Document) {
        for nat in document.static_nats.values() {
            self.map(Set::StaticOut, nat.to, nat.public);
        }
        for guest in document.guests.values() {
            if let Some(public) = guest.source_nat {
                self.map(Set::SourceNat, guest.cidr, public);
            }
        }
    }
}
