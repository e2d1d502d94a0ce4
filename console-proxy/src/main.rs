//! The console proxy's program.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use podzol_console_proxy::config::Config;
use podzol_rpc::Identity;
use podzol_rpc::daemon::stop_on_signal;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Podzol's console proxy.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, default_value = "/etc/podzol/console-proxy.toml")]
    config: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config: Config = podzol_rpc::config::load(&arguments.config)?;
    // Each proxy server has a thread of its own; this one only takes what the management service says.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start")?.block_on(run(config))
}

async fn run(config: Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log)?;
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    let folder = &config.identity;
    let identity = Identity::load(folder)?;
    let identity = identity.with_context(|| format!("there is no identity in {}", folder.display()))?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    podzol_console_proxy::serve(config.listen, identity, stop).await
}
