//! What services see of the document in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use podzol_appliance_api::{Delta, Document};
use podzol_vocab::{InterfaceName, NetworkId};

/// The document in force, and the links of its networks that are there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    pub(crate) document: Arc<Document>,
    pub(crate) links: BTreeMap<NetworkId, Link>,
    pub(crate) versions: Versions,
}

/// A link. One that was unplugged and plugged in again has another index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link {
    pub(crate) name: InterfaceName,
    pub(crate) index: u32,
}

/// Numbers of parts of the document, by which a service sees whether its part is another than when it looked last, without
/// looking at all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Versions {
    /// Of what VMs are told: networks, VMs, their interfaces and addresses, name servers.
    pub(crate) vms: u64,
    /// Of balancers, both those of connections and those of HTTP.
    pub(crate) balancers: u64,
}

impl Versions {
    /// Those after a change, or with another document if it is not known how that differs.
    pub(crate) fn after(self, delta: Option<&Delta>) -> Self {
        let tells = |delta: &Delta| {
            !delta.keeps_sides()
                || delta.forwarders.is_some()
                || !delta.vms.is_empty()
                || !delta.nics.is_empty()
                || !delta.static_nats.is_empty()
        };
        let balances = |delta: &Delta| !delta.balancers.is_empty() || !delta.http_balancers.is_empty();
        Self {
            vms: self.vms + u64::from(delta.is_none_or(tells)),
            balancers: self.balancers + u64::from(delta.is_none_or(balances)),
        }
    }
}
