//! Servers join and leave, and every step of that fails in every way.

use std::time::Duration;

use podzol_rpc::Identity;
use podzol_rpc::join::{JoinToken, join};
use podzol_sim::{Exports, SimHost, SimStorage};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::calls::{MISHAPS, TROUBLES, Trouble, Whom};
use crate::steps::{Course, Run, Wrong};
use crate::world::World;

/// What a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    HostJoins,
    HostLeaves,
    StorageServerJoins,
}

const VISITS: [Visit; 3] = [Visit::HostJoins, Visit::HostLeaves, Visit::StorageServerJoins];

/// How often agents report at least, in seconds.
const REPORT_SECS: u64 = 5;

/// How long a server may take to be up, once it has joined.
const COMES_UP: Duration = Duration::from_secs(60);

/// Has servers join and leave while each step of it fails in each way. Nothing of one that has left is left.
///
/// # Errors
/// When one does not join, or something is left.
pub(crate) async fn run_all() -> Result<usize, String> {
    let mut world = World::make().await;
    let mut failures = 0;
    for visit in VISITS {
        let smooth = run(&mut world, visit, Wrong::At(&[])).await?;
        for number in 1..=smooth.calls.len() {
            for trouble in TROUBLES {
                // Whoever asks for a certificate is the server itself, which an operator has join again with a new token.
                let joins = smooth.calls[number - 1].ends_with(" /v1/join");
                if joins && matches!(trouble, Trouble::Kill(Whom::Caller, _)) {
                    continue;
                }
                run(&mut world, visit, Wrong::At(&[(number, trouble)])).await?;
                failures += 1;
            }
        }
        for step in &smooth.steps {
            for mishap in MISHAPS.into_iter().filter(|mishap| mishap.can_happen_at(*step)) {
                run(&mut world, visit, Wrong::In(*step, mishap)).await?;
                failures += 1;
            }
        }
        println!("{visit:?}: {:?}, {:?}", smooth.calls, smooth.steps);
    }
    Ok(failures)
}

async fn run(world: &mut World, visit: Visit, wrong: Wrong<'_>) -> Result<Course, String> {
    let visited = match visit {
        Visit::HostJoins => host_joins(world, wrong).await,
        Visit::HostLeaves => host_leaves(world, wrong).await,
        Visit::StorageServerJoins => storage_server_joins(world, wrong).await,
    };
    visited.map_err(|error| format!("{visit:?}, {wrong:?}: {error}"))
}

async fn host_joins(world: &mut World, wrong: Wrong<'_>) -> Result<Course, String> {
    let (id, token) = world.admin().host("h9", &world.pod.pod).await;
    let begun = Run::begin(world, wrong);
    let host = new_host(world, id, token).await?;
    let course = begun.end(world).await?;
    let path = format!("/v1/hosts/{}", host.id);
    world.ask(Method::PATCH, &path, &json!({ "maintenance": true })).await;
    world.converge().await?;
    world.admin().delete(&path).await.ok();
    drop(host);
    world.converge().await?;
    world.holds().await?;
    Ok(course)
}

async fn host_leaves(world: &mut World, wrong: Wrong<'_>) -> Result<Course, String> {
    let (id, token) = world.admin().host("h9", &world.pod.pod).await;
    let host = new_host(world, id, token).await?;
    world.converge().await?;
    let path = format!("/v1/hosts/{}", host.id);
    world.ask(Method::PATCH, &path, &json!({ "maintenance": true })).await;
    world.converge().await?;
    let begun = Run::begin(world, wrong);
    world.admin().delete(&path).await.ok();
    drop(host);
    begun.end(world).await
}

async fn storage_server_joins(world: &mut World, wrong: Wrong<'_>) -> Result<Course, String> {
    let (id, token) = world.admin().storage_server("s9", &world.pod.pod).await;
    let begun = Run::begin(world, wrong);
    let identity = identity(world, &token).await?;
    let server = SimStorage::joined(&world.control_plane, (id, identity), Exports::default(), REPORT_SECS);
    let path = format!("/v1/storage-servers/{}", server.id);
    is_up(world, &path).await?;
    let course = begun.end(world).await?;
    // It is of use, too.
    let folder = server.pool_folder("ninth");
    let pool = world.admin().pool("ninth", &server.id, &folder.display().to_string()).await;
    world.converge().await?;
    if server.exports.of(&folder).len() != world.pod.hosts.len() {
        return Err(format!("its pool is exported to {:?}", server.exports.of(&folder)));
    }
    world.ask(Method::DELETE, &format!("/v1/pools/{pool}"), &Value::Null).await.ok();
    world.converge().await?;
    world.admin().delete(&path).await.ok();
    if server.pool_folder("ninth").join("volumes").exists() || !server.exports.all_of_them().is_empty() {
        return Err(format!("its pool's files are left, or its export: {:?}", server.exports.all_of_them()));
    }
    drop(server);
    world.converge().await?;
    Ok(course)
}

async fn new_host(world: &mut World, id: String, token: String) -> Result<SimHost, String> {
    let identity = identity(world, &token).await?;
    let exports = world.pod.storage.exports.clone();
    let about = ("h9", 1024);
    let host = SimHost::joined(&world.control_plane, (id, identity), exports, 9, about, REPORT_SECS);
    is_up(world, &format!("/v1/hosts/{}", host.id)).await?;
    Ok(host)
}

/// The identity that a server gets for its token, while parts may be killed.
async fn identity(world: &mut World, token: &str) -> Result<Identity, String> {
    let token: JoinToken = token.parse().expect("the API gives valid tokens");
    let address = world.control_plane.agent_address();
    let joined = tokio::spawn(async move { join(&address, &token).await });
    while !joined.is_finished() {
        world.pass(Duration::from_millis(100)).await?;
    }
    joined.await.expect("joining does not panic").map_err(|error| format!("{error:?}"))
}

/// Waits until a server is up, while parts may be killed.
async fn is_up(world: &mut World, path: &str) -> Result<(), String> {
    let deadline = Instant::now() + COMES_UP;
    loop {
        let shown = world.ask(Method::GET, path, &Value::Null).await.ok();
        if shown["state"] == "up" {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("it does not come up: {shown}"));
        }
        world.pass(Duration::from_millis(500)).await?;
    }
}
