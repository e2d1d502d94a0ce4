//! What becomes of console proxies that run until their certificates end.

use podzol_mgmt_db::{Db, DbError, console, find, now, vm};

use super::*;

/// As if all console proxies had been started so many days ago, in the database of a service that is stopped.
async fn make_old(control_plane: &ControlPlane, days: i64) -> Result<(), DbError> {
    let db = Db::open(&control_plane.data_dir().join("podzol.sqlite")).await?;
    let tx = db.begin().await?;
    for row in console::all(tx.reader()).await? {
        let vm = find::<vm::Entity>(tx.reader(), row.vm_id).await?.expect("a proxy is a VM");
        tx.vm_update(vm::Model { started_at: Some(now().0 - days * 86_400_000), ..vm }).await?;
    }
    tx.commit().await
}

async fn grow_old(world: &mut World, days: i64) {
    world.control_plane.stop().await;
    make_old(&world.control_plane, days).await.expect("proxies are made old");
    world.control_plane.start_again().await;
}

/// The session, at another proxy than that one, as its page asks for it.
async fn is_elsewhere(world: &World, opened: &Value, than: &Value) -> Value {
    wait_for("the session to be at another proxy", SOON, async || {
        let again = world.ask(&world.acme.api, json!({ "session": text(opened, "session.id") })).await.ok();
        if again["url"].is_null() {
            return Err(again.to_string());
        }
        let (_, proxy) = world.exchange(&again).await;
        if proxy["id"] == than["id"] { Err(proxy.to_string()) } else { Ok(proxy) }
    })
    .await
}

#[tokio::test]
async fn a_proxy_is_followed_by_another_before_its_certificate_ends_and_goes_after_that() {
    let mut world = World::with(|console| console.drain_secs = 1).await;
    let opened = world.open().await;
    let (_, old) = world.exchange(&opened).await;
    grow_old(&mut world, 732).await;
    // The zone is scanned while all is looked at.
    world.admin().post("/v1/doctor/repair", &json!({})).await.ok();
    let left = world.proxies().await;
    assert_eq!((left.len(), &left[0]["id"], &left[0]["state"]), (1, &old["id"], &json!("running")));

    grow_old(&mut world, 764).await;

    world.admin().event_about("console-proxy.retire", &text(&old, "id"), "its certificate ends on").await;
    // There was another one by then.
    let retired = world.admin().list("/v1/events?action=console-proxy.retire").await.remove(0);
    let made = world.admin().list("/v1/events?action=console-proxy.create").await;
    assert_eq!(made.len(), 2, "{made:#?}");
    assert!(made.iter().all(|event| event["id"].as_u64() < retired["id"].as_u64()), "{made:#?} {retired:#}");
    let new = is_elsewhere(&world, &opened, &old).await;
    world
        .proxies_are("the old one to be gone", |proxies| proxies.len() == 1 && proxies[0]["id"] == new["id"])
        .await;
    let diagnosis = world.admin().get("/v1/doctor").await.ok();
    assert_eq!(diagnosis["findings"], json!([]));
}

#[tokio::test]
async fn where_there_may_be_no_more_proxies_the_old_one_goes_first_and_pages_wait_for_the_next() {
    let mut world = World::with(|console| {
        (console.most_proxies, console.servers_per_proxy, console.drain_secs) = (1, 1, 1);
    })
    .await;
    let opened = world.open().await;
    let (_, old) = world.exchange(&opened).await;

    grow_old(&mut world, 764).await;
    world.admin().event_about("console-proxy.retire", &text(&old, "id"), "its certificate ends on").await;

    let next = world.open().await;
    let (_, new) = world.exchange(&next).await;
    assert_ne!(new["id"], old["id"]);
    is_elsewhere(&world, &opened, &old).await;
    world
        .proxies_are("the old one to be gone", |proxies| proxies.len() == 1 && proxies[0]["id"] == new["id"])
        .await;
}
