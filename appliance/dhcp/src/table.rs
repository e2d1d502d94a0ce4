//! Who gets which address: the part of the document that DHCP needs, found by network and MAC address.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use podzol_appliance_api::{Document, DomainName, GuestNetwork};
use podzol_vocab::{Cidr, MacAddr, Name, NetworkId};

use crate::answer::{Answer, Exchange};
use crate::request::{Header, Request};

/// The addresses of all network interfaces, and what each network's VMs are told. It is made anew for a new document.
#[derive(Debug, Clone, Default)]
pub struct Table {
    networks: HashMap<NetworkId, Network>,
    clients: HashMap<(NetworkId, [u8; 6]), Client>,
}

impl Table {
    /// Makes it from a document, which should have no [problems](Document::problems).
    pub fn new(document: &Document) -> Self {
        let networks = document.guests.iter().map(|(id, guest)| (*id, Network::new(guest))).collect();
        let clients = document.nics.values().map(|nic| {
            let name = document.vms.get(&nic.vm).map(|vm| vm.name.clone());
            let role = if nic.primary { Role::Primary } else { Role::Secondary };
            ((nic.network, nic.mac.octets()), Client { mac: nic.mac, address: nic.address, name, role })
        });
        Self { networks, clients: clients.collect() }
    }

    /// The answer to a packet that came to port 67 on the router's interface in this network, from this address. None if
    /// it gets no answer and says nothing that is worth a line in a log.
    ///
    /// A pure function of its arguments for any bytes, and so where a fuzzer should begin.
    pub fn answer(&self, link: NetworkId, packet: &[u8], source: Ipv4Addr) -> Option<Answer> {
        let request = Request::parse(packet)?;
        let (id, network, client) = self.find(link, &request.header)?;
        Exchange { id, network, client, request: &request, source }.answer()
    }

    /// Whose packet this is, by its fixed header alone; none if [`answer`](Self::answer) would not answer it anyhow. It is
    /// what a [`Limiter`](crate::Limiter) should be asked about before the work of an answer is done.
    pub fn sender(&self, link: NetworkId, packet: &[u8]) -> Option<MacAddr> {
        let (_, _, client) = self.find(link, &Header::parse(packet)?)?;
        Some(client.mac)
    }

    /// Whose interface on a link frames with this source come from; none if nobody's that is known.
    pub fn owner(&self, link: NetworkId, source: [u8; 6]) -> Option<MacAddr> {
        self.clients.get(&(link, source)).map(|client| client.mac)
    }

    /// Whether a packet may come from this address on a link: from one in its network, or from none yet (RFC 2131, 4.1). A
    /// relay has an address in the link's network, and one in that of its clients: it may send from the one or the other, as
    /// what it is answered goes to the second one in any case.
    pub fn is_source(&self, link: NetworkId, source: Ipv4Addr, packet: &[u8]) -> bool {
        let network = self.networks.get(&link);
        let is_here = || network.is_some_and(|network| network.cidr.net().contains(&source));
        let is_relay = || Header::parse(packet).is_some_and(|header| header.giaddr == source);
        source.is_unspecified() || is_here() || is_relay()
    }

    /// The client and its network: that of the link, or that of the relay's address if there is a relay.
    fn find(&self, link: NetworkId, header: &Header) -> Option<(NetworkId, &Network, &Client)> {
        let (id, network) = if header.giaddr.is_unspecified() {
            (link, self.networks.get(&link)?)
        } else {
            // Few enough to look at each. The gateway is no relay: the answer would come back here.
            let is_inside = |network: &Network| network.cidr.is_vm_address(header.giaddr);
            self.networks
                .iter()
                .find(|(_, network)| is_inside(network))
                .map(|(id, network)| (*id, network))?
        };
        Some((id, network, self.clients.get(&(id, header.chaddr))?))
    }
}

/// What all VMs of a network are told.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) cidr: Cidr,
    pub(crate) mtu: u16,
    pub(crate) domain: DomainName,
    pub(crate) lease_secs: u32,
}

impl Network {
    fn new(guest: &GuestNetwork) -> Self {
        Self { cidr: guest.cidr, mtu: guest.mtu, domain: guest.domain.clone(), lease_secs: guest.lease_secs }
    }
}

/// A VM's network interface.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) mac: MacAddr,
    pub(crate) address: Ipv4Addr,
    pub(crate) name: Option<Name>,
    pub(crate) role: Role,
}

/// Whether a VM reaches the outside through an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Primary,
    Secondary,
}
