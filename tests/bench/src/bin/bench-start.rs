//! Podzol's share of a VM's start, on a lab that is up: from the API call to the running VM, against `virsh start` of the
//! same domain on the same host in the same run.
//!
//! Usage: `bench-start [ROUNDS]`, 10 if not given. Each round stops and starts one VM through the command `podzol`, and then
//! starts a copy of its domain (another name and id, the same devices) with virsh.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use podzol_lab::cloud::wait_for;
use podzol_lab::{Cloud, Lab};
use serde_json::Value;

/// The VM that is started; another of its network stays on its host, so that the copy finds its bridge.
const VM: &str = "bench-start";

fn main() -> Result<()> {
    let rounds: usize =
        std::env::args().nth(1).map_or(Ok(10), |rounds| rounds.parse()).context("the rounds")?;
    let lab = Lab::of(Path::new("."), Path::new("target/debug"))?;
    let key = lab.read()?.accounts["acme"].key.clone();
    let cloud = lab.cloud()?.with_key(key);
    cloud.podzol(&format!("vm create {VM} --offering tiny --template tiny --network net --wait"))?;
    let (mut calls, mut shares, mut virsh) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = Value::Null;
    for round in 1..=rounds {
        cloud.podzol(&format!("vm stop {VM} --grace 0 --wait"))?;
        let begun = Instant::now();
        cloud.podzol(&format!("vm start {VM} --wait"))?;
        let call = begun.elapsed().as_secs_f64() * 1000.0;
        last = cloud.podzol(&format!("vm show {VM}"))?;
        let libvirt = step(&last, "host: libvirt")?;
        wait_booted(&cloud)?;
        let bare = virsh_start(&lab, &last)?;
        println!(
            "round {round}: call to running {call:.0} ms, of it libvirt {libvirt:.0} ms; virsh start {bare:.0} ms"
        );
        calls.push(call);
        shares.push(call - libvirt);
        virsh.push(bare);
    }
    println!("\nthe last start, as `podzol vm show` prints it:");
    for step in last["start_timing"].as_array().into_iter().flatten() {
        println!(
            "  {:<16} {:>9.1} ms",
            step["step"].as_str().unwrap_or_default(),
            step["micros"].as_f64().unwrap_or(0.0) / 1000.0
        );
    }
    println!("\n                       p50 ms    p99 ms");
    for (name, values) in
        [("call to running", &mut calls), ("Podzol's share", &mut shares), ("virsh start", &mut virsh)]
    {
        println!("{name:<20} {:>8.0}  {:>8.0}", percentile(values, 50), percentile(values, 99));
    }
    cloud.podzol(&format!("vm delete {VM} --wait"))?;
    Ok(())
}

/// Waits until the VM has booted, so that it does not take the host's processor from the copy.
fn wait_booted(cloud: &Cloud) -> Result<()> {
    let ready = format!("tiny ready {VM}");
    wait_for("the VM to have booted", Duration::from_secs(120), || {
        let log = cloud.podzol(&format!("vm console-log {VM}"))?;
        let text = log["text"].as_str().unwrap_or_default();
        Ok(text.lines().any(|line| line.trim_end() == ready).then_some(()))
    })
}

fn step(vm: &Value, name: &str) -> Result<f64> {
    let steps = vm["start_timing"].as_array().context("a VM without timing")?;
    let step = steps.iter().find(|step| step["step"] == name).with_context(|| format!("no step {name}"))?;
    Ok(step["micros"].as_f64().unwrap_or(0.0) / 1000.0)
}

/// Starts a copy of a VM's domain with virsh, and removes it. Gives the milliseconds of the start, measured on its host.
fn virsh_start(lab: &Lab, vm: &Value) -> Result<f64> {
    let id = vm["id"].as_str().context("a VM without an id")?;
    let admin = lab.cloud()?;
    let host =
        admin.podzol(&format!("vm show {id}"))?["host"].as_str().context("a VM without a host")?.to_owned();
    let host = admin.podzol(&format!("host show {host}"))?["name"]
        .as_str()
        .context("a host without a name")?
        .to_owned();
    let script = format!(
        "set -e; mkdir -p /tmp/bench; cp /var/lib/podzol-agent/vms/{id}/seed.iso /tmp/bench/; chmod 777 /tmp/bench; \
         virsh dumpxml --inactive {id} | sed -e '/<metadata>/,/<\\/metadata>/d' -e 's/<name>.*<\\/name>/<name>bench<\\/name>/' \
         -e '/<uuid>/d' -e '/<mac address/d' -e '/<target dev=.pzt/d' -e 's#/var/lib/podzol-agent/vms/{id}#/tmp/bench#' -e 's#<readonly/>#<readonly/><shareable/>#' \
         -e \"s#<source file='\\(/var/lib/podzol-agent/pools[^']*\\)'/*>#<source file='/tmp/bench/disk.qcow2'>#\" > /tmp/bench.xml; \
         qemu-img create -q -f qcow2 /tmp/bench/disk.qcow2 1G; chmod 666 /tmp/bench/disk.qcow2; virsh -q define /tmp/bench.xml; \
         a=$(date +%s%N); virsh -q start bench; b=$(date +%s%N); virsh -q destroy bench; virsh -q undefine bench; \
         rm -rf /tmp/bench /tmp/bench.xml; echo $(( (b - a) / 1000 ))"
    );
    let micros = lab.ssh(&lab.host(&host)?).run(&script)?;
    Ok(micros.lines().last().context("virsh printed nothing")?.trim().parse::<f64>()? / 1000.0)
}

/// The value below which that share of all values lies.
fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len() * percent).div_ceil(100)).saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
