//! Reporting: on every change, and every few seconds.

use std::net::IpAddr;
use std::time::Duration;

use podzol_agent_api::report::{HostReport, HostReportPost, HypervisorReport, LinkReport, MountReport};
use podzol_hostnet::{Interface, Links};
use podzol_rpc::daemon::address_towards;
use podzol_rpc::{Client, PeerId};
use podzol_vocab::HostId;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::inventory;
use crate::mounts::Mounts;
use crate::platform::Platform;
use crate::vms::Vms;

/// Changes that come together are told together.
const GATHER: Duration = Duration::from_millis(30);

/// How long the management service may take to answer a report.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) async fn run<P: Platform>(
    vms: Vms<P>,
    client: Client,
    host: HostId,
    config: Config,
    port: u16,
    stop: CancellationToken,
) {
    let every = Duration::from_secs(config.report_secs);
    let mut links = vms.platform().links().watch().ok();
    let mut heard = true;
    loop {
        // Until the hypervisor has answered, a report would say that no VM is here.
        if vms.hypervisor().is_some() {
            let report = make(&vms, own_address(&config, port).await).await;
            let reserved = config.memory_reserved_mib;
            let report = HostReport { memory_mib: report.memory_mib.saturating_sub(reserved), ..report };
            let answer = client.call::<HostReportPost>(PeerId::Management, &host, &report, DEADLINE).await;
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
            () = vms.news() => {}
            () = link_changed(&mut links) => {}
            () = tokio::time::sleep(every) => {}
        }
        tokio::time::sleep(GATHER).await;
    }
}

async fn link_changed(links: &mut Option<podzol_hostnet::Watch>) {
    match links {
        Some(watch) => {
            if !watch.changed().await {
                *links = None;
            }
        }
        None => std::future::pending().await,
    }
}

/// All that is worth knowing of this host, now.
pub(crate) async fn make<P: Platform>(vms: &Vms<P>, api_address: String) -> HostReport {
    let inventory = inventory::read();
    let facts = vms.hypervisor().unwrap_or_default();
    let interfaces = vms.platform().links().interfaces().await.unwrap_or_default();
    let mounted = vms.platform().mounts().mounted();
    HostReport {
        api_address,
        agent_version: env!("CARGO_PKG_VERSION").into(),
        boot_id: inventory::boot_id(),
        hypervisor: HypervisorReport {
            version: facts.version,
            accelerator: facts.accelerator.filter(|_| facts.trouble.is_none()),
            problem: facts
                .trouble
                .or(facts.kvm_problem.map(|problem| format!("KVM cannot be used: {problem}"))),
        },
        cpus: inventory.cpus,
        memory_mib: inventory.memory_mib,
        memory_used_mib: inventory.memory_used_mib,
        load: inventory.load,
        vms: vms.list(),
        links: interfaces.into_iter().map(link).collect(),
        mounts: mounted
            .into_iter()
            .map(|(source, target)| MountReport { source, target: target.display().to_string() })
            .collect(),
    }
}

fn link(interface: Interface) -> LinkReport {
    let link = interface.link;
    LinkReport {
        kind: link.kind.as_str().map(str::to_owned),
        vlan: link.vlan(),
        up: link.up,
        mtu: link.mtu,
        ours: link.is_ours(),
        name: link.name,
        master: interface.master,
        speed_mbps: interface.speed_mbps,
        addresses: interface
            .addresses
            .iter()
            .map(|(address, length)| format!("{address}/{length}"))
            .collect(),
    }
}

/// Where the management service reaches this agent: as configured, or the address from which this host reaches it.
async fn own_address(config: &Config, port: u16) -> String {
    let address = match config.address {
        Some(address) => address,
        None => address_towards(&config.management).await.unwrap_or(IpAddr::from([127, 0, 0, 1])),
    };
    std::net::SocketAddr::new(address, port).to_string()
}
