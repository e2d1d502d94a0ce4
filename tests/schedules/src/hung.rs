//! One host hangs: what is asked of the others takes no longer, and what is asked of it ends with a reason.

use std::time::Duration;

use podzol_rpc::weather::{self, Fate};
use podzol_sim::{Fault, Step};
use podzol_test_support::text;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::calls;
use crate::world::World;

/// How a host can hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hang {
    /// Its hypervisor answers nothing.
    Hypervisor,
    /// It answers each call after that long.
    Slow(Duration),
    /// It answers no call, but goes on reporting.
    Silent,
}

const HANGS: [Hang; 3] = [Hang::Hypervisor, Hang::Slow(Duration::from_secs(20)), Hang::Silent];

/// How much longer something may seem to take because virtual time goes in steps.
const STEPPING: Duration = Duration::from_secs(1);

/// How long an operation may be tried that has a deadline, and some more.
const DEADLINE: Duration = Duration::from_secs(400);

impl Hang {
    fn begin(self, world: &World) {
        let host = &world.pod.hosts[0];
        let peer = host.peer();
        match self {
            Hang::Hypervisor => {
                Step::OF_HYPERVISOR.iter().for_each(|step| host.hypervisor().fault(*step, Fault::Hangs))
            }
            Hang::Slow(late) => {
                weather::set(move |call| if call.peer == peer { Fate::IsLate(late) } else { Fate::Arrives });
            }
            Hang::Silent => {
                weather::set(move |call| if call.peer == peer { Fate::NeverArrives } else { Fate::Arrives });
            }
        }
    }

    fn end(self, world: &World) {
        Step::OF_HYPERVISOR.iter().for_each(|step| world.pod.hosts[0].hypervisor().heal(*step));
        calls::fair();
    }
}

/// The VMs on a host, by its place in the pod.
async fn vms_on(world: &World, host: usize) -> Vec<String> {
    let path = format!("/v1/vms?host={}", world.pod.hosts[host].id);
    world.admin().list(&path).await.iter().map(|vm| text(vm, "id")).collect()
}

/// Asks for a change of each of these VMs at once, and says how long it took until all had it.
async fn took(world: &World, vms: &[String], what: &str, body: &Value) -> Duration {
    let begun = Instant::now();
    let mut operations = Vec::new();
    for vm in vms {
        operations.push(world.admin().change_vm(vm, what, body.clone()).await);
    }
    for operation in operations {
        world.admin().succeeded(&operation).await;
    }
    begun.elapsed()
}

/// How long it takes the other hosts to do each of some things.
async fn of_others(world: &World) -> Vec<(&'static str, Duration)> {
    let (on_second, on_third) = (vms_on(world, 1).await, vms_on(world, 2).await);
    let all = [on_second.clone(), on_third].concat();
    let mut times = Vec::new();
    for what in ["reboot", "pause", "resume"] {
        times.push((what, took(world, &all, what, &Value::Null).await));
    }
    for host in [2, 1] {
        let to = json!({ "host": world.pod.hosts[host].id });
        times.push(("migrate", took(world, &on_second, "migrate", &to).await));
    }
    times
}

/// Has a host hang in each way.
///
/// # Errors
/// When the others notice, or when something does not end or converge.
pub(crate) async fn run_all() -> Result<(), String> {
    let mut world = World::make().await;
    for hang in HANGS {
        run(&mut world, hang).await.map_err(|error| format!("{hang:?}: {error}"))?;
    }
    Ok(())
}

async fn run(world: &mut World, hang: Hang) -> Result<(), String> {
    let api = world.acme.api.clone();
    let network = world.pod.network(&api, "net", "10.1.1.0/24").await;
    for number in 0..6 {
        world.pod.vm(&api, &format!("vm-{number}"), &network).await;
    }
    let before = of_others(world).await;
    let hung = vms_on(world, 0).await;
    assert_eq!(hung.len(), 2, "VMs are spread");

    hang.begin(world);
    let reboot = api.change_vm(&hung[0], "reboot", Value::Null).await;
    let stop = api.change_vm(&hung[1], "stop", json!({ "grace_secs": 0 })).await;
    sleep(Duration::from_secs(1)).await;
    let during = of_others(world).await;
    for ((what, before), (_, during)) in before.iter().zip(&during) {
        println!("{hang:?}: {what}: {before:?} before, {during:?} while a host hangs");
        if *during > *before + STEPPING {
            return Err(format!("{what} takes {during:?}, not {before:?}"));
        }
    }

    sleep(DEADLINE).await;
    let operation = async |id: &str| world.admin().get(&format!("/v1/operations/{id}")).await.ok();
    let (rebooted, stopped) = (operation(&reboot).await, operation(&stop).await);
    println!("{hang:?}: the reboot: {rebooted}\n{hang:?}: the stop: {stopped}");
    if !matches!(hang, Hang::Slow(_)) {
        // What is late is done all the same.
        if rebooted["state"] != "failed" || rebooted["error"]["detail"].as_str().is_none_or(str::is_empty) {
            return Err(format!("the reboot did not end with a reason: {rebooted}"));
        }
        if stopped["error"]["detail"].as_str().is_none_or(str::is_empty) {
            return Err(format!("the stop does not say what keeps it: {stopped}"));
        }
    }
    hang.end(world);
    world.converge().await?;
    world.holds().await?;
    let shown = world.ask(Method::GET, &format!("/v1/vms/{}", hung[1]), &Value::Null).await.ok();
    if shown["state"] != "stopped" {
        return Err(format!("the VM that was to be stopped is not: {shown}"));
    }
    world.clean().await
}
