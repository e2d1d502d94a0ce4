//! What may come in and go out, of both families.

use ipnet::{Ipv4Net, Ipv6Net};
use podzol_appliance_api::{Document, EgressPolicy, EgressRule, EgressRule6, IngressRule, IngressRule6};
use podzol_appliance_pieces::{
    Areas, Net, Piece, Protocol, Rule, TooMany, Way, egress, egress6, ingress, ingress6,
};

use super::Rules;
use crate::ruleset::Set;
use crate::written::{Addresses, Ports};

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Ingress,
    Egress,
}

/// Where the rules of a family stand.
trait Firewall: Net {
    /// What comes in and what goes out, as fields of a document.
    const FIELDS: [&'static str; 2];
    /// What comes in: a port for everybody, some of a protocol, and all protocols.
    const INGRESS: [Set; 3];
    /// What goes out: some of a protocol, and all protocols.
    const EGRESS: [Set; 2];

    /// The link that stands for a prefix in the set of whole networks' ports.
    fn link(self, rules: &Rules) -> Option<String>;

    fn areas(rules: &mut Rules, side: Side) -> &mut Areas<Self>;
}

impl Firewall for Ipv4Net {
    const FIELDS: [&'static str; 2] = ["ingress", "egress"];
    const INGRESS: [Set; 3] = [Set::IngressPort, Set::Ingress, Set::IngressAll];
    const EGRESS: [Set; 2] = [Set::Egress, Set::EgressAll];

    /// None has: a public address is no network.
    fn link(self, _: &Rules) -> Option<String> {
        None
    }

    fn areas(rules: &mut Rules, side: Side) -> &mut Areas<Self> {
        match side {
            Side::Ingress => &mut rules.ingress,
            Side::Egress => &mut rules.egress,
        }
    }
}

impl Firewall for Ipv6Net {
    const FIELDS: [&'static str; 2] = ["ingress6", "egress6"];
    const INGRESS: [Set; 3] = [Set::IngressPort6, Set::Ingress6, Set::IngressAll6];
    const EGRESS: [Set; 2] = [Set::Egress6, Set::EgressAll6];

    fn link(self, rules: &Rules) -> Option<String> {
        rules.prefixes.get(&self).map(|link| format!("\"{link}\""))
    }

    fn areas(rules: &mut Rules, side: Side) -> &mut Areas<Self> {
        match side {
            Side::Ingress => &mut rules.ingress6,
            Side::Egress => &mut rules.egress6,
        }
    }
}

impl Rules {
    /// All rules at once.
    pub(super) fn add_firewall(&mut self, document: &Document) {
        self.add_all(Side::Ingress, document.ingress.values().flat_map(ingress));
        self.add_all(Side::Egress, document.egress.values().flat_map(egress));
        self.add_all(Side::Ingress, document.ingress6.values().flat_map(ingress6));
        self.add_all(Side::Egress, document.egress6.values().flat_map(egress6));
    }

    fn add_all<A: Firewall>(&mut self, side: Side, rules: impl Iterator<Item = Rule<A>>) {
        match Areas::of(rules) {
            Ok((areas, pieces)) => {
                *A::areas(self, side) = areas;
                pieces.into_iter().for_each(|piece| self.piece(side, Way::In, piece));
            }
            Err(TooMany) => self.too_many = Some(A::FIELDS[side as usize]),
        }
    }

    pub(super) fn ingress(&mut self, way: Way, rule: &IngressRule) {
        self.change(Side::Ingress, way, ingress(rule));
    }

    pub(super) fn egress(&mut self, way: Way, rule: &EgressRule) {
        self.change(Side::Egress, way, egress(rule));
    }

    pub(super) fn ingress6(&mut self, way: Way, rule: &IngressRule6) {
        self.change(Side::Ingress, way, ingress6(rule));
    }

    pub(super) fn egress6(&mut self, way: Way, rule: &EgressRule6) {
        self.change(Side::Egress, way, egress6(rule));
    }

    fn change<A: Firewall>(&mut self, side: Side, way: Way, rule: impl Iterator<Item = Rule<A>>) {
        match exchanges(A::areas(self, side), way, rule) {
            Ok(exchanges) => {
                for (way, piece) in exchanges {
                    self.piece(side, way, piece);
                }
            }
            Err(TooMany) => self.too_many = Some(A::FIELDS[side as usize]),
        }
    }

    /// A source is in one network only, so that its policy says what all of its exceptions mean.
    pub(super) fn add_networks(&mut self, document: &Document) {
        for guest in document.guests.values() {
            let chain = match guest.egress {
                EgressPolicy::Allow => "goto egress_allow",
                EgressPolicy::Deny => "goto egress_deny",
            };
            self.edit(Way::In, Set::EgressPolicy, guest.cidr, Some(chain.to_owned()));
            if let Some(prefix) = guest.prefix6 {
                self.edit(Way::In, Set::EgressPolicy6, prefix, Some(chain.to_owned()));
            }
            if let Some(public) = guest.source_nat {
                self.edit(Way::In, Set::SourceNat, guest.cidr, Some(public.to_string()));
            }
        }
    }

    fn piece<A: Firewall>(&mut self, side: Side, way: Way, piece: Piece<A>) {
        match side {
            Side::Ingress => self.ingress_piece(way, piece),
            Side::Egress => self.egress_piece(way, piece),
        }
    }

    fn ingress_piece<A: Firewall>(&mut self, way: Way, piece: Piece<A>) {
        let [of_port, some, all] = A::INGRESS;
        let Piece { outer, protocol, ports, inner } = piece;
        let (to, name) = (outer.span(), protocol.name());
        let is_of_port = inner == A::default().span()
            && ports.first == ports.last
            && matches!(protocol, Protocol::Tcp | Protocol::Udp);
        let link = outer.link(self).filter(|_| is_of_port);
        let (is_one, to, from, ports) = (to.first == to.last, Addresses(to), Addresses(inner), Ports(ports));
        match link {
            Some(link) => self.edit(way, Set::IngressLink6, format_args!("{link} . {name} . {ports}"), None),
            None if protocol == Protocol::Any => self.edit(way, all, format_args!("{to} . {from}"), None),
            None if is_of_port && is_one => {
                self.edit(way, of_port, format_args!("{to} . {name} . {ports}"), None);
            }
            None => self.edit(way, some, format_args!("{to} . {name} . {ports} . {from}"), None),
        }
    }

    fn egress_piece<A: Firewall>(&mut self, way: Way, piece: Piece<A>) {
        let [some, all] = A::EGRESS;
        let Piece { outer, protocol, ports, inner } = piece;
        let (from, to, ports) = (Addresses(outer.span()), Addresses(inner), Ports(ports));
        match protocol {
            Protocol::Any => self.edit(way, all, format_args!("{from} . {to}"), None),
            _ => {
                let name = protocol.name();
                self.edit(way, some, format_args!("{from} . {name} . {ports} . {to}"), None);
            }
        }
    }
}

/// The pieces that go out and come in, in order, when parts of a rule go or come. All are known before any is told: as elements
/// they take much more memory.
fn exchanges<A: Firewall>(
    areas: &mut Areas<A>,
    way: Way,
    rule: impl Iterator<Item = Rule<A>>,
) -> Result<Vec<(Way, Piece<A>)>, TooMany> {
    let mut all = Vec::new();
    for part in rule {
        let (gone, new) = areas.change(way, part)?;
        all.extend(gone.into_iter().map(|piece| (Way::Out, piece)));
        all.extend(new.into_iter().map(|piece| (Way::In, piece)));
    }
    Ok(all)
}
