//! The host agent's program.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};
use podzol_agent::Server;
use podzol_agent::config::Config;
use podzol_rpc::Identity;
use podzol_rpc::daemon::{join_from_stdin, stop_on_signal};
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
    /// Has libvirt forget VMs of Podzol's that it was about to start when it died. For units of libvirt, before it starts.
    ForgetUnborn,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Command::ForgetUnborn = arguments.command {
        return forget_unborn();
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    let result = runtime.block_on(act(arguments));
    // Threads that read from a terminal, or wait for a libvirtd that hangs, end with the process.
    runtime.shutdown_background();
    result
}

async fn act(arguments: Arguments) -> anyhow::Result<()> {
    let config: Config = podzol_rpc::config::load(&arguments.config)?;
    let identity = config.state_dir.join("identity");
    match arguments.command {
        Command::Join => {
            // QEMU's user must get through the folder to the VMs' files; nobody may list it.
            let peer = join_from_stdin(&config.management, &config.state_dir, 0o711).await?;
            println!("joined as {peer}");
            Ok(())
        }
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
        Command::ForgetUnborn => forget_unborn(),
    }
}

/// Needs no configuration: libvirtd starts whatever is in it.
fn forget_unborn() -> anyhow::Result<()> {
    let folder = Path::new(podzol_hypervisor::unborn::STATUS);
    let forgotten = podzol_hypervisor::unborn::forget(folder)
        .with_context(|| format!("cannot look through {}", folder.display()))?;
    for name in forgotten {
        println!("forgot {name}, which libvirt was about to start when it died");
    }
    Ok(())
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

async fn run(config: Config, folder: &Path) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log)?;
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    let identity = Identity::load(folder)?.context(
        "this host has no identity yet: run `podzol-agent join` with a token from the management service",
    )?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let platform = Server::new(&config)?;
    podzol_agent::serve(config, identity, platform, stop).await
}
