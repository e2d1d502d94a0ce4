//! The management service's program: configuration and wiring.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use podzol_mgmt::config::Config;
use podzol_rpc::daemon::stop_on_signal;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Podzol's management service.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves until told to stop. The first start makes the database, the certificate authority, and an admin, whose
    /// key it writes to `admin.key` in the data folder.
    Run {
        /// The configuration file.
        #[arg(long, default_value = "/etc/podzol/mgmt.toml")]
        config: PathBuf,
    },
    /// Prints the OpenAPI document of the API.
    Openapi,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Openapi => print!("{}", podzol_mgmt_http::openapi()),
        Command::Run { config } => run(&config)?,
    }
    Ok(())
}

#[tokio::main]
async fn run(path: &std::path::Path) -> anyhow::Result<()> {
    let config: Config = podzol_rpc::config::load(path)?;
    let filter = EnvFilter::try_new(&config.log)?;
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    podzol_mgmt::serve(config, stop).await
}
