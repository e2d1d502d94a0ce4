//! The services of each network of VMs: DHCP, names, metadata. They begin when a network's link is there and end with it;
//! a change of the document reaches those that run without a restart.

mod dhcp;
mod dns;
mod frame;
mod metadata;
pub(crate) mod sockets;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    names: dns::Names,
    metadata: Arc<metadata::Metadata>,
}

impl Services {
    pub(crate) fn new(shown: watch::Receiver<Shown>) -> Self {
        let names = dns::Names::new(shown.clone());
        let metadata = Arc::new(metadata::Metadata::new());
        Self { shown, healths: Healths::default(), names, metadata }
    }

    pub(crate) fn healths(&self) -> BTreeMap<String, Health> {
        self.healths.all()
    }

    /// The VMs that have set the password they were given.
    pub(crate) fn passwords_set(&self) -> Vec<VmId> {
        self.metadata.passwords_set()
    }

    /// Serves all networks until stopped.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let tracker = TaskTracker::new();
        tracker.spawn(self.names.clone().forward(stop.clone()));
        tracker.spawn(self.metadata.clone().follow(self.shown.clone(), stop.clone()));
        let mut served: BTreeMap<NetworkId, (Place, CancellationToken)> = BTreeMap::new();
        let mut shown = self.shown.clone();
        loop {
            let places = places(&shown.borrow_and_update());
            served.retain(|network, (place, end)| {
                let stays = places.get(network) == Some(place);
                if !stays {
                    end.cancel();
                }
                stays
            });
            for (network, place) in places {
                served.entry(network).or_insert_with(|| {
                    let end = stop.child_token();
                    self.serve(&tracker, network, &place.link.name, &end);
                    (place, end)
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

    /// Begins what one network needs.
    fn serve(
        &self,
        tracker: &TaskTracker,
        network: NetworkId,
        link: &InterfaceName,
        end: &CancellationToken,
    ) {
        let own = || (link.clone(), end.clone(), self.healths.clone());
        let (shown, names, data) = (self.shown.clone(), self.names.clone(), self.metadata.clone());
        let (on, end, healths) = own();
        tracker.spawn(keep("dhcp", on, end, healths, move |link| dhcp::serve(network, link, shown.clone())));
        let (on, end, healths) = own();
        let udp = names.clone();
        tracker.spawn(keep("dns", on, end, healths, move |link| udp.clone().serve_udp(network, link)));
        let (on, end, healths) = own();
        tracker.spawn(keep("dns-tcp", on, end, healths, move |link| names.clone().serve_tcp(network, link)));
        for (name, port) in [("metadata", METADATA_PORT), ("passwords", PASSWORD_PORT)] {
            let (on, end, healths) = own();
            let data = data.clone();
            tracker.spawn(keep(name, on, end, healths, move |link| data.clone().serve(network, link, port)));
        }
    }
}

/// What the sockets of a network's services are bound to: with another one, they begin anew.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    link: Link,
    mac: MacAddr,
    gateway: Ipv4Addr,
}

fn places(shown: &Shown) -> BTreeMap<NetworkId, Place> {
    let with_links = shown.links.iter().filter_map(|(network, link)| {
        let guest = shown.document.guests.get(network)?;
        Some((*network, Place { link: link.clone(), mac: guest.mac, gateway: guest.gateway() }))
    });
    with_links.collect()
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
