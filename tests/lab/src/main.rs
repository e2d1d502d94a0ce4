//! The lab's command.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use podzol_lab::machine::Accelerator;
use podzol_lab::{Lab, demo, forward, internet};

/// A pod of emulated servers on one machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The source tree.
    #[arg(long, default_value = ".", global = true)]
    tree: PathBuf,
    /// The folder with the compiled programs, in the tree.
    #[arg(long, default_value = "target/debug", global = true)]
    programs: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Brings a lab up, in place of one that is there.
    Up {
        /// How many computing hosts.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=100))]
        hosts: u8,
    },
    /// Says how the servers of a lab would run on this machine: in KVM, or by emulation, and why.
    Probe,
    /// Removes the lab: every process, namespace and file.
    Down,
    /// Shows whether the lab is up, and its servers.
    Status,
    /// Logs in to a server.
    Ssh {
        /// Its name, such as h1.
        host: String,
    },
    /// Runs a command on a server.
    Exec {
        /// Its name, such as h1.
        host: String,
        /// The command.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Passes connections into the lab's namespace; for the lab itself.
    #[command(hide = true)]
    Forward { listen: SocketAddr, namespace: String, target: SocketAddr },
    /// Is who can be reached outside; for the lab itself.
    #[command(hide = true)]
    Internet,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let lab = Lab::of(&arguments.tree, &arguments.programs)?;
    match arguments.command {
        Command::Up { hosts } => {
            let (accelerator, why) = probe()?;
            demo::up(&lab, hosts, accelerator, why.as_deref())
        }
        Command::Probe => {
            let (accelerator, why) = probe()?;
            println!("{}", accelerator.told(why.as_deref()));
            Ok(())
        }
        Command::Down => lab.down(),
        Command::Status => status(&lab),
        Command::Ssh { host } => {
            let host = lab.host(&host)?;
            Err(lab.ssh(&host).command().exec().into())
        }
        Command::Exec { host, command } => {
            let host = lab.host(&host)?;
            Err(lab.ssh(&host).command().args(command).exec().into())
        }
        Command::Forward { listen, namespace, target } => forward::run(listen, &namespace, target),
        Command::Internet => internet::run(),
    }
}

fn probe() -> anyhow::Result<(Accelerator, Option<String>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(Accelerator::of_this_machine()))
}

fn status(lab: &Lab) -> anyhow::Result<()> {
    let json = lab.read()?;
    println!(
        "namespaces {} and {}, {} processes, API {}",
        lab.namespace(),
        lab.outside_namespace(),
        lab.processes().len(),
        json.api_url
    );
    for host in lab.hosts()? {
        let state = if lab.ssh(&host).run("true").is_ok() { "answers" } else { "does not answer" };
        println!("{:<4} {:?} {} {state}", host.name, host.role, host.address);
    }
    Ok(())
}
