//! Console proxies come and go with sessions, are drained, and are replaced when they are dead.

use std::time::Duration;

use super::*;

fn ports(proxies: &[Value]) -> Vec<usize> {
    let of = |proxy: &Value| {
        proxy["servers"]
            .as_array()
            .map_or(0, |servers| servers.iter().filter(|server| server["draining_since"].is_null()).count())
    };
    let mut ports: Vec<usize> =
        proxies.iter().filter(|proxy| text(proxy, "state") == "running").map(of).collect();
    ports.sort_unstable();
    ports
}

#[tokio::test]
async fn sessions_up_to_twice_a_vms_room_bring_a_server_first_and_a_vm_second_and_take_them_along() {
    let world = World::make().await;
    let (mut opened, mut seen) = (vec![], vec![]);
    for _ in 0..8 {
        opened.push(world.open().await);
        seen.push(ports(&world.proxies().await));
    }
    let expected: [&[usize]; 8] = [&[1], &[1], &[2], &[2], &[1, 2], &[1, 2], &[2, 2], &[2, 2]];
    assert_eq!(seen, expected);
    for one in &opened {
        world.exchange(one).await;
    }
    let rooms = world.proxies().await;
    assert!(rooms.iter().all(|proxy| proxy["sessions"] == 4 && proxy["max_sessions"] == 4), "{rooms:#?}");

    for one in &opened {
        let path = format!("/v1/console-sessions/{}", text(one, "session.id"));
        world.acme.api.delete(&path).await.ok();
    }
    world.proxies_are("no console proxy to be left", |proxies| proxies.is_empty()).await;
    world.admin().event("console-proxy.remove-server", "nobody needs it").await;
    world.admin().event("console-proxy.remove", "nobody needs it").await;
    // With their addresses and all else.
    assert_eq!(world.admin().list("/v1/public-ips").await, Vec::<Value>::new());
    world.acme.api.delete_vm(&world.vm).await;
    world.pod.is_clean().await;
}

#[tokio::test]
async fn the_reserve_is_there_before_anybody_asks() {
    let world = World::with(|console| console.reserve_sessions = 3).await;
    world
        .proxies_are("two servers to be open", |proxies| {
            let open = |server: &Value| server["open"] == true;
            proxies.len() == 1
                && proxies[0]["servers"].as_array().is_some_and(|all| all.len() == 2 && all.iter().all(open))
        })
        .await;
    assert_eq!(world.ask(&world.acme.api, json!({})).await.status, 200);
}

#[tokio::test]
async fn where_there_may_be_no_more_proxies_a_session_waits_and_it_is_said_why() {
    let world = World::with(|console| (console.most_proxies, console.servers_per_proxy) = (1, 1)).await;
    let first = world.open().await;
    world.open().await;
    let waiting = world.ask(&world.acme.api, json!({})).await.ok();
    let path = format!("/v1/operations/{}", text(&waiting, "operation.id"));
    wait_for("it to be said why", SOON, async || {
        let operation = world.acme.api.get(&path).await.ok();
        let step = operation["step"].as_str().unwrap_or_default();
        if step.contains("as many console proxies as may be") { Ok(()) } else { Err(operation.to_string()) }
    })
    .await;
    let diagnosis = world.admin().get("/v1/doctor").await.ok();
    assert!(diagnosis["findings"].to_string().contains("console_proxies_lacking"), "{diagnosis:#}");
    world.acme.api.delete(&format!("/v1/console-sessions/{}", text(&first, "session.id"))).await.ok();
    world.acme.api.succeeded(&text(&waiting, "operation.id")).await;
}

#[tokio::test]
async fn a_proxy_that_is_asked_to_drain_goes_when_its_pages_are_elsewhere() {
    let world = World::make().await;
    let opened = world.open().await;
    let (session, proxy) = world.exchange(&opened).await;
    let path = format!("/v1/console-proxies/{}", text(&proxy, "id"));
    world.acme.api.post(&format!("{path}/drain"), &json!({})).await.refused(403, "forbidden");
    let drained = world.admin().post(&format!("{path}/drain"), &json!({})).await.ok();
    assert_eq!(text(&drained, "state"), "draining");
    // Its page is told so, and asks.
    let machine = world.machine(&proxy);
    wait_for("it to be told that it drains", SOON, async || {
        let drains = machine
            .document()
            .is_some_and(|document| document.servers.values().all(|server| server.draining));
        if drains { Ok(()) } else { Err(String::new()) }
    })
    .await;
    let there = super::resume::until_resumed(&world, session.resume.token.expose()).await;
    let (_, now) = world.exchange(&json!({ "url": there })).await;
    assert_ne!(now["id"], proxy["id"]);
    world.proxies_are("the first one to be gone", |proxies| proxies.len() == 1).await;
}

#[tokio::test]
async fn a_proxy_whose_host_dies_or_that_hangs_is_replaced() {
    let mut world = World::make().await;
    let opened = world.open().await;
    let (session, proxy) = world.exchange(&opened).await;
    world.machine(&proxy).hang();
    let there = super::resume::until_resumed(&world, session.resume.token.expose()).await;
    let (_, second) = world.exchange(&json!({ "url": there })).await;
    assert_ne!(second["id"], proxy["id"]);
    world.admin().event_about("console-proxy.dead", &text(&proxy, "id"), "it has not answered").await;

    let number = world.pod.hosts.iter().position(|host| host.id == text(&second, "host")).unwrap();
    // Its VM is not on the host that dies.
    world.pod.hosts[number].kill_agent();
    world.pod.hosts[number].hypervisor().host_crashes();
    world.admin().event_about("console-proxy.dead", &text(&second, "id"), "its host does not report").await;
    world.pod.hosts[number].start_agent();
    wait_for("both to be gone", SOON, async || {
        let left = world.proxies().await;
        let gone = |id: &Value| left.iter().all(|proxy| proxy["id"] != *id);
        if gone(&proxy["id"]) && gone(&second["id"]) { Ok(()) } else { Err(format!("{left:#?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_service_that_hears_nobody_for_a_while_takes_no_proxy_for_dead() {
    let mut world = World::make().await;
    let opened = world.open().await;
    let (_, proxy) = world.exchange(&opened).await;
    let machine = world.machine(&proxy);

    // As when its own network is away.
    machine.hang();
    world.pod.hosts.iter_mut().for_each(|host| host.kill_agent());
    for host in &world.pod.hosts {
        world.admin().in_state(&format!("/v1/hosts/{}", host.id), "disconnected").await;
    }
    // Longer than a proxy may be silent whose host is away.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(world.proxies().await[0]["id"], proxy["id"]);

    // It does not hear all of them again at once.
    let (at, others) =
        world.pod.hosts.iter_mut().partition::<Vec<_>, _>(|host| host.id == text(&proxy, "host"));
    for host in others {
        host.start_agent();
        world.control_plane.admin.in_state(&format!("/v1/hosts/{}", host.id), "up").await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    machine.heal();
    at.into_iter().for_each(|host| host.start_agent());
    world.proxies_are("it to answer again", |proxies| proxies[0]["state"] == "running").await;
    let (_, again) = world.exchange(&world.open().await).await;
    assert_eq!(again["id"], proxy["id"]);
    assert_eq!(world.proxies().await.len(), 1);
}

#[tokio::test]
async fn a_server_that_does_not_work_is_replaced_and_gets_nobody_meanwhile() {
    let world = World::with(|console| console.start_secs = 10).await;
    let opened = world.open().await;
    let (session, proxy) = world.exchange(&opened).await;
    world.machine(&proxy).set_problem(session.server, Some("its thread does not answer"));
    world
        .proxies_are("it to be degraded", |proxies| {
            proxies[0]["error"].as_str().is_some_and(|error| error.contains("its thread"))
        })
        .await;
    let second = world.open().await;
    assert_ne!(world.exchange(&second).await.0.server, session.server);
    world.admin().event("console-proxy.remove-server", "its port has not opened in time").await;
}
