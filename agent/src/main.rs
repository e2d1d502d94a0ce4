//! The host agent's program.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};
use podzol_agent::Server;
use podzol_agent::config::Config;
use podzol_rpc::Identity;
use podzol_rpc::join::{JoinToken, join};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Podzol's host agent.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, default_value = "/etc/podzol/agent.toml", global = true)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Gets this host's identity from the management service with a one-time token, which is read from standard input.
    Join,
    /// Serves until told to stop.
    Run,
    /// Says whether KVM works on this host, by running a program in it.
    Probe,
    /// Connects standard input and output with the serial port of a VM on this host, for whoever operates it.
    Console {
        /// The VM's id.
        vm: podzol_vocab::VmId,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config: Config = podzol_rpc::config::load(&arguments.config)?;
    let identity = config.state_dir.join("identity");
    match arguments.command {
        Command::Join => join_with_token(&config, &identity).await,
        Command::Run => run(config, &identity).await,
        Command::Probe => {
            let problem = podzol_hypervisor::probe::kvm_problem(&config.emulator).await;
            println!(
                "{}",
                problem.map_or("KVM works".into(), |problem| format!("KVM cannot be used: {problem}"))
            );
            Ok(())
        }
        Command::Console { vm } => console(&config, vm).await,
    }
}

/// Ends when the VM does, or when standard input does.
async fn console(config: &Config, vm: podzol_vocab::VmId) -> anyhow::Result<()> {
    let path = podzol_agent::serial_socket(config, vm);
    let socket = tokio::net::UnixStream::connect(&path)
        .await
        .with_context(|| format!("cannot connect to {}: does the VM run here?", path.display()))?;
    let (mut from_vm, mut to_vm) = socket.into_split();
    let (mut input, mut output) = (tokio::io::stdin(), tokio::io::stdout());
    tokio::select! {
        ended = tokio::io::copy(&mut input, &mut to_vm) => drop(ended?),
        ended = tokio::io::copy(&mut from_vm, &mut output) => drop(ended?),
    }
    Ok(())
}

async fn join_with_token(config: &Config, folder: &Path) -> anyhow::Result<()> {
    let text =
        std::io::read_to_string(std::io::stdin()).context("cannot read the token from standard input")?;
    let token: JoinToken = text.parse().map_err(|error| anyhow::anyhow!("the token {error}"))?;
    let identity = join(&config.management, &token).await?;
    private(&config.state_dir)?;
    identity.store(folder)?;
    println!("joined as {}", token.peer);
    Ok(())
}

async fn run(config: Config, folder: &Path) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log).context("log: is not a valid filter")?;
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    let identity = Identity::load(folder)?.context(
        "this host has no identity yet: run `podzol-agent join` with a token from the management service",
    )?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let platform = Server::new(&config)?;
    podzol_agent::serve(config, identity, platform, stop).await
}

/// QEMU's user must get through the folder to the VMs' files; nobody may list it.
fn private(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711))
        .with_context(|| format!("cannot protect {}", folder.display()))
}

/// Cancels on SIGTERM and SIGINT.
fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}
