//! A cloud on a simulated pod in virtual time, of which each step fails in every way, and to which many things happen at
//! once.
//!
//! The management service, its database, the agents and TLS between them are the real ones; see `podzol-sim` for what is
//! simulated. The clock is: see [`podzol_test_support::virtual_time`].
//!
//! A schedule is drawn from its seed, so it can be replayed: the same requests at the same times, and the same fate for
//! the n-th call to each part. What goes on within one instant is left to the threads, as on real servers; a seed that
//! failed may need some replays.

mod beside;
mod calls;
mod hung;
mod join;
mod routers;
mod steps;
mod storm;
mod world;

use std::process::{Child, Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use podzol_test_support::virtual_time;

use crate::steps::FLOWS;
use crate::world::World;

#[derive(Parser)]
#[command(about = "A simulated cloud in virtual time, and what can go wrong with it")]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Does all of this, one after another.
    All {
        /// How many schedules.
        #[arg(long, default_value_t = 2000)]
        count: u64,
        /// After how many minutes no more schedules begin, which come last; they have five minutes at least.
        #[arg(long, default_value_t = 600)]
        minutes: u64,
        /// How many processes share the work.
        #[arg(long, default_value_t = 2)]
        jobs: u64,
        /// Only each so many-th failure of a step.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        each: u64,
    },
    /// Has every step of every flow fail in every way.
    Steps {
        /// Only each so many-th failure.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        each: u64,
        /// How many processes share the work.
        #[arg(long, default_value_t = 2)]
        jobs: u64,
        /// Only these flows, in this process.
        #[arg(long)]
        flow: Vec<String>,
    },
    /// Runs the schedules of many seeds.
    Storms {
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// How many seeds.
        #[arg(long, default_value_t = 2000)]
        count: u64,
        /// For how many minutes at most.
        #[arg(long, default_value_t = 600)]
        minutes: u64,
        /// How many processes share the work.
        #[arg(long, default_value_t = 2)]
        jobs: u64,
    },
    /// Has servers join and leave while every step of it fails in every way.
    Join,
    /// Has a server hang, and sees what becomes of the others.
    Hung,
    /// Has agents of the version before do what they could.
    Beside,
    /// Prints the members of all that this version's parts say to one another.
    Shapes,
    /// Replays the schedule of one seed, and prints what happens.
    Storm {
        /// The seed.
        seed: u64,
    },
    /// Runs the schedules of every `every`-th seed, in this process.
    #[command(hide = true)]
    Share { from: u64, end: u64, every: u64, minutes: u64 },
}

/// Where the shares have their databases and pools: what is durable is another matter than what is done.
const IN_MEMORY: &str = "/dev/shm";

/// Set in the environment of shares.
const IS_SHARE: &str = "PODZOL_SHARE";

/// The seed whose schedule runs now; 0 if none.
static SEED: AtomicU64 = AtomicU64::new(0);

fn main() -> ExitCode {
    match run_command(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        // Without where it was made: whoever sees only the end of a long log wants to see what failed.
        Err(error) => {
            eprintln!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_command(command: What) -> anyhow::Result<()> {
    if std::env::var_os(IS_SHARE).is_some() {
        // Whoever began it may be killed.
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        hook(panic);
        let seed = SEED.load(Ordering::Relaxed);
        if seed > 0 {
            eprintln!("seed {seed}: `podzol-schedules storm {seed}` replays it");
        }
    }));
    let begun = Instant::now();
    match command {
        What::All { count, minutes, jobs, each } => {
            let (jobs, each) = (format!("--jobs={jobs}"), format!("--each={each}"));
            let share =
                |part: &[&str]| share_out([part.iter().map(ToString::to_string).collect()].into_iter());
            for part in [&["join"][..], &["hung"], &["beside"], &["steps", &jobs, &each]] {
                share(part)?;
            }
            let minutes = minutes.saturating_sub(begun.elapsed().as_secs() / 60).max(5);
            share(&["storms", &jobs, &format!("--count={count}"), &format!("--minutes={minutes}")])?;
        }
        What::Steps { jobs, flow, each } if flow.is_empty() => {
            let shares = (0..jobs as usize).map(|share| {
                let flows = FLOWS.iter().skip(share).step_by(jobs as usize);
                ["steps".to_owned(), format!("--each={each}")]
                    .into_iter()
                    .chain(flows.map(|flow| format!("--flow={flow:?}")))
                    .collect()
            });
            share_out(shares)?;
        }
        What::Steps { flow: names, each, .. } => {
            let flows: Vec<_> =
                FLOWS.into_iter().filter(|flow| names.contains(&format!("{flow:?}"))).collect();
            ensure!(flows.len() == names.len(), "--flow: must be one of {FLOWS:?}");
            let failures = virtual_time::run(steps::run_all(&flows, each)).map_err(anyhow::Error::msg)?;
            println!("{failures} failures of {} flows", flows.len());
        }
        What::Storms { from, count, minutes, jobs } => {
            let shares = (0..jobs).map(|share| {
                let numbers = [from + share, from + count, jobs, minutes].map(|number| number.to_string());
                ["share".to_owned()].into_iter().chain(numbers).collect()
            });
            share_out(shares)?;
        }
        What::Join => {
            let failures = virtual_time::run(join::run_all()).map_err(anyhow::Error::msg)?;
            println!("{failures} failures of servers that join and leave");
        }
        What::Hung => virtual_time::run(hung::run_all()).map_err(anyhow::Error::msg)?,
        What::Beside => virtual_time::run(beside::run()).map_err(anyhow::Error::msg)?,
        What::Shapes => {
            let shapes = virtual_time::run(beside::record()).map_err(anyhow::Error::msg)?;
            println!("{}", serde_json::to_string_pretty(&shapes)?);
        }
        What::Storm { seed } => drop(run([seed], true)?),
        What::Share { from, end, every, minutes } => {
            let in_time = |_: &u64| begun.elapsed() < Duration::from_secs(60 * minutes);
            let seeds = (from..end).step_by(every as usize).take_while(in_time);
            let schedules = run(seeds, false)?;
            println!("{schedules} schedules, {} s", begun.elapsed().as_secs());
            let wanted = (from..end).step_by(every as usize).count();
            if schedules < wanted {
                println!("{} schedules were not run: the time is up", wanted - schedules);
            }
        }
    }
    Ok(())
}

/// Runs this program once for each share of the work, side by side. They die with this process.
fn share_out(shares: impl Iterator<Item = Vec<String>>) -> anyhow::Result<()> {
    let start = |share: Vec<String>| {
        // What runs, even if something else has been built at its path since.
        let mut command = Command::new("/proc/self/exe");
        command.args(&share).env("TMPDIR", IN_MEMORY).env(IS_SHARE, "1");
        Ok((command.spawn().context("cannot start a share")?, share.join(" ")))
    };
    let children: Vec<(Child, String)> = shares.map(start).collect::<anyhow::Result<_>>()?;
    let mut failed = Vec::new();
    for (mut child, share) in children {
        let status = child.wait()?;
        if !status.success() {
            failed.push(format!("{share} ({status})"));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join(", "));
    Ok(())
}

fn run(seeds: impl IntoIterator<Item = u64>, log: bool) -> anyhow::Result<usize> {
    virtual_time::run(storms(seeds, log)).map_err(anyhow::Error::msg)
}

/// Runs the schedules of seeds, and says how many those were.
async fn storms(seeds: impl IntoIterator<Item = u64>, log: bool) -> Result<usize, String> {
    let mut world = World::with_routers().await;
    let mut schedules = 0;
    for seed in seeds {
        SEED.store(seed, Ordering::Relaxed);
        storm::run(&mut world, seed, log)
            .await
            .map_err(|error| format!("seed {seed} (`podzol-schedules storm {seed}` replays it): {error}"))?;
        schedules += 1;
    }
    Ok(schedules)
}
