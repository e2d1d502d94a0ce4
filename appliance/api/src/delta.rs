//! What is different between two documents.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podzol_vocab::{
    ConsoleServerId, EgressRuleId, FirewallRuleId, Generation, LoadBalancerId, NetworkId, NicId,
    PortForwardId, StaticNatId, VmId,
};
use serde::{Deserialize, Serialize};

use crate::document::{
    Balancer, Document, GuestNetwork, Limits, LocalPort, PortForward, PublicSide, StaticNat, VmFacts, VmNic,
};
use crate::firewall::{EgressRule, EgressRule6, IngressRule, IngressRule6};
use crate::http::HttpBalancer;

/// What makes one document of another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// The generation that it begins at.
    pub from: Generation,
    /// The generation that it leads to.
    pub to: Generation,
    /// The side to the outside, if that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<PublicSide>,
    /// The name servers, if they are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarders: Option<Vec<IpAddr>>,
    /// Networks.
    #[serde(default, skip_serializing_if = "Entries::is_empty")]
    pub guests: Entries<NetworkId, GuestNetwork>,
    /// VMs.
    #[serde(default, skip_serializing_if = "Entries::is_empty")]
    pub vms: Entries<VmId, VmFacts>,
    /// Their network interfaces.
    #[serde(default, skip_serializing_if = "Entries::is_empty")]
    pub nics: Entries<NicId, VmNic>,
    /// Port forwards.
    #[serde(default, skip_serializing_if = "Entries::is_empty")]
    pub port_forwards: Entries<PortForwardId, PortForward>,
    /// Static NAT.
    #[serde(default, skip_serializing_if = "Entries::is_empty")]
    pub static_nats: Entries<StaticNatId, StaticNat>,
    /// What may come in.
    #[serde(default, skip_serializing_if = "Entries::is_empty")]
    pub ingress: Entries<FirewallRuleId, IngressRule>,
    /// Exceptions to what may go out.
    #[serde(default, skip_serializing_if = "Entries::is_empty")]
    pub egress: Entries<EgressRuleId, EgressRule>,
    /// What may come in over IPv6.
    #[serde(default, skip_serializing_if = "Entries::is_empty")]
    pub ingress6: Entries<FirewallRuleId, IngressRule6>,
    /// Exceptions to what may go out over IPv6.
    #[serde(default, skip_serializing_if = "Entries::is_empty")]
    pub egress6: Entries<EgressRuleId, EgressRule6>,
    /// Balancers.
    #[serde(default, skip_serializing_if = "Entries::is_empty")]
    pub balancers: Entries<LoadBalancerId, Balancer>,
    /// Balancers of HTTP.
    #[serde(default, skip_serializing_if = "Entries::is_empty")]
    pub http_balancers: Entries<LoadBalancerId, HttpBalancer>,
    /// Ports for programs of its own VM.
    #[serde(default, skip_serializing_if = "Entries::is_empty")]
    pub local_ports: Entries<ConsoleServerId, LocalPort>,
    /// The limits, if they are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// What is different among entries under ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "K: Ord + Deserialize<'de>, V: Deserialize<'de>"))]
pub struct Entries<K, V> {
    /// Those that are new or other than before.
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    pub put: BTreeMap<K, V>,
    /// Those that are no more.
    #[serde(default = "BTreeSet::new", skip_serializing_if = "BTreeSet::is_empty")]
    pub gone: BTreeSet<K>,
}

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Self { put: BTreeMap::new(), gone: BTreeSet::new() }
    }
}

impl<K: Ord + Copy, V: Clone + PartialEq> Entries<K, V> {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.gone.is_empty()
    }

    /// The ids of all that is different, each once.
    pub fn ids(&self) -> impl Iterator<Item = K> {
        self.put.keys().chain(self.gone.iter().filter(|id| !self.put.contains_key(id))).copied()
    }

    /// Those of a document's entries that are different before or after, as they are there.
    pub fn of<'a>(&self, entries: &'a BTreeMap<K, V>) -> impl Iterator<Item = &'a V> {
        self.with_ids(entries).map(|(_, entry)| entry)
    }

    /// As [`Entries::of`], with their ids.
    pub fn with_ids<'a>(&self, entries: &'a BTreeMap<K, V>) -> impl Iterator<Item = (K, &'a V)> {
        self.ids().filter_map(|id| Some((id, entries.get(&id)?)))
    }

    fn between(from: &BTreeMap<K, V>, to: &BTreeMap<K, V>) -> Self {
        let put = to.iter().filter(|(id, entry)| from.get(id) != Some(entry));
        let gone = from.keys().filter(|id| !to.contains_key(id));
        Self { put: put.map(|(id, entry)| (*id, entry.clone())).collect(), gone: gone.copied().collect() }
    }

    fn is_in(&self, entries: &BTreeMap<K, V>) -> bool {
        self.put.iter().all(|(id, entry)| entries.get(id) == Some(entry))
            && self.gone.iter().all(|id| !entries.contains_key(id))
    }

    fn apply(&self, entries: &mut BTreeMap<K, V>) {
        for id in &self.gone {
            entries.remove(id);
        }
        entries.extend(self.put.iter().map(|(id, entry)| (*id, entry.clone())));
    }
}

/// Why a delta leads to no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaError {
    /// It begins at another generation than the one in force.
    Elsewhere {
        /// The one in force.
        in_force: Generation,
    },
    /// It leads to no later generation.
    Backwards,
}

impl Delta {
    /// What makes `to` of `from`; nothing if that takes the whole document, because the side to the outside goes, or the limits
    /// do.
    pub fn between(from: &Document, to: &Document) -> Option<Self> {
        let without_public = from.public.is_some() && to.public.is_none();
        let without_limits = from.limits.is_some() && to.limits.is_none();
        if without_public || without_limits {
            return None;
        }
        Some(Self {
            from: from.generation,
            to: to.generation,
            public: to.public.clone().filter(|_| from.public != to.public),
            forwarders: (from.forwarders != to.forwarders).then(|| to.forwarders.clone()),
            guests: Entries::between(&from.guests, &to.guests),
            vms: Entries::between(&from.vms, &to.vms),
            nics: Entries::between(&from.nics, &to.nics),
            port_forwards: Entries::between(&from.port_forwards, &to.port_forwards),
            static_nats: Entries::between(&from.static_nats, &to.static_nats),
            ingress: Entries::between(&from.ingress, &to.ingress),
            egress: Entries::between(&from.egress, &to.egress),
            ingress6: Entries::between(&from.ingress6, &to.ingress6),
            egress6: Entries::between(&from.egress6, &to.egress6),
            balancers: Entries::between(&from.balancers, &to.balancers),
            http_balancers: Entries::between(&from.http_balancers, &to.http_balancers),
            local_ports: Entries::between(&from.local_ports, &to.local_ports),
            limits: to.limits.filter(|_| from.limits != to.limits),
        })
    }

    /// Whether it changes neither a network nor the side to the outside, on which all else hangs.
    pub fn keeps_sides(&self) -> bool {
        self.public.is_none() && self.guests.is_empty()
    }

    /// Whether all that it changes is so in a document.
    pub fn is_in(&self, document: &Document) -> bool {
        self.public.as_ref().is_none_or(|public| document.public.as_ref() == Some(public))
            && self.forwarders.as_ref().is_none_or(|forwarders| document.forwarders == *forwarders)
            && self.guests.is_in(&document.guests)
            && self.vms.is_in(&document.vms)
            && self.nics.is_in(&document.nics)
            && self.port_forwards.is_in(&document.port_forwards)
            && self.static_nats.is_in(&document.static_nats)
            && self.ingress.is_in(&document.ingress)
            && self.egress.is_in(&document.egress)
            && self.ingress6.is_in(&document.ingress6)
            && self.egress6.is_in(&document.egress6)
            && self.balancers.is_in(&document.balancers)
            && self.http_balancers.is_in(&document.http_balancers)
            && self.local_ports.is_in(&document.local_ports)
            && self.limits.is_none_or(|limits| document.limits == Some(limits))
    }

    /// Changes a document in place.
    ///
    /// # Errors
    /// When it does not begin at this document, which stays as it is then.
    pub fn apply(&self, document: &mut Document) -> Result<(), DeltaError> {
        if self.from != document.generation {
            return Err(DeltaError::Elsewhere { in_force: document.generation });
        }
        if self.to <= self.from {
            return Err(DeltaError::Backwards);
        }
        document.generation = self.to;
        if let Some(public) = &self.public {
            document.public = Some(public.clone());
        }
        if let Some(forwarders) = &self.forwarders {
            document.forwarders.clone_from(forwarders);
        }
        self.guests.apply(&mut document.guests);
        self.vms.apply(&mut document.vms);
        self.nics.apply(&mut document.nics);
        self.port_forwards.apply(&mut document.port_forwards);
        self.static_nats.apply(&mut document.static_nats);
        self.ingress.apply(&mut document.ingress);
        self.egress.apply(&mut document.egress);
        self.ingress6.apply(&mut document.ingress6);
        self.egress6.apply(&mut document.egress6);
        self.balancers.apply(&mut document.balancers);
        self.http_balancers.apply(&mut document.http_balancers);
        self.local_ports.apply(&mut document.local_ports);
        document.limits = self.limits.or(document.limits);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use podzol_vocab::PortForwardId;

    use super::*;

    fn forward(port: u16) -> PortForward {
        PortForward {
            public: [203, 0, 113, 10].into(),
            transport: podzol_vocab::Transport::Tcp,
            ports: port.to_string().parse().unwrap(),
            to: [10, 1, 1, 2].into(),
            to_port: port,
        }
    }

    fn document(generation: u64, ports: &[u16]) -> Document {
        let id = |port: u16| {
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&port.to_be_bytes());
            PortForwardId::from_bytes(bytes)
        };
        Document {
            generation: Generation(generation),
            port_forwards: ports.iter().map(|port| (id(*port), forward(*port))).collect(),
            ..Document::default()
        }
    }

    #[test]
    fn a_delta_makes_one_document_of_another_and_says_no_more_than_what_differs() {
        let (from, to) = (document(3, &[1, 2, 3]), document(4, &[2, 3, 4]));
        let delta = Delta::between(&from, &to).unwrap();
        assert_eq!((delta.port_forwards.put.len(), delta.port_forwards.gone.len()), (1, 1));
        let text = serde_json::to_string(&delta).unwrap();
        assert!(text.len() < 400, "{text}");
        let read: Delta = serde_json::from_str(&text).unwrap();
        let mut document = from;
        assert!(!read.is_in(&document));
        read.apply(&mut document).unwrap();
        assert_eq!(document, to);
        assert!(read.is_in(&document));
    }

    #[test]
    fn a_delta_that_begins_elsewhere_or_leads_back_changes_nothing() {
        let delta = Delta::between(&document(3, &[]), &document(4, &[1])).unwrap();
        let mut other = document(2, &[7]);
        let elsewhere = DeltaError::Elsewhere { in_force: Generation(2) };
        assert_eq!(delta.apply(&mut other), Err(elsewhere));
        assert_eq!(other, document(2, &[7]));
        let back = Delta { from: Generation(2), to: Generation(2), ..delta };
        assert_eq!(back.apply(&mut other), Err(DeltaError::Backwards));
        assert_eq!(other, document(2, &[7]));
    }

    #[test]
    fn a_side_to_the_outside_that_goes_takes_the_whole_document() {
        let public = PublicSide {
            mac: podzol_vocab::MacAddr::local([2; 6]),
            mtu: 1500,
            addresses: BTreeMap::new(),
            gateway: [203, 0, 113, 1].into(),
            ipv6: None,
        };
        let with = Document { public: Some(public), ..document(1, &[]) };
        assert_eq!(Delta::between(&with, &document(2, &[])), None);
    }

    #[test]
    fn limits_come_and_change_by_deltas_and_go_with_the_whole_document() {
        let limited = |generation, connections| {
            let limits = Limits { connections, connections_per_vm: 1000 };
            Document { limits: Some(limits), ..document(generation, &[]) }
        };
        let mut now = document(1, &[]);
        for next in [limited(2, 2000), limited(3, 4000)] {
            let delta = Delta::between(&now, &next).unwrap();
            assert!(!delta.is_in(&now));
            delta.apply(&mut now).unwrap();
            assert_eq!(now, next);
        }
        let without = Delta::between(&now, &limited(4, 4000)).unwrap();
        assert_eq!(without.limits, None);
        assert_eq!(Delta::between(&now, &document(4, &[])), None);
    }
}
