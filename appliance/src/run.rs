//! The router as a program: from the seed to the control API, and then until it is told to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::time::{ClockId, clock_gettime};
use podzol_appliance_api::{PORT, Phase, RouterSeed};
use podzol_rpc::daemon::stop_on_signal;
use podzol_rpc::tls::{self, Clients};
use podzol_rpc::{Identity, Refusals};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::health;
use crate::links::MANAGEMENT;
use crate::links::kernel::Kernel;
use crate::log::Ring;
use crate::router::{Router, chain};
use crate::serve::{Services, sockets};
use crate::server;
use crate::status::Overview;

/// Where the image says which it is.
const IMAGE: &str = "/etc/podzol-image";

/// How often what somebody else may have changed is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Every which time rules are looked at: listing 10,000 elements takes a second on an emulated machine.
const LOOKS_AT_RULES: u64 = 3;

/// What a router starts with.
#[derive(Debug, Default)]
pub struct Options {
    /// The file with the seed; without one, the drive has it.
    pub seed: Option<PathBuf>,
}

/// Runs a router until it is told to stop.
///
/// # Errors
/// When it cannot start.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let log = Ring::default();
    let filter = EnvFilter::new("info,netlink_packet_route=error");
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(log.clone()).init();
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;

    let mut boot = vec![phase("kernel and init")];
    let seed = match &options.seed {
        Some(path) => crate::seed::from_file(path)?,
        None => crate::seed::from_drive().await?,
    };
    boot.push(phase("seed"));
    let RouterSeed { ca, certificate, key, management } = seed;
    let address = management.address;
    let router = Arc::new(Router::start(management, Kernel::open()?).await?);
    boot.push(phase("rules and link"));
    let identity = Identity { ca_pem: ca, certificate_pem: certificate, key_pem: key };
    let tls = Arc::new(tls::server_config(&identity, Clients::MustShowCertificate)?);
    let listener = sockets::tcp(MANAGEMENT, address, PORT)
        .with_context(|| format!("cannot listen on {address}:{PORT}"))?;
    boot.push(phase("ready"));
    let last = boot.last().map_or(0, |phase| phase.done_micros);
    tracing::info!(%address, after_ms = last / 1000, "ready");

    let services = Services::new(router.shown());
    let image = std::fs::read_to_string(IMAGE).unwrap_or_default().trim().to_owned();
    let kernel = Kernel::open()?;
    let checking = tokio::spawn(health::follow(Arc::clone(&router), router.shown(), stop.clone()));
    let overview = Arc::new(Overview {
        router,
        services: services.clone(),
        log,
        kernel,
        image,
        boot,
        one_look: Mutex::default(),
    });
    let refusals = Refusals::default();
    let routes = server::routes(Arc::clone(&overview), refusals.clone());
    // One that ends before its time ends the router, and with it the machine, which starts anew.
    let essential = |task: tokio::task::JoinHandle<()>| {
        let stop = stop.clone();
        async move {
            if task.await.is_err() || !stop.is_cancelled() {
                tracing::error!("an essential task has ended");
                stop.cancel();
                return Err(anyhow::anyhow!("an essential task has ended"));
            }
            Ok(())
        }
    };
    let serving = tokio::spawn(podzol_rpc::server::serve(
        listener,
        tls,
        routes,
        refusals.of_connections(),
        stop.clone(),
    ));
    let services = tokio::spawn(services.run(stop.clone()));
    let looking = tokio::spawn(look(overview, stop.clone()));
    let ends = tokio::join!(essential(serving), essential(services), essential(looking), essential(checking));
    ends.0.and(ends.1).and(ends.2).and(ends.3)
}

/// Puts right what somebody else has changed.
async fn look(overview: Arc<Overview>, stop: CancellationToken) {
    let cut_off = overview.router.cut_off();
    for round in 1_u64.. {
        let slept = tokio::select! {
            slept = stop.run_until_cancelled(tokio::time::sleep(LOOK)) => slept,
            // Nobody reaches this router any more: its machine starts anew.
            () = cut_off.cancelled() => None,
        };
        if slept.is_none() {
            return;
        }
        if let Err(error) = overview.router.repair_links().await {
            tracing::warn!(error = chain(&error), "links are not as they should be");
        }
        if !round.is_multiple_of(LOOKS_AT_RULES) {
            continue;
        }
        if let Err(error) = overview.router.repair_rules().await {
            tracing::warn!(error = chain(&error), "rules are not as they should be");
        }
    }
}

/// That a step is done now.
fn phase(step: &str) -> Phase {
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    Phase { step: step.into(), done_micros: since_boot.as_micros() as u64 }
}
