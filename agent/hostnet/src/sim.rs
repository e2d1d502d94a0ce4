//! Links in memory, for tests: the rules of the kernel that [`difference`](crate::difference()) relies on, without
//! the kernel.
//!
//! It knows no packets, and no link changes by itself when its trunk or a port does. A change that the kernel would
//! refuse fails with the same errno.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use podzol_vocab::{InterfaceName, Tag};
use tokio::sync::watch;

use crate::change::{Change, Changes, LinkRef, NewLink, Settings};
use crate::links::{Error, Failure, Interface, Links, Watch};
use crate::model::{MARK_GROUP, VXLAN_PORT, alias};
use crate::observed::{Ipv6, Kind, Link, LinkIndex, Vxlan};

/// A kernel in memory.
#[derive(Debug)]
pub struct SimulatedLinks {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Clone, Default)]
struct State {
    links: BTreeMap<LinkIndex, Link>,
    last_index: u32,
    addresses: HashMap<LinkIndex, Vec<(IpAddr, u8)>>,
}

impl SimulatedLinks {
    /// A host with this trunk: up, with an MTU of 1500 bytes.
    pub fn with_trunk(name: InterfaceName) -> Self {
        let links = Self { state: Mutex::default(), changed: watch::Sender::new(0) };
        links.add(foreign(name));
        links
    }

    /// A host with exactly these links.
    pub fn with_links(links: Vec<Link>) -> Self {
        let last_index = links.iter().map(|link| link.index.0).max().unwrap_or(0);
        let links = links.into_iter().map(|link| (link.index, link)).collect();
        let state = State { links, last_index, ..State::default() };
        Self { state: Mutex::new(state), changed: watch::Sender::new(0) }
    }

    /// Adds a link, as somebody else would. The index in it is replaced, and the new one is the answer.
    pub fn add(&self, mut link: Link) -> LinkIndex {
        let index = self.state().new_index();
        link.index = index;
        self.state().links.insert(index, link);
        self.tell();
        index
    }

    /// Adds a bridge, as an operator would.
    pub fn add_bridge(&self, name: InterfaceName) {
        self.add(Link { kind: Kind::Bridge, ..foreign(name) });
    }

    /// Gives an address to a link.
    pub fn give_address(&self, name: &InterfaceName, address: IpAddr, prefix_len: u8) {
        let mut state = self.state();
        if let Some(link) = state.find(name) {
            state.addresses.entry(link.index).or_default().push((address, prefix_len));
        }
        drop(state);
        self.tell();
    }

    /// Plugs a new tap into a bridge, as a hypervisor does that starts a VM. False if there is no such bridge.
    pub fn plug(&self, tap: InterfaceName, bridge: &InterfaceName) -> bool {
        let Some(master) = self.state().find(bridge).filter(|link| link.kind == Kind::Bridge) else {
            return false;
        };
        self.add(Link { kind: Kind::Other("tun".to_owned()), master: Some(master.index), ..foreign(tap) });
        true
    }

    /// Removes a link, as somebody else would, and with it the VLAN interfaces on it.
    pub fn remove(&self, name: &InterfaceName) {
        let mut state = self.state();
        if let Some(link) = state.find(name) {
            state.remove(link.index);
        }
        drop(state);
        self.tell();
    }

    /// Changes a link behind everybody's back.
    pub fn edit(&self, name: &InterfaceName, edit: impl FnOnce(&mut Link)) {
        if let Some(link) = self.state().links.values_mut().find(|link| link.name == *name) {
            edit(link);
        }
        self.tell();
    }

    /// The link of this name.
    pub fn get(&self, name: &InterfaceName) -> Option<Link> {
        self.state().find(name)
    }

    /// All links, in the order of their indexes.
    pub fn all(&self) -> Vec<Link> {
        self.state().links.values().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Links for SimulatedLinks {
    async fn observe(&self) -> Result<Vec<Link>, Error> {
        Ok(self.all())
    }

    async fn apply(&self, changes: &Changes) -> Vec<Failure> {
        let failed = |change: &Change| {
            let source = io::Error::from_raw_os_error(self.state().apply(change).err()?);
            Some(Failure { change: change.clone(), source })
        };
        let failures = changes.steps.iter().filter_map(failed).collect();
        self.tell();
        failures
    }

    async fn interfaces(&self) -> Result<Vec<Interface>, Error> {
        let addresses = self.state().addresses.clone();
        Ok(Interface::join(self.all(), addresses, |_| None))
    }

    fn watch(&self) -> Result<Watch, Error> {
        Ok(Watch(self.changed.subscribe()))
    }
}

impl State {
    fn new_index(&mut self) -> LinkIndex {
        self.last_index += 1;
        LinkIndex(self.last_index)
    }

    fn find(&self, name: &InterfaceName) -> Option<Link> {
        self.links.values().find(|link| link.name == *name).cloned()
    }

    fn apply(&mut self, change: &Change) -> Result<(), i32> {
        match change {
            Change::Remove { index, .. } => {
                self.remove(*index);
                Ok(())
            }
            Change::Create { name, link, mtu } => self.create(name, *link, *mtu),
            Change::Set { link, settings } => self.set(link, settings),
            Change::SetPeers { link, new, gone } => {
                let index = self.resolve(link)?;
                match self.links.get_mut(&index).map(|link| &mut link.kind) {
                    Some(Kind::Vxlan(vxlan)) => {
                        vxlan.peers.retain(|peer| !gone.contains(peer));
                        vxlan.peers.extend(new);
                        Ok(())
                    }
                    _ => Err(libc::EOPNOTSUPP),
                }
            }
        }
    }

    fn remove(&mut self, index: LinkIndex) {
        self.links.remove(&index);
        let stacked = |link: &Link| matches!(link.kind, Kind::Vlan(_)) && link.parent == Some(index);
        let children: Vec<_> =
            self.links.values().filter(|link| stacked(link)).map(|link| link.index).collect();
        children.into_iter().for_each(|child| self.remove(child));
        for port in self.links.values_mut().filter(|link| link.master == Some(index)) {
            port.master = None;
        }
    }

    fn create(&mut self, name: &InterfaceName, new: NewLink, mtu: u32) -> Result<(), i32> {
        if self.find(name).is_some() {
            return Err(libc::EEXIST);
        }
        let (kind, parent) = match new {
            NewLink::Bridge => (Kind::Bridge, None),
            NewLink::Vlan { trunk, vlan } => (Kind::Vlan(Some(vlan)), Some(trunk)),
            NewLink::Vxlan { id, local } => {
                if self.links.values().any(|link| link.tag() == Some(Tag::Vxlan(id))) {
                    return Err(libc::EEXIST);
                }
                let vxlan = Vxlan { id: Some(id), local: Some(local), port: VXLAN_PORT, ..Vxlan::default() };
                (Kind::Vxlan(vxlan), None)
            }
        };
        if let Some(trunk) = parent {
            let room = self.links.get(&trunk).ok_or(libc::ENODEV)?.mtu;
            let taken = self.links.values().any(|link| link.parent == parent && link.kind == kind);
            match () {
                () if taken => return Err(libc::EEXIST),
                () if mtu > room => return Err(libc::EINVAL),
                () => {}
            }
        }
        let index = self.new_index();
        let link = Link {
            index,
            kind,
            group: MARK_GROUP,
            parent,
            mtu,
            up: false,
            ipv6: Ipv6::On,
            deaf: false,
            ..foreign(name.clone())
        };
        self.links.insert(index, link);
        Ok(())
    }

    fn set(&mut self, link: &LinkRef, settings: &Settings) -> Result<(), i32> {
        let index = self.resolve(link)?;
        let master = settings.master.as_ref().map(|master| self.resolve(master)).transpose()?;
        let parent = self.links[&index].parent.and_then(|parent| self.links.get(&parent));
        if settings.mtu.is_some_and(|mtu| parent.is_some_and(|parent| mtu > parent.mtu)) {
            return Err(libc::ERANGE);
        }
        if settings.up && parent.is_some_and(|parent| !parent.up) {
            return Err(libc::ENETDOWN);
        }
        let link = self.links.get_mut(&index).ok_or(libc::ENODEV)?;
        if let Some(mark) = settings.mark {
            (link.alias, link.group) = (Some(alias(mark.network, mark.peers)), MARK_GROUP);
        }
        link.mtu = settings.mtu.unwrap_or(link.mtu);
        link.master = master.or(link.master);
        link.up |= settings.up;
        if settings.ipv6_off && link.ipv6 == Ipv6::On {
            link.ipv6 = Ipv6::Off;
        }
        link.deaf |= settings.deaf;
        Ok(())
    }

    fn resolve(&self, link: &LinkRef) -> Result<LinkIndex, i32> {
        let found = match link.index {
            Some(index) => self.links.get(&index).cloned(),
            None => self.find(&link.name).filter(Link::is_ours),
        };
        Ok(found.ok_or(libc::ENODEV)?.index)
    }
}

/// A NIC of somebody else's: up, with an MTU of 1500 bytes.
fn foreign(name: InterfaceName) -> Link {
    Link {
        index: LinkIndex(0),
        name,
        kind: Kind::Physical,
        alias: None,
        group: 0,
        master: None,
        parent: None,
        mtu: 1500,
        up: true,
        carrier: true,
        ipv6: Ipv6::Off,
        deaf: false,
    }
}
