//! What there is to know of each VM: the part of the document that VMs may ask for, found by network and address.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use podzol_appliance_api::{Document, DomainName, VmNic};
use podzol_vocab::{Cidr, MacAddr, Name, NetworkId, NicId, Secret, VmId};

use crate::token::TokenKey;

/// What VMs may ask for. It is made anew for a new document, with the same key.
#[derive(Debug, Clone)]
pub struct Facts {
    pub(crate) key: TokenKey,
    /// Each address that a VM asks from, with the VM and which of its network interfaces that is.
    askers: HashMap<(NetworkId, Ipv4Addr), (Arc<Vm>, usize)>,
}

impl Facts {
    /// Makes them from a document, which should have no [problems](Document::problems).
    pub fn new(document: &Document, key: TokenKey) -> Self {
        let statics = document.static_nats.values().map(|nat| (nat.to, nat.public)).collect();
        let mut nics: BTreeMap<VmId, Vec<Nic>> = BTreeMap::new();
        for (id, nic) in &document.nics {
            if let Some(made) = Nic::new(*id, nic, document, &statics) {
                nics.entry(nic.vm).or_default().push(made);
            }
        }
        let vms = nics.into_iter().filter_map(|(id, nics)| Vm::new(id, document, nics)).map(Arc::new);
        let askers = vms.flat_map(|vm| {
            let keys: Vec<_> = vm.nics.iter().map(|nic| (nic.network, nic.address)).collect();
            keys.into_iter().enumerate().map(move |(index, key)| (key, (Arc::clone(&vm), index)))
        });
        Self { key, askers: askers.collect() }
    }

    /// Who asks from there.
    pub(crate) fn asker(&self, network: NetworkId, from: Ipv4Addr) -> Option<Asker<'_>> {
        let (vm, index) = self.askers.get(&(network, from))?;
        Some(Asker { vm, nic: vm.nics.get(*index)? })
    }
}

/// The VM that asks, and through which of its network interfaces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) vm: &'a Vm,
    pub(crate) nic: &'a Nic,
}

/// A VM.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) id: VmId,
    pub(crate) name: Name,
    pub(crate) ssh_keys: Vec<String>,
    pub(crate) user_data: Option<Secret<Bytes>>,
    pub(crate) zone: Name,
    pub(crate) offering: Name,
    /// Its network interfaces in this router's networks, the primary one first.
    pub(crate) nics: Vec<Nic>,
}

impl Vm {
    fn new(id: VmId, document: &Document, mut nics: Vec<Nic>) -> Option<Self> {
        let facts = document.vms.get(&id)?;
        nics.sort_by_key(|nic| (!nic.primary, nic.id));
        Some(Self {
            id,
            name: facts.name.clone(),
            ssh_keys: facts.ssh_keys.clone(),
            user_data: (facts.user_data.as_ref())
                .map(|data| Secret::new(Bytes::copy_from_slice(data.expose().as_bytes()))),
            zone: facts.zone.clone(),
            offering: facts.offering.clone(),
            nics,
        })
    }

    /// Its network interfaces with their numbers. 0 is the primary one, and nobody where that is another router's.
    pub(crate) fn numbered_nics(&self) -> impl Iterator<Item = (usize, &Nic)> {
        let first = usize::from(!self.nics.iter().any(|nic| nic.primary));
        (first..).zip(&self.nics)
    }
}

/// A VM's network interface, and what its network is to it.
#[derive(Debug)]
pub(crate) struct Nic {
    pub(crate) id: NicId,
    pub(crate) network: NetworkId,
    pub(crate) mac: MacAddr,
    pub(crate) address: Ipv4Addr,
    /// Whether it has an IPv6 address too, which it asks for by DHCPv6.
    pub(crate) has_ipv6: bool,
    pub(crate) primary: bool,
    /// The public address that its connections come from: its own by static NAT, or its network's.
    pub(crate) public: Option<Ipv4Addr>,
    pub(crate) cidr: Cidr,
    pub(crate) mtu: u16,
    pub(crate) domain: DomainName,
}

impl Nic {
    fn new(
        id: NicId,
        nic: &VmNic,
        document: &Document,
        statics: &HashMap<Ipv4Addr, Ipv4Addr>,
    ) -> Option<Self> {
        let guest = document.guests.get(&nic.network)?;
        Some(Self {
            id,
            network: nic.network,
            mac: nic.mac,
            address: nic.address,
            has_ipv6: nic.address6.is_some(),
            primary: nic.primary,
            public: statics.get(&nic.address).copied().or(guest.source_nat),
            cidr: guest.cidr,
            mtu: guest.mtu,
            domain: guest.domain.clone(),
        })
    }
}
