//! Whoever is started anew comes to the same: the proxy's program, and the management service.

use podzol_mgmt_db::{Db, DbError, console, find, now, vm};

use super::*;

#[tokio::test]
async fn a_proxy_that_is_started_anew_is_told_all_again() {
    let world = World::make().await;
    let opened = world.open().await;
    let (session, proxy) = world.exchange(&opened).await;
    let machine = world.machine(&proxy);
    machine.restarts();
    let again = world.session_is(&opened, |known| known.is_some()).await.unwrap();
    assert_eq!((again.server, again.resume), (session.server, session.resume));
    assert_eq!(machine.document().map(|document| document.nudge), Some(false), "as it is configured");
    // And then is left alone.
    let puts = machine.count_puts();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(machine.count_puts(), puts);
}

#[tokio::test]
async fn while_the_management_service_is_away_consoles_go_on_and_after_it_they_are_as_they_were() {
    let mut world = World::make().await;
    let opened = world.open().await;
    let (before, proxy) = world.exchange(&opened).await;
    let machine = world.machine(&proxy);
    world.control_plane.kill();
    assert_eq!(machine.sessions().len(), 1);
    world.control_plane.start_again().await;
    // What was ended while nobody told it, it ends now; what was not stays.
    let after = world.session_is(&opened, |known| known.is_some()).await.unwrap();
    assert_eq!((&after.resume, after.server), (&before.resume, before.server));
    let link = world.ask(&world.acme.api, json!({ "session": text(&opened, "session.id") })).await;
    let (same, _) = world.exchange(&link.ok()).await;
    assert_eq!(same.server, before.server);
    assert_eq!(world.proxies().await.len(), 1);
}

#[tokio::test]
async fn a_management_service_that_is_killed_while_a_proxy_starts_goes_on_with_it() {
    let mut world = World::make().await;
    let opened = world.ask(&world.acme.api, json!({})).await.ok();
    world.proxies_are("a proxy to be begun", |proxies| !proxies.is_empty()).await;
    for after in [0, 5, 20, 50, 100, 200, 400] {
        tokio::time::sleep(std::time::Duration::from_millis(after)).await;
        world.control_plane.kill();
        world.control_plane.start_again().await;
    }
    world.acme.api.succeeded(&text(&opened, "operation.id")).await;
    let link = world.ask(&world.acme.api, json!({ "session": text(&opened, "session.id") })).await;
    world.exchange(&link.ok()).await;
    assert_eq!(world.proxies().await.len(), 1);
}

#[tokio::test]
async fn a_session_that_was_closed_while_its_proxy_hung_is_ended_when_that_answers() {
    let world = World::make().await;
    let (opened, other) = (world.open().await, world.open().await);
    let (_, proxy) = world.exchange(&opened).await;
    // Without another one the proxy would go.
    world.exchange(&other).await;
    let machine = world.machine(&proxy);
    machine.hang();
    world.acme.api.delete(&format!("/v1/console-sessions/{}", text(&opened, "session.id"))).await.ok();
    assert!(machine.sessions().contains_key(&session_id(&opened)));
    machine.heal();
    wait_for("the session to be ended", SOON, async || {
        let left = machine.sessions();
        if left.contains_key(&session_id(&opened)) { Err(format!("{left:?}")) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn a_management_service_that_is_killed_while_proxies_go_leaves_nothing() {
    let mut world = World::make().await;
    let opened = [world.open().await, world.open().await, world.open().await];
    for (one, after) in opened.iter().zip([0, 30, 150]) {
        let path = format!("/v1/console-sessions/{}", text(one, "session.id"));
        world.acme.api.delete(&path).await.ok();
        tokio::time::sleep(std::time::Duration::from_millis(after)).await;
        world.control_plane.kill();
        world.control_plane.start_again().await;
    }
    world.proxies_are("no console proxy to be left", |proxies| proxies.is_empty()).await;
    assert_eq!(world.admin().list("/v1/public-ips").await, Vec::<Value>::new());
    world.acme.api.delete_vm(&world.vm).await;
    world.pod.is_clean().await;
}

#[tokio::test]
async fn a_console_proxy_whose_certificate_ends_soon_is_a_finding_of_the_doctor() {
    let mut world = World::make().await;
    world.open().await;
    for (days, is_found) in [(791, false), (794, true)] {
        world.control_plane.stop().await;
        make_console_proxies_old(&world.control_plane, days).await.unwrap();
        world.control_plane.start_again().await;
        let findings = world.admin().get("/v1/doctor").await.ok()["findings"].clone();
        let codes: Vec<&str> =
            findings.as_array().unwrap().iter().filter_map(|one| one["code"].as_str()).collect();
        assert_eq!(codes.contains(&"identity_ends"), is_found, "{days} days: {findings:#}");
    }
}

/// As if all console proxies had been started so many days ago, in the database of a service that is stopped.
async fn make_console_proxies_old(control_plane: &ControlPlane, days: i64) -> Result<(), DbError> {
    let db = Db::open(&control_plane.data_dir().join("podzol.sqlite")).await?;
    let tx = db.begin().await?;
    for row in console::all(tx.reader()).await? {
        let vm = find::<vm::Entity>(tx.reader(), row.vm_id).await?.expect("a console proxy is a VM");
        let started_at = Some(now().0 - days * 86_400_000);
        tx.vm_update(vm::Model { started_at, ..vm }).await?;
    }
    tx.commit().await
}
