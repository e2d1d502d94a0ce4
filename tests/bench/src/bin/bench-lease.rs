//! From `podzol vm start` to the VM's lease when its router must start too, on a lab that is up, with what takes how long.
//!
//! Usage: `bench-lease [ROUNDS]`, 3 if not given. A round begins when the router has been collected, which in a lab is a minute
//! after its last VM was stopped, and after that starts the VM twice: with no router, and beside the one that is there then. The
//! tiny VM says on its serial port that it is ready once it has its lease.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use podzol_lab::cloud::wait_for;
use podzol_lab::{Cloud, Lab};

const ACCOUNT: &str = "bench-lease";
const VM: &str = "bench-lease";

/// What one start took, in seconds.
struct Start {
    /// Until the VM runs.
    runs: f64,
    /// Until it has its lease.
    leased: f64,
    /// The steps on the way, as `podzol vm show` has them.
    steps: Vec<(String, f64)>,
}

fn main() -> Result<()> {
    let rounds: usize =
        std::env::args().nth(1).map_or(Ok(3), |rounds| rounds.parse()).context("the rounds")?;
    let lab = Lab::of(Path::new("."), Path::new("target/debug"))?;
    let admin = lab.cloud()?;
    admin.podzol(&format!("account create {ACCOUNT}"))?;
    let measured = measure(&admin, rounds);
    let removed = remove(&admin);
    let (alone, beside) = measured?;
    removed?;
    println!("\n                                  with its router   router there");
    let of = |starts: &[Start], what: &dyn Fn(&Start) -> f64| {
        let mut all: Vec<f64> = starts.iter().map(what).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let row = |name: &str, what: &dyn Fn(&Start) -> f64| {
        println!("{name:<32} {:>15.1} s {:>12.1} s", of(&alone, what), of(&beside, what));
    };
    let names: Vec<&str> =
        alone.iter().take(1).flat_map(|start| start.steps.iter().map(|(name, _)| name.as_str())).collect();
    for name in names {
        row(name, &|start| start.steps.iter().find(|(step, _)| step == name).map_or(0.0, |(_, took)| *took));
    }
    row("until it runs", &|start| start.runs);
    row("until it has its lease", &|start| start.leased);
    Ok(())
}

/// Removes the account and all that it has.
fn remove(admin: &Cloud) -> Result<()> {
    for line in [format!("vm delete {VM} --wait"), "network delete bench-lease".into()] {
        admin.podzol(&line)?;
    }
    no_router(admin)?;
    for user in
        admin.podzol(&format!("user list --filter account={ACCOUNT}"))?.as_array().into_iter().flatten()
    {
        admin.podzol(&format!("user delete {}", user["id"].as_str().context("a user without an id")?))?;
    }
    // Its network goes once its hosts have let go of it.
    wait_for("the account to go", Duration::from_secs(60), || {
        admin.podzol(&format!("account delete {ACCOUNT}")).map(|_| Some(()))
    })
}

fn measure(admin: &Cloud, rounds: usize) -> Result<(Vec<Start>, Vec<Start>)> {
    let user = admin.podzol(&format!("user create owner --account {ACCOUNT}"))?;
    let user = user["id"].as_str().context("a user without an id")?;
    let key = admin.podzol(&format!("key create bench --user {user}"))?;
    let cloud = admin.with_key(key["secret"].as_str().context("a key without its text")?);
    cloud.podzol("network create bench-lease --zone z1 --cidr 10.9.1.0/24")?;
    cloud.podzol(&format!("vm create {VM} --offering tiny --template tiny --network bench-lease --wait"))?;
    ready(&cloud)?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        for (starts, is_alone) in [(&mut alone, true), (&mut beside, false)] {
            cloud.podzol(&format!("vm stop {VM} --grace 0 --wait"))?;
            if is_alone {
                no_router(admin)?;
            }
            let start = start(&cloud)?;
            println!("round {round}: runs after {:.1} s, lease after {:.1} s", start.runs, start.leased);
            starts.push(start);
        }
    }
    Ok((alone, beside))
}

fn start(cloud: &Cloud) -> Result<Start> {
    let begun = Instant::now();
    cloud.podzol(&format!("vm start {VM} --wait"))?;
    let runs = begun.elapsed().as_secs_f64();
    ready(cloud)?;
    let leased = begun.elapsed().as_secs_f64();
    let shown = cloud.podzol(&format!("vm show {VM}"))?;
    let steps = shown["start_timing"].as_array().into_iter().flatten().map(|step| {
        let name = step["step"].as_str().unwrap_or_default().to_owned();
        (name, step["micros"].as_f64().unwrap_or(0.0) / 1e6)
    });
    Ok(Start { runs, leased, steps: steps.collect() })
}

/// Waits until the VM, which runs, has said that it is ready. What is kept of its serial port goes when it is stopped.
fn ready(cloud: &Cloud) -> Result<()> {
    let ready = format!("tiny ready {VM}");
    wait_for("the VM to have its lease", Duration::from_secs(300), || {
        let log = cloud.podzol(&format!("vm console-log {VM}"))?;
        let said = log["text"].as_str().unwrap_or_default();
        ensure!(said.lines().any(|line| line.trim_end() == ready), "it says {said:?}");
        Ok(Some(()))
    })
}

fn no_router(admin: &Cloud) -> Result<()> {
    wait_for("the router to be collected", Duration::from_secs(300), || {
        let routers = admin.podzol(&format!("router list --filter account={ACCOUNT}"))?;
        ensure!(routers.as_array().is_some_and(Vec::is_empty), "it is there");
        Ok(Some(()))
    })
}
