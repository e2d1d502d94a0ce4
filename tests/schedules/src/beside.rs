//! This version beside the one before: agents are not renewed all at once, and not before the management service.
//!
//! The shapes of what a version says are recorded by `make shapes` when it is released, in `shapes/`.

use std::time::Duration;

use podzol_rpc::PeerId;
use podzol_rpc::older::{self, Shapes};
use podzol_test_support::text;
use reqwest::Method;
use serde_json::{Value, json};

use crate::steps::{self, FLOWS, Flow};
use crate::storm;
use crate::world::World;

/// The bodies of the version before this one.
const BEFORE: &str = include_str!("../shapes/0.1.json");

/// What the version before could not do.
const NEW: [Flow; 3] = [Flow::IsoAttach, Flow::IsoDetach, Flow::CreateOfIso];

/// How many random schedules run while shapes are recorded: some members are seen only when something fails.
const RECORDED: u64 = 200;

/// How many random schedules run beside agents of the version before.
const SCHEDULES: u64 = 20;

/// Does whatever this version can, and says what its parts said meanwhile.
///
/// # Errors
/// When something went wrong.
pub(crate) async fn record() -> Result<Shapes, String> {
    older::record();
    let mut world = World::make().await;
    world.admin().offering("large", 128).await;
    for flow in FLOWS {
        steps::smoothly(&mut world, flow).await?;
    }
    the_rest(&mut world).await?;
    for seed in 1..=RECORDED {
        storm::run(&mut world, seed, false).await?;
    }
    Ok(older::recorded())
}

/// Does what the version before could do, with all agents of that version, then with one; and random schedules of it.
///
/// # Errors
/// When something goes wrong.
pub(crate) async fn run() -> Result<(), String> {
    let shapes: Shapes = serde_json::from_str(BEFORE).expect("shapes are written by this program");
    let mut world = World::make().await;
    world.has_older_agents = true;
    world.admin().offering("large", 128).await;
    let all: Vec<PeerId> =
        world.pod.hosts.iter().map(|host| host.peer()).chain([world.pod.storage.peer()]).collect();
    for (agents, older) in [("all agents", &all[..]), ("the first host's agent", &all[..1])] {
        older::set_older(shapes.clone(), older.iter().copied());
        for flow in FLOWS.into_iter().filter(|flow| !NEW.contains(flow)) {
            let told = |error| format!("{flow:?}, {agents} of the version before: {error}");
            steps::smoothly(&mut world, flow).await.map_err(told)?;
        }
        the_rest(&mut world).await.map_err(|error| format!("{agents} of the version before: {error}"))?;
        refuses_vxlans(&world).await?;
        for seed in 1..=SCHEDULES {
            let told = |error| format!("seed {seed}, {agents} of the version before: {error}");
            storm::run(&mut world, seed, false).await.map_err(told)?;
        }
    }
    older::set_current();
    println!("{} flows and {SCHEDULES} schedules, twice", FLOWS.len() - NEW.len());
    Ok(())
}

/// Agents of the version before know no VXLANs: no VM of a network on one is placed on their hosts.
async fn refuses_vxlans(world: &World) -> Result<(), String> {
    let admin = world.admin();
    let network = world.pod.vxlan(admin, &world.acme.account, "tunnels", "10.1.9.0/24").await;
    let asked = world.acme.api.vm("web", &world.pod.offering, &world.pod.template, &network).await;
    let expected = json!(["3 hosts: cannot carry VXLANs (h1, h2, h3)"]);
    if asked.body["reasons"] != expected {
        return Err(format!("a VM on a VXLAN: {} {}", asked.status, asked.body));
    }
    admin.delete(&format!("/v1/networks/{network}")).await.ok();
    Ok(())
}

/// What no flow does.
async fn the_rest(world: &mut World) -> Result<(), String> {
    let api = &world.acme.api;
    let network = world.pod.network(api, "net", "10.1.1.0/24").await;
    let vm = world.pod.vm(api, "web", &network).await;
    api.get(&format!("/v1/vms/{vm}/console-log")).await.ok();
    let limits = json!({ "limits": { "network_mbps": 100, "iops": 100 } });
    let shown = api.show_vm(&vm).await;
    let (account, nic) = (text(&shown, "account"), text(&shown["nics"][0], "id"));
    world.ask(Method::PATCH, &format!("/v1/nics/{nic}"), &json!({ "may_route": true })).await;
    world.ask(Method::PATCH, &format!("/v1/accounts/{account}"), &limits).await;
    let root = text(&world.admin().list("/v1/volumes").await[0], "id");
    world.ask(Method::POST, &format!("/v1/volumes/{root}/resize"), &json!({ "size_gib": 2 })).await;
    world.converge().await?;
    world.ask(Method::POST, &format!("/v1/vms/{vm}/migrate"), &json!({})).await;
    world.converge().await?;
    world.ask(Method::POST, "/v1/doctor/repair", &Value::Null).await;
    world.converge().await?;
    let none = json!({ "limits": {} });
    world.ask(Method::PATCH, &format!("/v1/accounts/{account}"), &none).await;
    world.ask(Method::DELETE, &format!("/v1/vms/{vm}"), &Value::Null).await;
    let folder = world.pod.storage.pool_folder("second").display().to_string();
    let pool = world.admin().pool("second", &world.pod.storage.id, &folder).await;
    world.ask(Method::DELETE, &format!("/v1/pools/{pool}"), &Value::Null).await;
    let nowhere = json!({ "name": "nowhere", "sha256": "00".repeat(32), "url": "http://127.0.0.1:1/" });
    let template = text(&world.ask(Method::POST, "/v1/templates", &nowhere).await.body, "id");
    world.pass(Duration::from_secs(5)).await?;
    world.ask(Method::DELETE, &format!("/v1/templates/{template}"), &Value::Null).await;
    world.converge().await?;
    world.clean().await
}
