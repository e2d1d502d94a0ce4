//! Reporting, every few seconds.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use podzol_rpc::daemon::address_towards;
use podzol_rpc::{Client, PeerId, Refusals};
use podzol_storage_api::{PoolStatus, StorageReport, StorageReportPost};
use podzol_vocab::StorageServerId;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::export::Exporter;
use crate::store::Store;
use crate::troubles::Troubles;

/// How long the management service may take to answer a report.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long a look-up of the management service's name may hold up a report.
const LOOK_UP: Duration = Duration::from_secs(5);

pub(crate) async fn run<E: Exporter>(
    store: Store<E>,
    client: Client,
    id: StorageServerId,
    config: Config,
    port: u16,
    refusals: Refusals,
    stop: CancellationToken,
) {
    let every = Duration::from_secs(config.report_secs);
    let troubles = Troubles::new("cannot use a pool");
    let (discovered, heard) = (None, true);
    let mut reporter = Reporter { store, client, id, config, port, refusals, discovered, troubles, heard };
    let rounds = async {
        loop {
            reporter.report().await;
            tokio::time::sleep(every).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = rounds => {}
    }
}

struct Reporter<E> {
    store: Store<E>,
    client: Client,
    id: StorageServerId,
    config: Config,
    port: u16,
    refusals: Refusals,
    /// The own address on the way to the management service, when it was last found out.
    discovered: Option<IpAddr>,
    troubles: Troubles,
    /// Whether the last report was heard.
    heard: bool,
}

impl<E: Exporter> Reporter<E> {
    async fn report(&mut self) {
        self.discover().await;
        let mount_address = self.config.address.or(self.discovered);
        if let Some(address) = mount_address {
            self.store.set_address(address);
        }
        let Some(api_address) = api_address(self.config.listen.ip(), self.discovered, self.port) else {
            return;
        };
        // Until it is known, no pool has a status, which is no trouble of the pools.
        let pools = if mount_address.is_some() { self.pools().await } else { vec![] };
        let agent_version = env!("CARGO_PKG_VERSION").into();
        let (api_address, refusals) = (api_address.to_string(), self.refusals.take());
        self.send(StorageReport { api_address, agent_version, pools, refusals }).await;
    }

    /// Finds out the own address. While that does not succeed, it is the last one.
    async fn discover(&mut self) {
        let found = tokio::time::timeout(LOOK_UP, address_towards(&self.config.management)).await;
        self.discovered = found.ok().flatten().or(self.discovered);
    }

    /// The pools that answer.
    async fn pools(&mut self) -> Vec<PoolStatus> {
        let (mut answers, mut troubles) = (vec![], vec![]);
        for (pool, status) in self.store.statuses().await {
            match status {
                Ok(status) => answers.push(status),
                Err(error) => troubles.push((pool, error)),
            }
        }
        self.troubles.are(troubles);
        answers
    }

    async fn send(&mut self, report: StorageReport) {
        let answer =
            self.client.call::<StorageReportPost>(PeerId::Management, &(self.id,), &report, DEADLINE).await;
        match &answer {
            Ok(()) if !self.heard => tracing::info!("the management service hears reports again"),
            Err(error) if self.heard => {
                let error = error as &dyn std::error::Error;
                tracing::warn!(error, "the management service does not hear");
            }
            _ => {}
        }
        self.heard = answer.is_ok();
        if !self.heard {
            self.refusals.put_back(report.refusals);
        }
    }
}

/// Where the management service finds the API: where it listens, or for all addresses, the one on the way there.
fn api_address(listen: IpAddr, discovered: Option<IpAddr>, port: u16) -> Option<SocketAddr> {
    let address = if listen.is_unspecified() { discovered? } else { listen };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_where_it_listens_or_on_the_way_to_the_management_service() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let check = |listen, discovered, expected: Option<&str>| {
            let found = api_address(ip(listen), discovered, 8446).map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected);
        };
        check("10.0.0.1", Some(ip("10.0.0.2")), Some("10.0.0.1:8446"));
        check("10.0.0.1", None, Some("10.0.0.1:8446"));
        check("0.0.0.0", Some(ip("10.0.0.2")), Some("10.0.0.2:8446"));
        check("::", Some(ip("fd00::2")), Some("[fd00::2]:8446"));
        check("::", None, None);
    }
}
