//! The router as a program: from the seed to the control API, and then until it is told to stop.

use std::io::Write;
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
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::capture::Captures;
use crate::console::ConsoleProxy;
use crate::haproxy::{self, Balancing};
use crate::health;
use crate::init::heart::BEAT;
use crate::links::MANAGEMENT;
use crate::links::kernel::Kernel;
use crate::log::Ring;
use crate::router::{Router, chain};
use crate::serve::{Services, sockets};
use crate::server;
use crate::status::{Overview, memory_kib};

/// Where the image says which it is.
const IMAGE: &str = "/etc/podzol-image";

/// How often what somebody else may have changed is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What a router starts with.
#[derive(Debug, Default)]
pub struct Options {
    /// The file with the seed; without one, the drive has it.
    pub seed: Option<PathBuf>,
    /// Whether somebody listens on standard output for whether it lives.
    pub heartbeat: bool,
}

/// Runs a router until it is told to stop.
///
/// # Errors
/// When it cannot start.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let log = Ring::default();
    // Not a filter that is read from text, which would bring an engine of regular expressions along.
    let levels = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("netlink_packet_route", LevelFilter::ERROR);
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(log.clone());
    tracing_subscriber::registry().with(lines.with_filter(levels)).init();
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    if options.heartbeat {
        tokio::spawn(beat());
    }

    let mut boot = vec![phase("kernel and init")];
    let seed = match &options.seed {
        Some(path) => crate::seed::from_file(path)?,
        None => crate::seed::from_drive().await?,
    };
    boot.push(phase("seed"));
    let RouterSeed { ca, certificate, key, management, console_proxy } = seed;
    let address = management.address;
    let balancing = if haproxy::is_here() {
        Some(Balancing::new(memory_kib().1 << 10).context("haproxy cannot be prepared")?)
    } else {
        None
    };
    let console = match &console_proxy {
        Some(identity) => Some(
            ConsoleProxy::prepare(&ca, identity, address).context("the console proxy cannot be prepared")?,
        ),
        None => None,
    };
    let (router, first_look) = Router::start(management, Kernel::open()?, balancing.clone()).await?;
    let router = Arc::new(router);
    boot.push(phase("rules and link"));
    let identity = Identity { ca_pem: ca, certificate_pem: certificate, key_pem: key };
    let tls = Arc::new(tls::server_config(&identity, Clients::MustShowCertificate)?);
    let listener = sockets::tcp(MANAGEMENT, address, PORT)
        .with_context(|| format!("cannot listen on {address}:{PORT}"))?;
    boot.push(phase("ready"));
    let last = boot.last().map_or(0, |phase| phase.done_micros);
    tracing::info!(%address, after_ms = last / 1000, "ready");

    let overview = Arc::new(Overview {
        services: Services::new(router.shown()),
        router,
        balancing,
        console,
        log,
        kernel: Kernel::open()?,
        image: std::fs::read_to_string(IMAGE).unwrap_or_default().trim().to_owned(),
        boot,
        one_look: Mutex::default(),
        one_diagnosis: Mutex::default(),
        captures: Captures::default(),
    });
    let refusals = Refusals::default();
    let routes = server::routes(Arc::clone(&overview), refusals.clone());
    let serving = podzol_rpc::server::serve(listener, tls, routes, refusals.of_connections(), stop.clone());
    let serving = async {
        tokio::pin!(serving);
        tokio::select! {
            // Who asks for something meanwhile waits for it.
            looked = first_look.take() => match looked {
                Ok(()) => serving.await,
                Err(error) => tracing::error!(error = format!("{error:#}"), "the router cannot look at itself"),
            },
            () = &mut serving => {}
        }
    };
    work(overview, serving, stop).await
}

/// Does all that a router does, until it is told to stop.
async fn work(
    overview: Arc<Overview>,
    serving: impl Future<Output = ()> + Send + 'static,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let router = &overview.router;
    let mut tasks = JoinSet::new();
    tasks.spawn(serving);
    tasks.spawn(overview.services.clone().run(stop.clone()));
    tasks.spawn(health::follow(Arc::clone(router), router.shown(), stop.clone()));
    if let Some(balancing) = &overview.balancing {
        tasks.spawn(balancing.clone().follow(router.http(), stop.clone()));
    }
    if let Some(console) = &overview.console {
        tasks.spawn(console.clone().follow(stop.clone()));
    }
    tasks.spawn(look(Arc::clone(&overview), stop.clone()));
    let mut result = Ok(());
    while let Some(ended) = tasks.join_next().await {
        // One that ends before its time ends the router, and with it the machine, which starts anew.
        if ended.is_err() || !stop.is_cancelled() {
            tracing::error!("an essential task has ended");
            stop.cancel();
            result = Err(anyhow::anyhow!("an essential task has ended"));
        }
    }
    result
}

/// Says again and again that this runtime does what it should, as all that runs in it has its turn.
async fn beat() {
    let mut beats = tokio::time::interval(BEAT);
    loop {
        beats.tick().await;
        // Whoever does not listen any more has ended, and this with it.
        let _ = std::io::stdout().write_all(b"\n").and_then(|()| std::io::stdout().flush());
    }
}

/// Puts right what somebody else has changed.
async fn look(overview: Arc<Overview>, stop: CancellationToken) {
    let cut_off = overview.router.cut_off();
    loop {
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
