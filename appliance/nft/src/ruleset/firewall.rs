//! What may come in and go out.

use ipnet::Ipv4Net;
use podzol_appliance_api::{Document, EgressPolicy};

use super::{Ruleset, Set};
use crate::pieces::{Areas, Piece, Protocol};
use crate::span::{Addresses, Ports, Span};

const EVERYWHERE: Span = Span::new(0, u32::MAX);

impl Ruleset {
    pub(super) fn add_ingress(&mut self, document: &Document) {
        let mut areas = Areas::default();
        for rule in document.ingress.values() {
            for source in &rule.sources {
                areas.add(Ipv4Net::from(rule.public), rule.traffic, *source);
            }
        }
        for Piece { outer, protocol, ports, inner } in areas.pieces() {
            let (public, name) = (outer.addr(), protocol.name());
            match protocol {
                Protocol::Any => self.add(Set::IngressAll, format_args!("{public} . {}", Addresses(inner))),
                Protocol::Tcp | Protocol::Udp if inner == EVERYWHERE && ports.first == ports.last => {
                    self.add(Set::IngressPort, format_args!("{public} . {name} . {}", Ports(ports)));
                }
                Protocol::Tcp | Protocol::Udp | Protocol::Icmp => self.add(
                    Set::Ingress,
                    format_args!("{public} . {name} . {} . {}", Ports(ports), Addresses(inner)),
                ),
            }
        }
    }

    pub(super) fn add_egress(&mut self, document: &Document) {
        for guest in document.guests.values() {
            let chain = match guest.egress {
                EgressPolicy::Allow => "egress_allow",
                EgressPolicy::Deny => "egress_deny",
            };
            self.map(Set::EgressPolicy, guest.cidr, format_args!("goto {chain}"));
        }
        // A source is in one network only, so that its policy says what all of its exceptions mean.
        let mut areas = Areas::default();
        for rule in document.egress.values() {
            for source in &rule.sources {
                for destination in &rule.destinations {
                    areas.add(*source, rule.traffic, *destination);
                }
            }
        }
        for Piece { outer, protocol, ports, inner } in areas.pieces() {
            let (source, destination) = (Addresses(Span::of(outer)), Addresses(inner));
            match protocol {
                Protocol::Any => self.add(Set::EgressAll, format_args!("{source} . {destination}")),
                Protocol::Tcp | Protocol::Udp | Protocol::Icmp => self.add(
                    Set::Egress,
                    format_args!("{source} . {} . {} . {destination}", protocol.name(), Ports(ports)),
                ),
            }
        }
    }
}
