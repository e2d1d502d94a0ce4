//! Schedules: many operations and faults at once, all drawn from a seed.

use std::time::Duration;

use podzol_sim::{Fault, SimPod, Step};
use podzol_test_support::{image, text};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Part, World};
use crate::{calls, routers};

/// What a user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Create,
    Start,
    Stop,
    Reboot,
    Pause,
    Resume,
    Delete,
    Recover,
    Migrate,
    Resize,
    VolumeCreate,
    Attach,
    Detach,
    VolumeResize,
    VolumeDelete,
    NicAdd,
    NicRemove,
    NicRoute,
    IsoAttach,
    IsoDetach,
    Maintenance,
    Cancel,
    Import,
    Limit,
    OfRouter(routers::Wish),
}

/// Each as often as it is drawn.
const WISHES: [(Wish, u32); 35] = [
    (Wish::Create, 6),
    (Wish::Start, 4),
    (Wish::Stop, 3),
    (Wish::Reboot, 2),
    (Wish::Pause, 1),
    (Wish::Resume, 2),
    (Wish::Delete, 3),
    (Wish::Recover, 2),
    (Wish::Migrate, 8),
    (Wish::Resize, 1),
    (Wish::VolumeCreate, 3),
    (Wish::Attach, 4),
    (Wish::Detach, 2),
    (Wish::VolumeResize, 2),
    (Wish::VolumeDelete, 1),
    (Wish::NicAdd, 2),
    (Wish::NicRemove, 1),
    (Wish::NicRoute, 1),
    (Wish::IsoAttach, 3),
    (Wish::IsoDetach, 2),
    (Wish::Maintenance, 2),
    (Wish::Cancel, 2),
    (Wish::Import, 1),
    (Wish::Limit, 1),
    (Wish::OfRouter(routers::Wish::Address), 6),
    (Wish::OfRouter(routers::Wish::Release), 1),
    (Wish::OfRouter(routers::Wish::Forward), 6),
    (Wish::OfRouter(routers::Wish::StaticNat), 2),
    (Wish::OfRouter(routers::Wish::Firewall), 2),
    (Wish::OfRouter(routers::Wish::Egress), 2),
    (Wish::OfRouter(routers::Wish::Balancer), 3),
    (Wish::OfRouter(routers::Wish::Members), 2),
    (Wish::OfRouter(routers::Wish::Unmake), 3),
    (Wish::OfRouter(routers::Wish::Restart), 1),
    (Wish::OfRouter(routers::Wish::Replace), 1),
];

/// A blow beside what happens to calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    Kill(Part),
    /// A VM's process ends.
    EndDomain,
    /// A host is started anew.
    ResetHost(usize),
    /// A host, or whichever server takes it, stumbles the next time that it comes to a step.
    Stumble(usize, Step, Fault),
}

/// How many wishes a schedule has at least and at most.
const LENGTH: std::ops::RangeInclusive<usize> = 4..=10;

/// The schedule of a seed, on a world without VMs, which it leaves without any again.
///
/// # Errors
/// When something is wrong in it or after it.
pub(crate) async fn run(world: &mut World, seed: u64, log: bool) -> Result<(), String> {
    let ended = schedule(world, seed, log).await;
    calls::fair();
    ended
}

async fn schedule(world: &mut World, seed: u64, log: bool) -> Result<(), String> {
    let mut random = StdRng::seed_from_u64(seed);
    let api = world.acme.api.clone();
    let networks =
        [world.pod.network(&api, "n1", "10.1.1.0/24").await, world.second_network("n2", "10.1.2.0/24").await];
    if !world.has_older_agents {
        world.iso().await;
    }
    let probability = *[0.0, 0.05, 0.15, 0.4].choose(&mut random).expect("there are some");
    calls::stormy(world, seed, probability, log);
    let length = random.random_range(LENGTH);
    for number in 0..length {
        let weight = |(wish, weight): &(Wish, u32)| match wish {
            Wish::OfRouter(_) if !world.has_routers => 0,
            _ => *weight,
        };
        let wish = WISHES.choose_weighted(&mut random, weight).expect("the weights are good").0;
        let pause = Duration::from_millis(random.random_range(0..3000));
        let request = request(world, wish, number, &networks, &mut random).await;
        if log {
            println!("{wish:?}: {request:?}, then {} ms", pause.as_millis());
        }
        if let Some((method, path, body)) = request {
            if random.random_bool(0.05) {
                // The service dies while it answers.
                let moment = Duration::from_millis(random.random_range(0..40));
                let asked = api.send_json(method, &path, &body);
                drop(tokio::time::timeout(moment, asked).await);
                world.kill(Part::Management, Duration::from_millis(200)).await;
            } else {
                let answer = world.ask(method, &path, &body).await;
                if log {
                    println!("  answers {} {}", answer.status, answer.body["detail"]);
                }
            }
        }
        if random.random_bool(0.25) {
            let blow = blow(&mut random, world.pod.hosts.len());
            let away = Duration::from_millis(random.random_range(0..5000));
            if log {
                println!("{blow:?}, away for {} ms", away.as_millis());
            }
            strike(world, blow, away, &mut random).await;
        }
        world.pass(pause).await?;
    }
    calls::stormy(world, seed, 0.0, log);
    any_step().for_each(|step| world.heal(step));
    world.end_maintenance().await;
    world.converge().await?;
    world.holds().await?;
    world.clean().await?;
    forget_templates(world).await
}

async fn forget_templates(world: &mut World) -> Result<(), String> {
    let templates = world.admin().list("/v1/templates").await;
    let is_kept =
        |template: &Value| ["tiny", "cd", routers::TEMPLATE].iter().any(|name| template["name"] == *name);
    let forgotten: Vec<&Value> = templates.iter().filter(|template| !is_kept(template)).collect();
    for template in &forgotten {
        world.admin().delete(&format!("/v1/templates/{}", text(template, "id"))).await.ok();
    }
    if forgotten.is_empty() {
        return Ok(());
    }
    // Their files go within a minute, or at once with a repair; the next schedule would find them.
    world.ask(Method::POST, "/v1/doctor/repair", &Value::Null).await;
    world.converge_for(Duration::ZERO).await
}

fn blow(random: &mut StdRng, hosts: usize) -> Blow {
    let host = random.random_range(0..hosts);
    match random.random_range(0..9) {
        0 | 1 => Blow::Kill(Part::Management),
        2 => Blow::Kill(Part::Agent(host)),
        3 => Blow::Kill(Part::Storage),
        4 => Blow::EndDomain,
        5 => Blow::ResetHost(host),
        _ => Blow::Stumble(host, any_step().choose(random).expect("there are some"), stumble(random)),
    }
}

fn any_step() -> impl Iterator<Item = Step> {
    Step::OF_HYPERVISOR.into_iter().chain(Step::OF_HOST).chain(Step::OF_STORAGE).chain(Step::OF_WEB)
}

fn stumble(random: &mut StdRng) -> Fault {
    let times = random.random_range(1..4);
    match random.random_range(0..4) {
        0 => Fault::Fails(times),
        1 => Fault::NoAnswer(times),
        2 => Fault::Unheard(times),
        _ => Fault::Takes(Duration::from_millis(random.random_range(100..30_000))),
    }
}

async fn strike(world: &mut World, blow: Blow, away: Duration, random: &mut StdRng) {
    match blow {
        Blow::Kill(part) => world.kill(part, away).await,
        Blow::EndDomain => {
            let pod: &SimPod = &world.pod;
            let domains: Vec<_> = pod
                .hosts
                .iter()
                .flat_map(|host| host.hypervisor().domains().into_iter().map(move |domain| (host, domain)))
                .collect();
            if let Some((host, domain)) = domains.choose(random) {
                host.hypervisor().kill_domain(domain.record.plan.vm);
            }
        }
        Blow::Stumble(_, step, fault) if Step::OF_STORAGE.contains(&step) || Step::OF_WEB.contains(&step) => {
            world.fault(step, fault);
        }
        Blow::Stumble(host, step, fault) => world.pod.hosts[host].hypervisor().fault(step, fault),
        Blow::ResetHost(host) => {
            world.pod.hosts[host].kill_agent();
            world.pod.hosts[host].hypervisor().host_crashes();
            tokio::time::sleep(away).await;
            world.pod.hosts[host].start_agent();
        }
    }
}

/// The request of a wish as things are: none if there is nothing that it could be about.
async fn request(
    world: &World,
    wish: Wish,
    number: usize,
    networks: &[String],
    random: &mut StdRng,
) -> Option<(Method, String, Value)> {
    if let Wish::OfRouter(wish) = wish {
        return routers::request(world, wish, number, networks, random).await;
    }
    let admin = world.admin();
    let vms = admin.list("/v1/vms").await;
    let mut any = |things: &[Value]| things.choose(random).map(|thing| text(thing, "id"));
    let post = |path: String, body: Value| Some((Method::POST, path, body));
    let vm = any(&vms);
    let of_vm = |what: &str| vm.as_ref().map(|vm| format!("/v1/vms/{vm}{what}"));
    let volumes = match wish {
        Wish::Attach | Wish::Detach | Wish::VolumeResize | Wish::VolumeDelete => {
            let volumes = admin.list("/v1/volumes").await;
            volumes.into_iter().filter(|volume| volume["kind"] != "root").collect()
        }
        _ => vec![],
    };
    let volume = any(&volumes);
    let of_volume = |what: &str| volume.as_ref().map(|volume| format!("/v1/volumes/{volume}{what}"));
    let nics: Vec<Value> =
        vms.iter().flat_map(|vm| vm["nics"].as_array().cloned().unwrap_or_default()).collect();
    let nic = any(&nics).map(|nic| format!("/v1/nics/{nic}"));
    let account = &world.acme.account;
    match wish {
        Wish::Create => {
            let network = networks.choose(random).expect("there are some");
            let body = json!({
                "name": format!("vm-{number}"), "account": account, "offering": world.pod.offering,
                "template": world.pod.template, "networks": [network],
            });
            post("/v1/vms".into(), body)
        }
        Wish::Start => post(of_vm("/start")?, Value::Null),
        Wish::Stop => post(of_vm("/stop")?, json!({ "grace_secs": random.random_range(0..5) })),
        Wish::Reboot => post(of_vm("/reboot")?, Value::Null),
        Wish::Pause => post(of_vm("/pause")?, Value::Null),
        Wish::Resume => post(of_vm("/resume")?, Value::Null),
        Wish::Delete => {
            let path = of_vm(if random.random_bool(0.5) { "?expunge=true" } else { "" })?;
            Some((Method::DELETE, path, Value::Null))
        }
        Wish::Recover => {
            let deleted = any(&admin.list("/v1/vms?state=deleted").await)?;
            post(format!("/v1/vms/{deleted}/recover"), Value::Null)
        }
        Wish::Migrate => post(of_vm("/migrate")?, json!({})),
        Wish::Resize => {
            let offering = any(&admin.list("/v1/offerings").await)?;
            post(of_vm("/resize")?, json!({ "offering": offering }))
        }
        Wish::VolumeCreate => {
            let name = format!("data-{number}");
            let body = json!({ "name": name, "account": account, "zone": world.pod.zone, "size_gib": 1 });
            post("/v1/volumes".into(), body)
        }
        Wish::Attach => post(of_volume("/attach")?, json!({ "vm": vm? })),
        Wish::Detach => post(of_volume("/detach")?, json!({})),
        Wish::VolumeResize => post(of_volume("/resize")?, json!({ "size_gib": random.random_range(1..6) })),
        Wish::VolumeDelete => Some((Method::DELETE, of_volume("")?, Value::Null)),
        Wish::NicAdd => post(of_vm("/nics")?, json!({ "network": networks.choose(random) })),
        Wish::NicRemove => Some((Method::DELETE, nic?, Value::Null)),
        Wish::NicRoute => Some((Method::PATCH, nic?, json!({ "may_route": random.random_bool(0.5) }))),
        Wish::IsoAttach if world.has_older_agents => None,
        Wish::IsoAttach => {
            let boot = random.random_bool(0.5);
            post(of_vm("/iso")?, json!({ "template": world.iso().await, "boot": boot }))
        }
        Wish::IsoDetach => Some((Method::DELETE, of_vm("/iso")?, Value::Null)),
        Wish::Maintenance => {
            let host = any(&admin.list("/v1/hosts").await)?;
            let on = random.random_bool(0.6);
            Some((Method::PATCH, format!("/v1/hosts/{host}"), json!({ "maintenance": on })))
        }
        Wish::Cancel => {
            let operation = any(&admin.list("/v1/operations?state=running").await)?;
            post(format!("/v1/operations/{operation}/cancel"), Value::Null)
        }
        Wish::Limit => {
            let offering = any(&admin.list("/v1/offerings").await)?;
            let whose = [format!("/v1/accounts/{account}"), format!("/v1/offerings/{offering}")];
            let limits = json!({ "limits": { "iops": random.random_range(100..110) } });
            Some((Method::PATCH, whose.choose(random)?.clone(), limits))
        }
        Wish::OfRouter(_) => None,
        Wish::Import if random.random_bool(0.5) => {
            let name = format!("image-{number}");
            post(
                "/v1/templates".into(),
                json!({ "name": name, "sha256": world.image_afar, "url": world.web.url() }),
            )
        }
        Wish::Import => {
            let name = format!("image-{number}");
            let bytes = image::qcow2(64, &name);
            let body = json!({ "name": name, "sha256": image::sha256(&bytes) });
            let made = admin.post("/v1/templates", &body).await.ok();
            admin.put(&format!("/v1/templates/{}/data", text(&made, "id")), &bytes).await.ok();
            None
        }
    }
}
