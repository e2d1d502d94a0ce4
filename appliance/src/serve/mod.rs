//! The services of each network of VMs: DHCP, names, metadata; over IPv6, if it has that, DHCP, names, and advertisements of
//! the router. They begin when a network's link is there and end with it; a change of the document reaches those that run
//! without a restart.

mod announce;
mod batch;
mod dhcp;
mod dhcp6;
mod dns;
mod frame;
pub(crate) mod leases;
mod metadata;
mod packets;
mod ra;
pub(crate) mod sockets;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use podzol_appliance_api::Health;
use podzol_appliance_metadata::{METADATA_PORT, PASSWORD_PORT};
use podzol_vocab::{InterfaceName, MacAddr, NetworkId, VmId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::shown::{Link, Shown};

/// How soon a service that could not begin, or has ended, is begun again.
const AGAIN: Duration = Duration::from_secs(1);

/// How the services are, by name and link.
#[derive(Debug, Clone, Default)]
pub(crate) struct Healths(Arc<Mutex<BTreeMap<String, Health>>>);

impl Healths {
    pub(crate) fn all(&self) -> BTreeMap<String, Health> {
        self.map().clone()
    }

    fn set(&self, service: &str, link: &InterfaceName, health: Health) {
        self.map().insert(format!("{service} {link}"), health);
    }

    fn forget(&self, service: &str, link: &InterfaceName) {
        self.map().remove(&format!("{service} {link}"));
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<String, Health>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All services.
#[derive(Clone)]
pub(crate) struct Services {
    shown: watch::Receiver<Shown>,
    healths: Healths,
    leases: leases::Leases,
    names: dns::Names,
    metadata: Arc<metadata::Metadata>,
}

impl Services {
    pub(crate) fn new(shown: watch::Receiver<Shown>) -> Self {
        let names = dns::Names::new(shown.clone());
        let metadata = Arc::new(metadata::Metadata::new());
        Self { shown, healths: Healths::default(), leases: leases::Leases::default(), names, metadata }
    }

    pub(crate) fn healths(&self) -> BTreeMap<String, Health> {
        self.healths.all()
    }

    /// The VMs that have set the password they were given.
    pub(crate) fn passwords_set(&self) -> Vec<VmId> {
        self.metadata.passwords_set()
    }

    /// All addresses that DHCP has, with what was heard of them.
    pub(crate) fn leases(&self) -> Vec<podzol_appliance_api::Lease> {
        self.leases.shown(&self.shown.borrow().document)
    }

    /// The ranges of all networks of VMs.
    pub(crate) fn networks(&self) -> Vec<(IpNet, NetworkId)> {
        let shown = self.shown.borrow();
        let ranges = shown.document.guests.iter().flat_map(|(id, guest)| {
            let six = guest.prefix6.map(|prefix| (IpNet::from(prefix.net()), *id));
            [Some((IpNet::from(guest.cidr.net()), *id)), six].into_iter().flatten()
        });
        ranges.collect()
    }

    /// The link of a network, and nothing if it is not there.
    pub(crate) fn link(&self, network: NetworkId) -> Option<InterfaceName> {
        self.shown.borrow().links.get(&network).map(|link| link.name.clone())
    }

    /// Serves all networks until stopped.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let tracker = TaskTracker::new();
        tracker.spawn(self.names.clone().forward(stop.clone()));
        tracker.spawn(announce::follow(self.shown.clone(), stop.clone()));
        tracker.spawn(self.metadata.clone().follow(self.shown.clone(), stop.clone()));
        let mut served: BTreeMap<Place, CancellationToken> = BTreeMap::new();
        let mut shown = self.shown.clone();
        loop {
            let places = places(&shown.borrow_and_update());
            served.retain(|place, end| {
                let stays = places.contains(place);
                if !stays {
                    end.cancel();
                }
                stays
            });
            for place in places {
                served.entry(place).or_insert_with_key(|place| {
                    let end = stop.child_token();
                    self.serve(&tracker, place, &end);
                    end
                });
            }
            match stop.run_until_cancelled(shown.changed()).await {
                Some(Ok(())) => {}
                Some(Err(_)) | None => break,
            }
        }
        tracker.close();
        tracker.wait().await;
    }

    /// Begins what one network needs in one family.
    fn serve(&self, tracker: &TaskTracker, place: &Place, end: &CancellationToken) {
        let keeper = Keeper { tracker, link: &place.link.name, end, healths: &self.healths };
        match place.gateway {
            IpAddr::V4(gateway) => self.serve_4(&keeper, place.network, gateway),
            IpAddr::V6(_) => self.serve_6(&keeper, place.network),
        }
        let (network, own) = (place.network, place.gateway);
        let [udp, tcp] = if own.is_ipv4() { ["dns", "dns-tcp"] } else { ["dns6", "dns6-tcp"] };
        let names = self.names.clone();
        keeper.keep(udp, move |link| names.clone().serve_udp(network, link, own));
        let names = self.names.clone();
        keeper.keep(tcp, move |link| names.clone().serve_tcp(network, link, own));
    }

    fn serve_4(&self, keeper: &Keeper<'_>, network: NetworkId, gateway: Ipv4Addr) {
        let (shown, leases) = (self.shown.clone(), self.leases.clone());
        keeper.keep("dhcp", move |link| dhcp::serve(network, link, shown.clone(), leases.clone()));
        for (name, port) in [("metadata", METADATA_PORT), ("passwords", PASSWORD_PORT)] {
            let data = self.metadata.clone();
            keeper.keep(name, move |link| data.clone().serve(network, (link, gateway), port));
        }
    }

    fn serve_6(&self, keeper: &Keeper<'_>, network: NetworkId) {
        let shown = self.shown.clone();
        keeper.keep("ra", move |link| ra::serve(network, link, shown.clone()));
        let (shown, leases) = (self.shown.clone(), self.leases.clone());
        keeper.keep("dhcp6", move |link| dhcp6::serve(network, link, shown.clone(), leases.clone()));
    }
}

/// What the sockets of a network's services in one family are bound to: with another one, they begin anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    network: NetworkId,
    link: Link,
    mac: MacAddr,
    /// The router's address in the network.
    gateway: IpAddr,
}

fn places(shown: &Shown) -> BTreeSet<Place> {
    let of_link = |(network, link): (&NetworkId, &Link)| {
        let guest = shown.document.guests.get(network)?;
        let of = |gateway| Place { network: *network, link: link.clone(), mac: guest.mac, gateway };
        let six = guest.prefix6.map(|prefix| of(prefix.gateway().into()));
        Some([Some(of(guest.gateway().into())), six].into_iter().flatten())
    };
    shown.links.iter().filter_map(of_link).flatten().collect()
}

/// Begins services of a link.
struct Keeper<'a> {
    tracker: &'a TaskTracker,
    link: &'a InterfaceName,
    end: &'a CancellationToken,
    healths: &'a Healths,
}

impl Keeper<'_> {
    fn keep<F>(&self, name: &'static str, serve: impl Fn(InterfaceName) -> F + Send + 'static)
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let (link, end, healths) = (self.link.clone(), self.end.clone(), self.healths.clone());
        self.tracker.spawn(keep(name, link, end, healths, serve));
    }
}

/// Keeps a service of a link going until its end: one that fails is begun again.
async fn keep<F>(
    name: &'static str,
    link: InterfaceName,
    end: CancellationToken,
    healths: Healths,
    serve: impl Fn(InterfaceName) -> F,
) where
    F: Future<Output = std::io::Result<()>>,
{
    loop {
        healths.set(name, &link, Health::Up);
        match end.run_until_cancelled(serve(link.clone())).await {
            None => break,
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::error!(service = name, %link, %error, "a service has ended");
                healths.set(name, &link, Health::Down { why: error.to_string() });
            }
        }
        if end.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
            break;
        }
    }
    healths.forget(name, &link);
}
