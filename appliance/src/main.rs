//! `podzol-appliance`: PID 1 of a router, and the router.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use podzol_appliance::run::{Options, run};

/// Podzol's routing appliance. As the first process of a machine it takes no arguments.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the router in this network namespace, whose links and packet filter are its own from then on.
    Router {
        /// The file that says who it is; without it, the drive with the label `cidata` does.
        #[arg(long, value_name = "FILE")]
        seed: Option<PathBuf>,
        /// Says on standard output every two seconds that it lives, for a first process that listens.
        #[arg(long)]
        heartbeat: bool,
    },
}

fn main() -> ExitCode {
    if std::process::id() == 1 {
        podzol_appliance::init::run();
    }
    let Command::Router { seed, heartbeat } = Arguments::parse().command;
    // A router has one processor; a second thread only costs memory.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result =
        runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(Options { seed, heartbeat })));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("podzol-appliance: {error:#}");
            ExitCode::FAILURE
        }
    }
}
