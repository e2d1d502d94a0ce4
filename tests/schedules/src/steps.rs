//! Every step of every flow fails in every way.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use podzol_sim::Step;
use podzol_test_support::{Api, SOON, image, text, wait_for};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::calls::{
    self, Counted, DOUBTS, MISHAPS, MORE_DOUBTS, Mishap, STREAM_TROUBLES, TROUBLES, Trouble, is_stream,
};
use crate::world::World;

/// Something that a user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Create,
    Start,
    Stop,
    Reboot,
    Pause,
    Resume,
    Delete,
    DeleteRunning,
    DeleteForAWhile,
    Recover,
    Migrate,
    Drain,
    VolumeCreate,
    Attach,
    Detach,
    ResizeAlone,
    ResizeRunning,
    VolumeDelete,
    NicAdd,
    NicRemove,
    NicRoute,
    Resize,
    Limit,
    IsoAttach,
    IsoDetach,
    CreateOfIso,
    Import,
    ImportUrl,
    PoolCreate,
    PoolDelete,
}

/// All of them.
pub(crate) const FLOWS: [Flow; 30] = [
    Flow::Create,
    Flow::Start,
    Flow::Stop,
    Flow::Reboot,
    Flow::Pause,
    Flow::Resume,
    Flow::Delete,
    Flow::DeleteRunning,
    Flow::DeleteForAWhile,
    Flow::Recover,
    Flow::Migrate,
    Flow::Drain,
    Flow::VolumeCreate,
    Flow::Attach,
    Flow::Detach,
    Flow::ResizeAlone,
    Flow::ResizeRunning,
    Flow::VolumeDelete,
    Flow::NicAdd,
    Flow::NicRemove,
    Flow::NicRoute,
    Flow::Resize,
    Flow::Limit,
    Flow::IsoAttach,
    Flow::IsoDetach,
    Flow::CreateOfIso,
    Flow::Import,
    Flow::ImportUrl,
    Flow::PoolCreate,
    Flow::PoolDelete,
];

/// What a flow is about.
struct Things {
    network: String,
    other: String,
    vm: String,
    volume: String,
    iso: String,
    pool: String,
}

impl Flow {
    /// Makes what the flow needs.
    async fn prepare(self, world: &World) -> Things {
        let api = &world.acme.api;
        let network = world.pod.network(api, "net", "10.1.1.0/24").await;
        let other = world.second_network("other", "10.1.2.0/24").await;
        let none = String::new;
        let mut things = Things { network, other, vm: none(), volume: none(), iso: none(), pool: none() };
        if !matches!(
            self,
            Flow::Create
                | Flow::VolumeCreate
                | Flow::ResizeAlone
                | Flow::VolumeDelete
                | Flow::CreateOfIso
                | Flow::Import
                | Flow::ImportUrl
                | Flow::PoolCreate
                | Flow::PoolDelete
        ) {
            things.vm = world.pod.vm(api, "web", &things.network).await;
        }
        match self {
            Flow::Start | Flow::Delete | Flow::Resize => api.stop_vm(&things.vm).await,
            Flow::Resume => drop(api.succeeded(&api.change_vm(&things.vm, "pause", Value::Null).await).await),
            Flow::NicRemove => {
                let path = format!("/v1/vms/{}/nics", things.vm);
                done(api, Method::POST, &path, json!({ "network": things.other })).await;
            }
            _ => {}
        }
        if matches!(
            self,
            Flow::Attach | Flow::Detach | Flow::ResizeAlone | Flow::ResizeRunning | Flow::VolumeDelete
        ) {
            let body = json!({ "name": "data", "zone": world.pod.zone, "size_gib": 1 });
            things.volume = done(api, Method::POST, "/v1/volumes", body).await;
        }
        if matches!(self, Flow::IsoAttach | Flow::IsoDetach | Flow::CreateOfIso) {
            things.iso = world.iso().await;
        }
        if self == Flow::PoolDelete {
            let folder = world.pod.storage.pool_folder("second").display().to_string();
            things.pool = world.admin().pool("second", &world.pod.storage.id, &folder).await;
            // Templates are brought into it.
            wait_for("operations to end", SOON, async || {
                let list = world.admin().list("/v1/operations?limit=500").await;
                let open = list.into_iter().find(|one| one["finished_at"].is_null());
                open.map_or(Ok(()), |open| Err(open.to_string()))
            })
            .await;
        }
        if self == Flow::IsoDetach {
            let path = format!("/v1/vms/{}/iso", things.vm);
            done(api, Method::POST, &path, json!({ "template": things.iso })).await;
        }
        if matches!(self, Flow::Detach | Flow::ResizeRunning) {
            let path = format!("/v1/volumes/{}/attach", things.volume);
            done(api, Method::POST, &path, json!({ "vm": things.vm })).await;
        }
        things
    }

    /// Asks for it.
    async fn begin(self, world: &World, things: &Things) {
        let api = &world.acme.api;
        let vm = |what: &str| format!("/v1/vms/{}{what}", things.vm);
        let volume = |what: &str| format!("/v1/volumes/{}{what}", things.volume);
        let post = async |path: &str, body: Value| drop(api.post(path, &body).await.ok());
        match self {
            Flow::Create => drop(world.pod.begin_vm(api, "web", &things.network).await),
            Flow::Start => post(&vm("/start"), Value::Null).await,
            Flow::Stop => post(&vm("/stop"), json!({ "grace_secs": 5 })).await,
            Flow::Reboot => post(&vm("/reboot"), Value::Null).await,
            Flow::Pause => post(&vm("/pause"), Value::Null).await,
            Flow::Resume => post(&vm("/resume"), Value::Null).await,
            Flow::Delete | Flow::DeleteRunning => drop(api.delete(&vm("?expunge=true")).await.ok()),
            Flow::DeleteForAWhile => drop(api.delete(&vm("")).await.ok()),
            Flow::Recover => {
                api.delete(&vm("")).await.ok();
                // Its host has been asked to end it by then, whatever becomes of that.
                tokio::time::sleep(Duration::from_millis(100)).await;
                post(&vm("/recover"), Value::Null).await;
            }
            Flow::Migrate => drop(world.admin().post(&vm("/migrate"), &json!({})).await.ok()),
            Flow::Drain => {
                let host = text(&world.admin().show_vm(&things.vm).await, "host");
                let path = format!("/v1/hosts/{host}");
                world.admin().patch(&path, &json!({ "maintenance": true })).await.ok();
            }
            Flow::VolumeCreate => {
                let body = json!({ "name": "data", "zone": world.pod.zone, "size_gib": 1 });
                post("/v1/volumes", body).await;
            }
            Flow::Attach => post(&volume("/attach"), json!({ "vm": things.vm })).await,
            Flow::Detach => post(&volume("/detach"), json!({})).await,
            Flow::ResizeAlone | Flow::ResizeRunning => {
                post(&volume("/resize"), json!({ "size_gib": 2 })).await
            }
            Flow::VolumeDelete => drop(api.delete(&volume("")).await.ok()),
            Flow::NicAdd => post(&vm("/nics"), json!({ "network": things.other })).await,
            Flow::NicRemove => {
                let shown = api.show_vm(&things.vm).await;
                api.delete(&format!("/v1/nics/{}", text(&shown["nics"][1], "id"))).await.ok();
            }
            Flow::NicRoute => {
                let nic = text(&api.show_vm(&things.vm).await["nics"][0], "id");
                api.patch(&format!("/v1/nics/{nic}"), &json!({ "may_route": true })).await.ok();
            }
            Flow::Limit => {
                let path = format!("/v1/accounts/{}", world.acme.account);
                let before = world.admin().get(&path).await.ok()["limits"]["iops"].as_u64().unwrap_or(1000);
                let limits = json!({ "limits": { "iops": before + 1 } });
                world.admin().patch(&path, &limits).await.ok();
            }
            Flow::Resize => {
                let larger = world.admin().list("/v1/offerings?name=large").await.pop();
                post(&vm("/resize"), json!({ "offering": larger.expect("there is a larger one")["id"] }))
                    .await;
            }
            Flow::IsoAttach => post(&vm("/iso"), json!({ "template": things.iso, "boot": true })).await,
            Flow::IsoDetach => drop(api.delete(&vm("/iso")).await.ok()),
            Flow::CreateOfIso => {
                drop(api.vm("web", &world.pod.offering, &things.iso, &things.network).await.ok());
            }
            Flow::Import => {
                let bytes = image::qcow2(64, "another");
                let body = json!({ "name": "another", "sha256": image::sha256(&bytes) });
                let made = world.admin().post("/v1/templates", &body).await.ok();
                world.admin().put(&format!("/v1/templates/{}/data", text(&made, "id")), &bytes).await.ok();
            }
            Flow::ImportUrl => {
                let body = json!({ "name": "another", "sha256": world.image_afar, "url": world.web.url() });
                drop(world.admin().post("/v1/templates", &body).await.ok());
            }
            Flow::PoolCreate => {
                let path = world.pod.storage.pool_folder("second").display().to_string();
                let body = json!({ "name": "second", "storage_server": world.pod.storage.id, "path": path });
                drop(world.admin().post("/v1/pools", &body).await.ok());
            }
            Flow::PoolDelete => {
                drop(world.admin().delete(&format!("/v1/pools/{}", things.pool)).await.ok());
            }
        }
    }
}

/// Asks for something, waits until it is done, and gives the id of the object.
async fn done(api: &Api, method: Method, path: &str, body: Value) -> String {
    let asked = api.send_json(method, path, &body).await.ok();
    api.succeeded(&text(&asked, "operation.id")).await;
    text(&asked, "object.id")
}

/// How long a flow may take to come to a step at which something is to go wrong.
const COMES: Duration = Duration::from_secs(40);

/// What a run of a flow came to.
pub(crate) struct Course {
    /// The calls that it made.
    pub(crate) calls: Vec<String>,
    /// The steps that servers took in it.
    pub(crate) steps: BTreeSet<Step>,
    /// How often hosts started a VM in it.
    starts: u64,
}

/// What goes wrong in a run of a flow.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wrong<'a> {
    /// Calls of these numbers go wrong.
    At(&'a [(usize, Trouble)]),
    /// A step that servers take goes wrong.
    In(Step, Mishap),
}

/// A run of a flow from its beginning on.
pub(crate) struct Run<'a> {
    wrong: Wrong<'a>,
    counted: Counted,
    /// How often hosts had started VMs before.
    starts: u64,
}

impl<'a> Run<'a> {
    /// Has something go wrong from now on, or nothing.
    pub(crate) fn begin(world: &World, wrong: Wrong<'a>) -> Self {
        world.steps_taken();
        let troubles = match wrong {
            Wrong::At(troubles) => troubles,
            Wrong::In(step, mishap) => {
                mishap.arrange(world, step);
                &[]
            }
        };
        Self { wrong, counted: calls::trouble_at(world, troubles), starts: world.starts() }
    }

    /// Waits until it has gone wrong and all is as it should be.
    pub(crate) async fn end(self, world: &mut World) -> Result<Course, String> {
        world.pass(Duration::from_millis(500)).await?;
        let mut steps = world.steps_taken();
        if let Wrong::In(step, mishap) = self.wrong {
            let deadline = Instant::now() + COMES;
            while !steps.contains(&step) {
                if Instant::now() > deadline {
                    return Err("it did not come to that step".into());
                }
                world.pass(Duration::from_millis(100)).await?;
                steps.extend(world.steps_taken());
            }
            mishap.end(world, step);
        }
        let troubles = if let Wrong::At(troubles) = self.wrong { troubles } else { &[] };
        if troubles.iter().any(|(_, trouble)| *trouble == Trouble::Overtaken) {
            overtake(world).await;
        }
        world.converge().await?;
        steps.extend(world.steps_taken());
        calls::fair();
        world.holds().await?;
        let calls = self.counted.calls();
        if troubles.first().is_some_and(|(number, _)| *number > calls.len()) {
            return Err(format!("it made {} calls: nothing went wrong in it", calls.len()));
        }
        Ok(Course { calls, steps, starts: world.starts() - self.starts })
    }
}

/// Runs a flow in which something goes wrong, or nothing.
async fn run(world: &mut World, flow: Flow, wrong: Wrong<'_>) -> Result<Course, String> {
    let things = flow.prepare(world).await;
    let begun = Run::begin(world, wrong);
    flow.begin(world, &things).await;
    let course = begun.end(world).await?;
    world.clean().await?;
    for template in world.admin().list("/v1/templates?name=another").await {
        world.admin().delete(&format!("/v1/templates/{}", text(&template, "id"))).await.ok();
        world.converge().await?;
    }
    for pool in world.admin().list("/v1/pools?name=second").await {
        world.admin().delete(&format!("/v1/pools/{}", text(&pool, "id"))).await.ok();
        world.converge().await?;
    }
    Ok(course)
}

/// Runs a flow in which nothing goes wrong.
///
/// # Errors
/// When something does.
pub(crate) async fn smoothly(world: &mut World, flow: Flow) -> Result<(), String> {
    run(world, flow, Wrong::At(&[])).await.map(drop)
}

/// Has all VMs stop, and all volumes that nobody has go.
async fn overtake(world: &World) {
    for vm in world.admin().list("/v1/vms").await {
        let path = format!("/v1/vms/{}/stop", text(&vm, "id"));
        world.ask(Method::POST, &path, &json!({ "grace_secs": 0 })).await;
    }
    for volume in world.admin().list("/v1/volumes").await {
        world.ask(Method::DELETE, &format!("/v1/volumes/{}", text(&volume, "id")), &Value::Null).await;
    }
}

/// Has every step of some flows fail in every way, or each so many-th of these failures happen, and says how many those were. Where it
/// matters most, what is done about a failure fails too.
///
/// # Errors
/// When something is wrong after one: with which.
pub(crate) async fn run_all(flows: &[Flow], each: u64) -> Result<usize, String> {
    let turn = Cell::new(0_u64);
    let happens = || {
        turn.set(turn.get() + 1);
        turn.get().is_multiple_of(each)
    };
    let mut world = World::make().await;
    world.admin().offering("large", 128).await;
    let mut failures = 0;
    for flow in flows {
        let begun = std::time::Instant::now();
        let smooth =
            run(&mut world, *flow, Wrong::At(&[])).await.map_err(|error| format!("{flow:?}: {error}"))?;
        let before = failures;
        for number in 1..=smooth.calls.len() {
            let of_streams: &[Trouble] =
                if is_stream(&smooth.calls[number - 1]) { &STREAM_TROUBLES } else { &[] };
            for first in TROUBLES.iter().chain(of_streams).copied().filter(|_| happens()) {
                let course = checked(&mut world, *flow, &smooth, Wrong::At(&[(number, first)])).await?;
                failures += 1;
                if *flow != Flow::Migrate || !DOUBTS.contains(&first) || !of_streams.is_empty() {
                    continue;
                }
                for (later, second) in (number + 1..=course.calls.len())
                    .flat_map(|later| MORE_DOUBTS.map(|second| (later, second)))
                    .filter(|_| happens())
                {
                    checked(&mut world, *flow, &smooth, Wrong::At(&[(number, first), (later, second)]))
                        .await?;
                    failures += 1;
                }
            }
        }
        for step in &smooth.steps {
            for mishap in MISHAPS.into_iter().filter(|mishap| mishap.can_happen_at(*step) && happens()) {
                checked(&mut world, *flow, &smooth, Wrong::In(*step, mishap)).await?;
                failures += 1;
            }
        }
        let (calls, failures) = (smooth.calls.len(), failures - before);
        println!("{flow:?}: {calls} calls, {failures} failures, {} s", begun.elapsed().as_secs());
    }
    Ok(failures)
}

/// Runs a flow with trouble. No VM may be started more often than without.
async fn checked(world: &mut World, flow: Flow, smooth: &Course, wrong: Wrong<'_>) -> Result<Course, String> {
    let told = |error: String| format!("{flow:?}, {wrong:?} of {:?}: {error}", smooth.calls);
    let course = run(world, flow, wrong).await.map_err(told)?;
    if course.starts > smooth.starts {
        return Err(told("a VM was started once too often".into()));
    }
    Ok(course)
}
