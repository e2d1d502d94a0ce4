//! Telling hosts where the tunnels of networks on VXLANs end.
//!
//! Which hosts carry a network changes with every VM that comes, goes or moves. Whoever follows the changes here tells them
//! at once; what a host did not hear, its next report shows, and it is told again. The number of what is told is that of the
//! last change before it was looked up: what is told later is of a later state.
//!
//! Refused: the peers as part of a VM's description, as then every VM of a network would get a new one whenever another is
//! started; and a transaction that waits until all hosts have heard, as a slow host would delay the others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use podzol_agent_api::host::{NetworkPeers, NetworkPeersPut};
use podzol_agent_api::report::VxlanReport;
use podzol_mgmt_api::host::ServerState;
use podzol_mgmt_db::{Reader, network, server};
use podzol_rpc::PeerId;
use podzol_vocab::{Generation, HostId, NetworkId, VmId};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{App, AppError};

/// How long a host may take to answer.
const CALL: Duration = Duration::from_secs(5);

/// How long what is remembered of a network is believed: a VM may have left it in a way that does not name it.
const BELIEVED: Duration = Duration::from_secs(60);

/// How many changes are read at once.
const BATCH: usize = 200;

/// The hosts that carry a network, and where the tunnels to them end.
type Ends = BTreeMap<HostId, IpAddr>;

/// What is remembered of networks on VXLANs.
#[derive(Debug, Default)]
pub(crate) struct Vxlans {
    known: Mutex<HashMap<NetworkId, (Instant, Ends)>>,
    /// Hosts to be told of a network, because they reported otherwise.
    due: Mutex<BTreeSet<(NetworkId, HostId)>>,
    wake: Notify,
}

impl Vxlans {
    /// Compares what a host reports with what is remembered. What differs is told soon.
    pub(crate) fn reported(&self, host: HostId, vxlans: &[VxlanReport]) {
        if vxlans.is_empty() {
            return;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let differs = |vxlan: &&VxlanReport| match known.get(&vxlan.network) {
            Some((at, ends)) if at.elapsed() < BELIEVED => {
                ends.contains_key(&host) && others(ends, host) != vxlan.peers
            }
            _ => true,
        };
        let differing: Vec<_> = vxlans.iter().filter(differs).map(|vxlan| (vxlan.network, host)).collect();
        if !differing.is_empty() {
            self.due.lock().unwrap_or_else(PoisonError::into_inner).extend(differing);
            self.wake.notify_one();
        }
    }

    fn take_due(&self) -> BTreeSet<(NetworkId, HostId)> {
        std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers where the tunnels of a network end, and says whether that is new.
    fn note(&self, network: NetworkId, ends: &Ends) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match ends.is_empty() {
            true => known.remove(&network),
            false => known.insert(network, (Instant::now(), ends.clone())),
        };
        before.is_none_or(|(_, before)| before != *ends)
    }
}

/// Where the tunnels of a host end: at all others.
fn others(ends: &Ends, host: HostId) -> BTreeSet<IpAddr> {
    ends.iter().filter(|(other, _)| **other != host).map(|(_, end)| *end).collect()
}

/// Tells hosts of every change, and again of what they reported otherwise, until stopped.
pub(crate) async fn follow(app: App, stop: CancellationToken) {
    let mut last = app.db.changes();
    let mut follower = Follower { seen: *last.borrow_and_update(), networks_of: HashMap::new() };
    loop {
        if let Err(error) = follower.round(&app).await {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot tell hosts of their peers");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.here.vxlans.wake.notified() => {}
            changed = last.changed() => if changed.is_err() { return },
        }
    }
}

struct Follower {
    /// The last change that was seen.
    seen: i64,
    /// The networks on VXLANs of the VMs that have changed: once a VM is gone, nobody else knows.
    networks_of: HashMap<VmId, BTreeSet<NetworkId>>,
}

impl Follower {
    async fn round(&mut self, app: &App) -> Result<(), AppError> {
        for (network, host) in app.here.vxlans.take_due() {
            app.tell_peers(network, Some(host)).await?;
        }
        loop {
            let changes = app.db.changes_after(self.seen, BATCH).await?;
            let Some(newest) = changes.last().map(|change| change.seq) else { return Ok(()) };
            let vms = changes.iter().filter(|change| change.kind == "vm");
            let vms: BTreeSet<VmId> = vms.filter_map(|change| change.object_id.parse().ok()).collect();
            for network in self.touched(app, vms).await? {
                app.tell_peers(network, None).await?;
            }
            self.seen = newest;
        }
    }

    /// The networks on VXLANs in which these VMs are, or were.
    async fn touched(&mut self, app: &App, vms: BTreeSet<VmId>) -> Result<BTreeSet<NetworkId>, AppError> {
        if vms.is_empty() || (self.networks_of.is_empty() && !app.db.reader().ledger().has_vxlans()) {
            return Ok(BTreeSet::new());
        }
        let now = network::vxlans_of(app.db.reader(), vms.iter().copied()).await?;
        let before = vms.iter().filter_map(|vm| self.networks_of.remove(vm)).flatten();
        let touched = before.chain(now.iter().map(|(_, network)| *network)).collect();
        for (vm, network) in now {
            self.networks_of.entry(vm).or_default().insert(network);
        }
        Ok(touched)
    }
}

impl App {
    /// Where the tunnels of a network end.
    async fn ends(&self, network: NetworkId) -> Result<(Vec<server::Model>, Ends), AppError> {
        let db = self.db.reader();
        let carriers = server::hosts(db, network::carriers(db, network).await?).await?;
        let end = |row: &server::Model| Some((row.host(), row.tunnel_address.as_deref()?.parse().ok()?));
        let ends = carriers.iter().filter_map(end).collect();
        Ok((carriers, ends))
    }

    /// The networks of which a host has other peers than it should.
    pub(crate) async fn with_other_peers(
        &self,
        host: HostId,
        vxlans: &[VxlanReport],
    ) -> Result<Vec<NetworkId>, AppError> {
        let mut differing = Vec::new();
        for vxlan in vxlans {
            let (_, ends) = self.ends(vxlan.network).await?;
            if ends.contains_key(&host) && others(&ends, host) != vxlan.peers {
                differing.push(vxlan.network);
            }
        }
        Ok(differing)
    }

    /// Tells a host, or all that carry a network if that is news, where its tunnels end. Waits for no answer.
    async fn tell_peers(&self, network: NetworkId, only: Option<HostId>) -> Result<(), AppError> {
        let generation = Generation(*self.db.changes().borrow() as u64);
        let (carriers, ends) = self.ends(network).await?;
        let is_news = self.here.vxlans.note(network, &ends);
        let hears = |row: &&server::Model| {
            let answers = matches!(row.state.0, ServerState::Up | ServerState::Maintenance);
            answers && only.map_or(is_news, |only| only == row.host())
        };
        for host in carriers.iter().filter(hears).map(server::Model::host) {
            let peers = NetworkPeers { generation, addresses: others(&ends, host) };
            let client = self.peers.clone();
            tokio::spawn(async move {
                let told = client.call::<NetworkPeersPut>(PeerId::Host(host), &network, &peers, CALL).await;
                if let Err(error) = told {
                    let error = &error as &dyn std::error::Error;
                    tracing::info!(%host, %network, error, "a host did not hear of its peers; its report will show it");
                }
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(hosts: &[u8]) -> Ends {
        let end = |last: &u8| (HostId::from_bytes([*last; 16]), IpAddr::from([10, 0, 0, *last]));
        hosts.iter().map(end).collect()
    }

    #[tokio::test]
    async fn a_host_is_told_again_when_its_report_differs_and_not_when_it_agrees() {
        let vxlans = Vxlans::default();
        let (network, host) = (NetworkId::new(), HostId::from_bytes([1; 16]));
        let reports = |peers: &[u8]| {
            let peers = peers.iter().map(|last| IpAddr::from([10, 0, 0, *last])).collect();
            vxlans.reported(host, &[VxlanReport { network, id: 5000.try_into().unwrap(), peers }]);
            vxlans.take_due().len()
        };
        assert_eq!(reports(&[]), 1, "nothing is remembered yet");
        assert!(vxlans.note(network, &ends(&[1, 2])));
        assert!(!vxlans.note(network, &ends(&[1, 2])));
        assert_eq!((reports(&[2]), reports(&[]), reports(&[2, 3])), (0, 1, 1));
        assert!(vxlans.note(network, &ends(&[2])));
        assert_eq!(reports(&[]), 0, "it does not carry the network any more");
    }
}
