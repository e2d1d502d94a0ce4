//! Each zone has console proxies of its own.

use super::*;

#[tokio::test]
async fn while_a_zones_proxies_are_stuck_those_of_another_come_and_go_as_they_should() {
    let mut world = World::make().await;
    let mut other = world.pod.in_another_zone(&world.control_plane).await;
    world.admin().router_template("router").await;
    let network = other.network(&world.acme.api, "there", "10.1.1.0/24").await;
    let there = other.vm(&world.acme.api, "there", &network).await;
    world.pod.hosts.append(&mut other.hosts);
    let here = world.open().await;
    let (session, stuck) = world.exchange(&here).await;
    world.open().await;
    // It takes calls and never answers, and a session waits for a server of it.
    world.machine(&stuck).hang();
    let waiting = world.ask(&world.acme.api, json!({})).await.ok();
    assert!(waiting["url"].is_null(), "{waiting:#}");

    let vm_here = std::mem::replace(&mut world.vm, there);
    let mut opened = vec![];
    for _ in 0..5 {
        opened.push(world.open().await);
    }
    let elsewhere = |proxies: &[Value]| {
        proxies.iter().filter(|proxy| proxy["zone"] == json!(other.zone)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(elsewhere(&world.proxies().await).len(), 2);
    for one in &opened {
        let (_, proxy) = world.exchange(one).await;
        assert_eq!(proxy["zone"], json!(other.zone), "{proxy:#}");
        let path = format!("/v1/console-sessions/{}", text(one, "session.id"));
        world.acme.api.delete(&path).await.ok();
    }
    world.proxies_are("that zone's proxies to be gone", |proxies| elsewhere(proxies).is_empty()).await;

    // All that time the other did not answer; and what is due in its own zone is done, too.
    world.vm = vm_here;
    let resumed = super::resume::until_resumed(&world, session.resume.token.expose()).await;
    assert_ne!(world.exchange(&json!({ "url": resumed })).await.1["id"], stuck["id"]);
    world.acme.api.succeeded(&text(&waiting, "operation.id")).await;
    world.admin().event_about("console-proxy.dead", &text(&stuck, "id"), "it has not answered").await;
}
