//! One server hangs: what is asked of the others takes no longer, and what is asked of it ends with a reason.

use std::time::Duration;

use podzol_rpc::weather::{self, Fate};
use podzol_sim::{Fault, SimStorage, Step};
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

/// Has a host hang in each way, and a storage server.
///
/// # Errors
/// When the others notice, or when something does not end or converge.
pub(crate) async fn run_all() -> Result<(), String> {
    let mut world = World::make().await;
    for hang in HANGS {
        run(&mut world, hang).await.map_err(|error| format!("{hang:?}: {error}"))?;
    }
    storage_hangs(&mut world).await.map_err(|error| format!("a storage server hangs: {error}"))
}

/// Has VMs run, four on each host.
async fn fill(world: &World) -> String {
    let network = world.pod.network(&world.acme.api, "net", "10.1.1.0/24").await;
    for number in 0..12 {
        world.pod.vm(&world.acme.api, &format!("vm-{number}"), &network).await;
    }
    network
}

/// Whether things take no longer than before.
fn no_longer(hang: &str, before: &[(&str, Duration)], during: &[(&str, Duration)]) -> Result<(), String> {
    for ((what, before), (_, during)) in before.iter().zip(during) {
        println!("{hang}: {what}: {before:?} before, {during:?} meanwhile");
        if *during > *before + STEPPING {
            return Err(format!("{what} takes {during:?}, not {before:?}"));
        }
    }
    Ok(())
}

/// Whether operations have a reason why they are not done; and, if they are to be given up, have ended.
async fn have_reasons(world: &World, hang: &str, operations: &[(&str, &str, bool)]) -> Result<(), String> {
    for (what, id, ends) in operations {
        let shown = world.admin().get(&format!("/v1/operations/{id}")).await.ok();
        println!("{hang}: {what}: {} {}", shown["state"], shown["error"]);
        if shown["error"]["detail"].as_str().is_none_or(str::is_empty) {
            return Err(format!("{what} does not say what keeps it: {shown}"));
        }
        if *ends && shown["state"] != "failed" {
            return Err(format!("{what} did not end: {shown}"));
        }
    }
    Ok(())
}

async fn run(world: &mut World, hang: Hang) -> Result<(), String> {
    let api = world.acme.api.clone();
    fill(world).await;
    let other = world.second_network("other", "10.1.2.0/24").await;
    let volume = json!({ "name": "data", "zone": world.pod.zone, "size_gib": 1 });
    let volume = api.post("/v1/volumes", &volume).await.ok();
    api.succeeded(&text(&volume, "operation.id")).await;
    let before = of_others(world).await;
    let hung = vms_on(world, 0).await;
    assert_eq!(hung.len(), 4, "VMs are spread");

    hang.begin(world);
    let reboot = api.change_vm(&hung[0], "reboot", Value::Null).await;
    let stop = api.change_vm(&hung[1], "stop", json!({ "grace_secs": 0 })).await;
    let attach = format!("/v1/volumes/{}/attach", text(&volume, "object.id"));
    let attach = text(&api.post(&attach, &json!({ "vm": hung[2] })).await.ok(), "operation.id");
    let nic = api.change_vm(&hung[3], "nics", json!({ "network": other })).await;
    sleep(Duration::from_secs(1)).await;
    let during = of_others(world).await;
    let name = format!("{hang:?}");
    no_longer(&name, &before, &during)?;

    sleep(DEADLINE).await;
    // What is late is done all the same.
    if !matches!(hang, Hang::Slow(_)) {
        let operations = [
            ("the reboot", &*reboot, true),
            ("the stop", &*stop, false),
            ("attaching the volume", &*attach, true),
            ("adding the NIC", &*nic, true),
        ];
        have_reasons(world, &name, &operations).await?;
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

/// A storage server answers no call, but goes on reporting: hosts, and another storage server, go on as before.
async fn storage_hangs(world: &mut World) -> Result<(), String> {
    const HANG: &str = "SilentStorage";
    let api = world.acme.api.clone();
    let network = fill(world).await;
    let second = SimStorage::join(&world.control_plane, &world.pod.pod, "s2", 5).await;
    let server = format!("/v1/storage-servers/{}", second.id);
    world.admin().in_state(&server, "up").await;
    let mut before = of_others(world).await;
    before.push(pool_comes_and_goes(world, &second).await);

    let peer = world.pod.storage.peer();
    weather::set(move |call| if call.peer == peer { Fate::NeverArrives } else { Fate::Arrives });
    let create =
        text(&api.vm("web", &world.pod.offering, &world.pod.template, &network).await.ok(), "operation.id");
    let volume = json!({ "name": "data", "zone": world.pod.zone, "size_gib": 1 });
    let volume = text(&api.post("/v1/volumes", &volume).await.ok(), "operation.id");
    sleep(Duration::from_secs(1)).await;
    let mut during = of_others(world).await;
    during.push(pool_comes_and_goes(world, &second).await);
    no_longer(HANG, &before, &during)?;

    sleep(DEADLINE).await;
    let operations = [("the start of a new VM", &*create, true), ("making a volume", &*volume, true)];
    have_reasons(world, HANG, &operations).await?;
    calls::fair();
    world.converge().await?;
    world.holds().await?;
    world.admin().delete(&server).await.ok();
    world.clean().await
}

/// How long it takes to make and remove a pool on a storage server.
async fn pool_comes_and_goes(world: &World, server: &SimStorage) -> (&'static str, Duration) {
    let begun = Instant::now();
    let folder = server.pool_folder("second").display().to_string();
    let pool = world.admin().pool("second", &server.id, &folder).await;
    let deleted = world.admin().delete(&format!("/v1/pools/{pool}")).await.ok();
    world.admin().succeeded(&text(&deleted, "operation.id")).await;
    ("a pool on another storage server", begun.elapsed())
}
