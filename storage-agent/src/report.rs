//! Reporting, every few seconds.

use std::net::SocketAddr;
use std::time::Duration;

use podzol_rpc::daemon::address_towards;
use podzol_rpc::{Client, PeerId};
use podzol_storage_api::{StorageReport, StorageReportPost};
use podzol_vocab::StorageServerId;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::export::Exporter;
use crate::store::Store;

/// How long the management service may take to answer a report.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) async fn run<E: Exporter>(
    store: Store<E>,
    client: Client,
    id: StorageServerId,
    config: Config,
    port: u16,
    stop: CancellationToken,
) {
    let mut heard = true;
    loop {
        let address = match config.address {
            Some(address) => Some(address),
            None => address_towards(&config.management).await,
        };
        if let Some(address) = address {
            store.set_address(address);
            let report = StorageReport {
                api_address: SocketAddr::new(address, port).to_string(),
                agent_version: env!("CARGO_PKG_VERSION").into(),
                pools: store.statuses(),
            };
            let answer =
                client.call::<StorageReportPost>(PeerId::Management, &(id,), &report, DEADLINE).await;
            match &answer {
                Ok(()) if !heard => tracing::info!("the management service hears reports again"),
                Err(error) if heard => {
                    tracing::warn!(
                        error = error as &dyn std::error::Error,
                        "the management service does not hear"
                    );
                }
                _ => {}
            }
            heard = answer.is_ok();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(config.report_secs)) => {}
        }
    }
}
