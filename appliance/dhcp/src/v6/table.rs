//! Who gets which address: the part of the document that DHCP for IPv6 needs, found by network and link-local address.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use podzol_appliance_api::{Document, GuestNetwork};
use podzol_vocab::{DomainName, MacAddr, NetworkId, Prefix64};

use super::answer::{Answer, Exchange};
use super::message::Message;

/// The addresses of all network interfaces, and what each network's VMs are told. It is made anew for a new document.
#[derive(Debug, Clone, Default)]
pub struct Table {
    networks: HashMap<NetworkId, Network>,
    clients: HashMap<(NetworkId, Ipv6Addr), Client>,
}

impl Table {
    /// Makes it from a document, which should have no [problems](Document::problems).
    pub fn new(document: &Document) -> Self {
        let networks =
            document.guests.iter().filter_map(|(id, guest)| Some((*id, Network::of(guest)?))).collect();
        let clients = document.nics.values().filter_map(|nic| {
            let client = Client { mac: nic.mac, address: nic.address6? };
            Some(((nic.network, nic.mac.link_local()), client))
        });
        Self { networks, clients: clients.collect() }
    }

    /// The answer to a packet that came to port 547 on the router's interface in this network, from this address.
    ///
    /// A pure function of its arguments for any bytes, and so where a fuzzer should begin.
    pub fn answer(&self, link: NetworkId, packet: &[u8], source: Ipv6Addr) -> Option<Answer> {
        let network = self.networks.get(&link)?;
        let client = self.clients.get(&(link, source))?;
        let message = Message::parse(packet)?;
        Exchange { network, client, message: &message }.answer()
    }

    /// Whose packets on a link come from this address; none if nobody's that is known. It is what a
    /// [`Limiter`](crate::Limiter) should be asked about before the work of an answer is done.
    pub fn owner(&self, link: NetworkId, source: Ipv6Addr) -> Option<MacAddr> {
        self.clients.get(&(link, source)).map(|client| client.mac)
    }
}

/// What all VMs of a network are told.
#[derive(Debug, Clone)]
pub(super) struct Network {
    /// The router's DUID there.
    pub(super) server: [u8; 10],
    pub(super) prefix: Prefix64,
    pub(super) domain: DomainName,
    pub(super) lease_secs: u32,
}

impl Network {
    fn of(guest: &GuestNetwork) -> Option<Self> {
        let (prefix, domain) = (guest.prefix6?, guest.domain.clone());
        Some(Self { server: duid(guest.mac), prefix, domain, lease_secs: guest.lease_secs })
    }
}

/// A VM's network interface.
#[derive(Debug, Clone)]
pub(super) struct Client {
    mac: MacAddr,
    pub(super) address: Ipv6Addr,
}

/// A DUID of a link-layer address (RFC 8415, 11.4): type 3, of Ethernet.
fn duid(mac: MacAddr) -> [u8; 10] {
    let [a, b, c, d, e, f] = mac.octets();
    [0, 3, 0, 1, a, b, c, d, e, f]
}
