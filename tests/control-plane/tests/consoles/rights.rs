//! Who may see what, and what becomes of sessions when a right goes.

use super::*;

#[tokio::test]
async fn a_session_ends_at_once_when_it_is_closed_or_its_vm_or_its_user_goes() {
    let world = World::make().await;
    let api = &world.acme.api;
    let closed = world.open().await;
    api.delete(&format!("/v1/console-sessions/{}", text(&closed, "session.id"))).await.ok();
    world.session_is(&closed, |known| known.is_none()).await;
    world.admin().event("console-session.close", &world.vm).await;

    let second = api.user("second", &world.acme.account).await;
    let (_, secret) = api.key("own", &second).await;
    let opened = world.open_by(&api.with_key(secret), json!({})).await;
    assert_eq!(world.exchange(&opened).await.0.viewer, "second");
    let theirs = world.open().await;
    api.delete(&format!("/v1/users/{second}")).await.ok();
    world.session_is(&opened, |known| known.is_none()).await;
    world.session_is(&theirs, |known| known.is_some()).await;

    let of_admin = world.open_by(world.admin(), json!({})).await;
    world.exchange(&of_admin).await;
    api.delete_vm(&world.vm).await;
    world.session_is(&theirs, |known| known.is_none()).await;
    world.session_is(&of_admin, |known| known.is_none()).await;
    world.admin().event_about("console-session.revoke", &world.vm, "2 console sessions").await;
    assert_eq!(api.list("/v1/console-sessions").await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_session_is_its_users_and_is_seen_by_the_account_of_its_vm() {
    let world = World::make().await;
    let opened = world.open_by(world.admin(), json!({})).await;
    let id = text(&opened, "session.id");
    // Whoever has the VM sees who looks at it, and may close that; the link is for who has asked alone.
    let seen = world.acme.api.list("/v1/console-sessions").await;
    assert_eq!((text(&seen[0], "viewer").as_str(), &seen[0]["proxy"]), ("admin", &Value::Null));
    world.ask(&world.acme.api, json!({ "session": id })).await.refused(404, "not_found");
    let globex = world.admin().customer("globex").await;
    world.ask(&globex.api, json!({})).await.refused(404, "not_found");
    assert_eq!(globex.api.list("/v1/console-sessions").await, Vec::<Value>::new());
    globex.api.delete(&format!("/v1/console-sessions/{id}")).await.refused(404, "not_found");
    world.acme.api.delete(&format!("/v1/console-sessions/{id}")).await.ok();
}

#[tokio::test]
async fn a_user_has_so_many_sessions_and_no_more() {
    let world = World::with(|console| console.sessions_per_server = 100).await;
    for _ in 0..64 {
        world.open().await;
    }
    world.ask(&world.acme.api, json!({})).await.refused(409, "console_sessions_exhausted");
}

#[tokio::test]
async fn so_many_may_look_at_a_vm_and_no_more() {
    let world = World::with(|console| console.sessions_per_server = 200).await;
    for _ in 0..64 {
        world.open().await;
        world.open_by(world.admin(), json!({})).await;
    }
    let second = world.acme.api.user("second", &world.acme.account).await;
    let (_, secret) = world.acme.api.key("own", &second).await;
    let refused = world.ask(&world.acme.api.with_key(secret), json!({})).await;
    let refused = refused.refused(409, "console_sessions_exhausted");
    assert!(text(&refused, "detail").contains("look at the VM"), "{refused}");
}

#[tokio::test]
async fn an_account_has_so_many_sessions_as_its_quota_says_whoever_else_looks() {
    let world = World::with(|console| console.sessions_per_server = 10).await;
    let account = format!("/v1/accounts/{}", world.acme.account);
    world.admin().patch(&account, &json!({ "quotas": { "console_sessions": 2 } })).await.ok();
    let first = world.open().await;
    world.open_by(world.admin(), json!({})).await;
    let refused = world.ask(&world.acme.api, json!({})).await;
    refused.refused(409, "quota_exceeded");
    assert_eq!(world.admin().get(&account).await.ok()["in_use"]["console_sessions"], 2);
    // An admin is not kept from looking.
    world.open_by(world.admin(), json!({})).await;
    world.acme.api.delete(&format!("/v1/console-sessions/{}", text(&first, "session.id"))).await.ok();
    assert_eq!(world.admin().get(&account).await.ok()["in_use"]["console_sessions"], 2);
}

#[tokio::test]
async fn what_was_opened_with_a_key_ends_with_it() {
    let world = World::make().await;
    let api = &world.acme.api;
    let second = api.user("second", &world.acme.account).await;
    let (key, secret) = api.key("lost", &second).await;
    let (_, other) = api.key("kept", &second).await;
    let lost = world.open_by(&api.with_key(secret), json!({})).await;
    let kept = world.open_by(&api.with_key(other), json!({})).await;
    let token = world.exchange(&lost).await.0.resume.token.expose().clone();
    api.delete(&format!("/v1/keys/{key}")).await.ok();
    world.session_is(&lost, |known| known.is_none()).await;
    super::resume::resume(&world, &token).await.refused(404, "not_found");
    world.exchange(&kept).await;
}

#[tokio::test]
async fn a_session_follows_its_vm_to_another_host() {
    let world = World::make().await;
    let opened = world.open().await;
    let (before, _) = world.exchange(&opened).await;
    let moved = world.admin().post(&format!("/v1/vms/{}/migrate", world.vm), &json!({})).await.ok();
    world.admin().succeeded(&text(&moved, "operation.id")).await;
    let after = world
        .session_is(&opened, |known| known.is_some_and(|known| known.upstream != before.upstream))
        .await
        .unwrap();
    let host = text(&world.admin().show_vm(&world.vm).await, "host");
    assert!(
        matches!(&after.upstream, Upstream::Agent { host: at, .. } if at.to_string() == host),
        "{after:?}"
    );
    assert_eq!((after.server, after.resume), (before.server, before.resume));
    assert!(after.generation > before.generation);
}

#[tokio::test]
async fn a_session_ends_when_its_time_is_over() {
    let world = World::with(|console| (console.session_secs, console.reserve_sessions) = (15, 1)).await;
    // Its time begins when it is asked for.
    world
        .proxies_are("a server to be open", |proxies| {
            proxies.iter().any(|proxy| proxy["servers"][0]["open"] == true)
        })
        .await;
    let opened = world.open().await;
    let (session, _) = world.exchange(&opened).await;
    world.session_is(&opened, |known| known.is_none()).await;
    wait_for("the session to be forgotten", SOON, async || {
        let left = world.acme.api.list("/v1/console-sessions").await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    super::resume::resume(&world, session.resume.token.expose()).await.refused(404, "not_found");
}
