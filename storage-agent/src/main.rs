//! The storage agent's program.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};
use podzol_rpc::Identity;
use podzol_rpc::daemon::{join_from_stdin, stop_on_signal};
use podzol_storage_agent::config::Config;
use podzol_storage_agent::export::NfsServer;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Podzol's storage agent.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, default_value = "/etc/podzol/storage-agent.toml", global = true)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Gets this server's identity from the management service with a one-time token, which is read from standard input.
    Join,
    /// Serves until told to stop.
    Run,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config: Config = podzol_rpc::config::load(&arguments.config)?;
    let identity = config.state_dir.join("identity");
    match arguments.command {
        Command::Join => {
            let peer = join_from_stdin(&config.management, &config.state_dir, 0o700).await?;
            println!("joined as {peer}");
            Ok(())
        }
        Command::Run => run(config, &identity).await,
    }
}

async fn run(config: Config, folder: &Path) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log)?;
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    let identity = Identity::load(folder)?
        .context("this server has no identity yet: run `podzol-storage-agent join` with a token from the management service")?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    podzol_storage_agent::serve(config, identity, NfsServer::default(), stop).await
}
