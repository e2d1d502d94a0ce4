//! Which place a session has, keeps and loses, when servers and proxies hang, drain, or say that they do not work.

use std::time::Duration;

use podzol_console_proxy_api::DeletionReason;
use podzol_sim::{Fault, Step};

use super::resume::{resume, until_resumed};
use super::*;

/// Longer than a few looks at a proxy.
const SOME_LOOKS: Duration = Duration::from_secs(5);

impl World {
    /// A session as admins see it.
    async fn row(&self, opened: &Value) -> Value {
        let path = format!("/v1/console-sessions/{}", text(opened, "session.id"));
        self.admin().get(&path).await.ok()
    }

    async fn close(&self, opened: &Value) {
        let path = format!("/v1/console-sessions/{}", text(opened, "session.id"));
        self.acme.api.delete(&path).await.ok();
    }

    async fn scans(&self) -> u64 {
        let metrics = self.admin().get("/metrics").await.ok().as_str().unwrap_or_default().to_owned();
        let line = metrics.lines().find_map(|line| line.strip_prefix("podzol_console_scans_total "));
        line.and_then(|count| count.parse().ok()).expect("scans are counted")
    }
}

async fn ended_as(machine: &SimulatedConsoleProxy, (opened, at): (&Value, &Session), reason: DeletionReason) {
    wait_for("a session to be ended", SOON, async || {
        let ended = machine.ended(at.server, session_id(opened));
        if ended == Some(reason) { Ok(()) } else { Err(format!("{ended:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_page_whose_session_has_another_place_hears_that_it_moved_and_one_that_is_closed_that_it_is_over() {
    let world = World::make().await;
    let opened = world.open().await;
    let (session, proxy) = world.exchange(&opened).await;
    let machine = world.machine(&proxy);
    // Nobody comes back to these. With the last of them the proxy may go before it is told anything.
    let (stays, _keeps_it) = (world.open().await, world.open().await);
    world.admin().post(&format!("/v1/console-proxies/{}/drain", text(&proxy, "id")), &json!({})).await.ok();
    until_resumed(&world, session.resume.token.expose()).await;
    ended_as(&machine, (&opened, &session), DeletionReason::Moved).await;
    let at = world.exchange(&stays).await.0;
    world.close(&stays).await;
    ended_as(&machine, (&stays, &at), DeletionReason::Revoked).await;
}

#[tokio::test]
async fn of_a_session_that_was_idle_its_proxy_is_told_nothing() {
    let world = World::make().await;
    let opened = world.open().await;
    let (session, proxy) = world.exchange(&opened).await;
    let machine = world.machine(&proxy);
    machine.is_idle(session_id(&opened));
    wait_for("it to lose its place", SOON, async || {
        let row = world.row(&opened).await;
        if row["server"].is_null() { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
    tokio::time::sleep(SOME_LOOKS).await;
    assert_eq!((machine.count_deletions(), machine.ended(session.server, session_id(&opened))), (0, None));
}

#[tokio::test]
async fn a_link_to_a_session_that_has_just_become_idle_opens_it() {
    // An empty proxy stays.
    let world = World::with(|console| console.reserve_sessions = 1).await;
    let opened = world.open().await;
    let (_, proxy) = world.exchange(&opened).await;
    world.machine(&proxy).is_idle(session_id(&opened));
    let link = world.ask(&world.acme.api, json!({ "session": text(&opened, "session.id") })).await.ok();
    world.exchange(&link).await;
}

#[tokio::test]
async fn a_server_that_hangs_costs_the_sessions_of_others_nothing() {
    // So much margin that nothing is given up.
    let world = World::with(|console| (console.sessions_per_server, console.margin_sessions) = (3, 9)).await;
    let mut opened = vec![];
    for _ in 0..5 {
        opened.push(world.open().await);
    }
    let (session, proxy) = world.exchange(&opened[0]).await;
    let (other, same) = world.exchange(&opened[4]).await;
    assert!(session.server != other.server && proxy["id"] == same["id"]);
    let machine = world.machine(&proxy);
    // Its thread takes nothing, which the proxy has not noticed yet.
    machine.deafen_server(session.server);
    world.close(&opened[0]).await;
    world.close(&opened[4]).await;
    ended_as(&machine, (&opened[4], &other), DeletionReason::Revoked).await;
    let another = world.open().await;
    let (another, at) = world.exchange(&another).await;
    assert_eq!((another.server, &at["id"]), (other.server, &proxy["id"]));
    // Now it has: a page of it goes on at the other one.
    let row = world.exchange(&opened[1]).await.0;
    machine.hang_server(session.server);
    wait_for("a page of it to go on elsewhere", SOON, async || {
        let there = until_resumed(&world, row.resume.token.expose()).await;
        let now = world.exchange(&json!({ "url": there })).await.0.server;
        if now == other.server { Ok(()) } else { Err(there) }
    })
    .await;
    assert_eq!(world.proxies().await.len(), 1);
}

#[tokio::test]
async fn a_session_keeps_its_place_until_there_is_another() {
    let one = |console: &mut Console| (console.most_proxies, console.servers_per_proxy) = (1, 1);
    let world = World::with(one).await;
    let opened = world.open().await;
    let (session, proxy) = world.exchange(&opened).await;
    let machine = world.machine(&proxy);
    machine.deafen_server(session.server);
    for _ in 0..3 {
        assert_eq!(resume(&world, session.resume.token.expose()).await.status, 202);
    }
    let row = world.row(&opened).await;
    assert_eq!((text(&row, "server"), machine.sessions().len()), (session.server.to_string(), 1));
}

#[tokio::test]
async fn a_server_that_says_it_does_not_work_is_no_room_and_its_pages_go_elsewhere() {
    let world = World::with(|console| console.servers_per_proxy = 1).await;
    let opened = world.open().await;
    let (session, proxy) = world.exchange(&opened).await;
    world.machine(&proxy).set_problem(session.server, Some("its port cannot be opened"));
    wait_for("the page to go elsewhere", SOON, async || {
        let answer = resume(&world, session.resume.token.expose()).await;
        if answer.status != 200 {
            return Err(format!("{answer:?}"));
        }
        let (now, _) = world.exchange(&answer.body).await;
        if now.server == session.server { Err("it is where it was".into()) } else { Ok(()) }
    })
    .await;
    let hosts: Vec<String> = world.proxies().await.iter().map(|proxy| text(proxy, "host")).collect();
    assert!(hosts.len() == 2 && hosts[0] != hosts[1], "{hosts:?}");
}

#[tokio::test]
async fn whoever_waits_has_nobody_scan_more_often() {
    let one = |console: &mut Console| (console.most_proxies, console.servers_per_proxy) = (1, 1);
    let world = World::with(one).await;
    let opened = world.open().await;
    let session = world.exchange(&opened).await.0;
    world.open().await;
    world.ask(&world.acme.api, json!({})).await.ok();
    world.admin().get("/metrics").await.ok();
    let machine = world.machine(&world.proxies().await[0]);
    machine.set_problem(session.server, Some("it does not work"));
    tokio::time::sleep(SOME_LOOKS).await;
    let (before, begun) = (world.scans().await, std::time::Instant::now());
    for _ in 0..20 {
        resume(&world, session.resume.token.expose()).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let scans = world.scans().await - before;
    assert!(scans <= begun.elapsed().as_secs() / 2 + 5, "{scans} scans");
}

#[tokio::test]
async fn requests_for_sessions_of_a_proxy_that_hangs_do_not_wait_for_one_another() {
    let one = |console: &mut Console| (console.most_proxies, console.sessions_per_server) = (1, 64);
    let world = World::with(one).await;
    let mut opened = vec![];
    for _ in 0..24 {
        opened.push(world.open().await);
    }
    let (_, proxy) = world.exchange(&opened[0]).await;
    world.machine(&proxy).hang();
    let asked =
        opened.iter().map(|one| world.ask(&world.acme.api, json!({ "session": text(one, "session.id") })));
    let answers =
        tokio::time::timeout(SOON, futures_util::future::join_all(asked)).await.expect("all are answered");
    assert!(answers.iter().all(|answer| answer.status == 202), "{answers:?}");
}

#[tokio::test]
async fn a_session_ends_though_the_appliance_around_its_proxy_hangs() {
    let world = World::make().await;
    let opened = world.open().await;
    let (session, proxy) = world.exchange(&opened).await;
    // Without another one the proxy would go.
    let _keeps_it = world.open().await;
    let vm: VmId = text(&proxy, "vm").parse().unwrap();
    world.pod.hosts.iter().find_map(|host| host.router(vm)).unwrap().hang();
    world.close(&opened).await;
    ended_as(&world.machine(&proxy), (&opened, &session), DeletionReason::Revoked).await;
}

#[tokio::test]
async fn a_proxy_that_does_not_start_is_tried_again_later_and_later_and_it_is_said_why() {
    let world = World::make().await;
    for host in &world.pod.hosts {
        host.hypervisor().fault(Step::Start, Fault::Fails(1_000_000));
    }
    let opened = world.ask(&world.acme.api, json!({})).await.ok();
    world.admin().event("console-proxy.dead", "").await;
    wait_for("it to be said why", SOON, async || {
        let findings = world.admin().get("/v1/doctor").await.ok()["findings"].to_string();
        if findings.contains("did not start") { Ok(()) } else { Err(findings) }
    })
    .await;
    tokio::time::sleep(SOME_LOOKS).await;
    let events = world.admin().list("/v1/events").await;
    let made = events.iter().filter(|event| event["action"] == "console-proxy.create").count();
    assert!(made <= 3, "{made} were made");
    for host in &world.pod.hosts {
        host.hypervisor().heal(Step::Start);
    }
    wait_for("one to start at last", SOON * 2, async || {
        let operation =
            world.acme.api.get(&format!("/v1/operations/{}", text(&opened, "operation.id"))).await.ok();
        if operation["state"] == "succeeded" { Ok(()) } else { Err(operation.to_string()) }
    })
    .await;
    let findings = world.admin().get("/v1/doctor").await.ok()["findings"].to_string();
    assert!(!findings.contains("did not start"), "{findings}");
}
