//! Networks up and down: podzol-hostnet against forking `ip` per step and against `ip -batch`.
//!
//! Usage: `bench-hostnet [NETWORKS [ROUNDS]]`, 500 and 3 if not given, as root on a kernel with 802.1q, bridge and
//! dummy. A network is a VLAN interface, a bridge and a port in it (a dummy that exists beforehand, as a tap would).
//! Up is timed until all ports are in their bridges; then the ports leave; down is timed until all links are gone. All contestants
//! run in every round, in one network namespace, and do the same: mark, IPv6 off, ports, removal. `ip` cannot turn
//! IPv6 off, so the program does that for it without a fork, which favours the others. Two variants are there for
//! comparison: a batch that removes links as a group, and a fork per link with all that can be said of it in one call,
//! which are the best that `ip` can do; and hostnet without hurrying the kernel in removals.

mod contestant;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use contestant::{Contestant, Hostnet, Plan};
use nix::sched::{CloneFlags, unshare};

fn main() -> Result<()> {
    ordinary_grace_periods()?;
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u16>());
    let networks = arguments.next().transpose().context("the number of networks")?.unwrap_or(500);
    let rounds = arguments.next().transpose().context("the number of rounds")?.unwrap_or(3);
    unshare(CloneFlags::CLONE_NEWNET).context("a network namespace")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(compare(&Plan::new(networks), rounds))
}

/// The lab's servers hurry always, so as to boot faster; a server that VMs run on does not.
fn ordinary_grace_periods() -> Result<()> {
    let switch = "/sys/kernel/rcu_expedited";
    std::fs::write(switch, "0").with_context(|| format!("cannot write to {switch}"))
}

/// The times of the three phases: up, ports out, down.
type Times = [Duration; 3];

async fn compare(plan: &Plan, rounds: u16) -> Result<()> {
    plan.prepare()?;
    let contestants = [
        ("hostnet", Contestant::Hostnet(Hostnet::open(true)?)),
        ("hostnet, unhurried", Contestant::Hostnet(Hostnet::open(false)?)),
        ("ip -batch", Contestant::Batch),
        ("ip -batch, group", Contestant::BatchGroup),
        ("fork ip per link", Contestant::ForkPerLink),
        ("fork ip per step", Contestant::ForkPerStep),
    ];
    let mut totals = [Times::default(); 6];
    for round in 1..=rounds {
        for ((name, contestant), total) in contestants.iter().zip(&mut totals) {
            let times = [
                timed(contestant.up(plan)).await?,
                timed(contestant.release(plan)).await?,
                timed(contestant.down(plan)).await?,
            ];
            plan.assert_gone()?;
            println!(
                "round {round}: {name:<18} up {:>8.1?}, ports out {:>8.1?}, down {:>8.1?}",
                times[0], times[1], times[2]
            );
            total.iter_mut().zip(times).for_each(|(total, time)| *total += time);
        }
    }
    contestants[..2]
        .iter()
        .zip(&totals)
        .for_each(|((name, _), base)| print_ratios(name, *base, &contestants, &totals));
    Ok(())
}

fn print_ratios(name: &str, base: Times, contestants: &[(&str, Contestant)], totals: &[Times]) {
    println!("\ntimes as long as {name:<20}  up   down  up+down  with ports out");
    for ((name, _), total) in contestants.iter().zip(totals) {
        let ratio = |phases: &[usize]| {
            let sum = |times: &Times| phases.iter().map(|phase| times[*phase].as_secs_f64()).sum::<f64>();
            sum(total) / sum(&base)
        };
        println!(
            "{name:<34} {:>6.2} {:>6.2} {:>8.2} {:>8.2}",
            ratio(&[0]),
            ratio(&[2]),
            ratio(&[0, 2]),
            ratio(&[0, 1, 2])
        );
    }
}

async fn timed(work: impl Future<Output = Result<()>>) -> Result<Duration> {
    let start = Instant::now();
    work.await?;
    Ok(start.elapsed())
}
