//! Pages that have lost their proxy go on elsewhere.

use super::*;

/// Asks to go on, as a page does.
pub(super) async fn resume(world: &World, token: &str) -> Answer {
    world.admin().without_key().post("/v1/console-sessions/resume", &json!({ "token": token })).await
}

/// Where a page goes on, once it may.
pub(super) async fn until_resumed(world: &World, token: &str) -> String {
    wait_for("a page to go on", SOON, async || {
        let answer = resume(world, token).await;
        match answer.status {
            200 => Ok(text(&answer.body, "url")),
            _ => Err(format!("{answer:?}")),
        }
    })
    .await
}

#[tokio::test]
async fn a_page_whose_proxy_is_killed_goes_on_at_another_one() {
    let world = World::make().await;
    // Fills the first, so that there is a second.
    let opened = world.open().await;
    let (session, proxy) = world.exchange(&opened).await;
    for _ in 0..4 {
        world.open().await;
    }
    let vm = killed(&world, &proxy);
    let there = until_resumed(&world, session.resume.token.expose()).await;
    let (again, other) = world.exchange(&json!({ "url": there })).await;
    assert_ne!(other["id"], proxy["id"]);
    assert_eq!((again.vm, again.rights), (session.vm, session.rights));
    assert_eq!(again.resume.token, session.resume.token);
    is_cleaned_up(&world, &proxy, vm).await;
}

#[tokio::test]
async fn a_page_whose_only_proxy_is_killed_goes_on_at_another_one_that_is_started() {
    let world = World::make().await;
    let opened = world.open().await;
    let (session, proxy) = world.exchange(&opened).await;
    assert_eq!(world.proxies().await.len(), 1);
    let vm = killed(&world, &proxy);
    world.admin().event_about("console-proxy.dead", &text(&proxy, "id"), "it has ended").await;
    let there = until_resumed(&world, session.resume.token.expose()).await;
    let (_, other) = world.exchange(&json!({ "url": there })).await;
    assert_ne!(other["id"], proxy["id"]);
    is_cleaned_up(&world, &proxy, vm).await;
    // That is no start that has failed: nothing keeps others from being started.
    let doctor = world.admin().get("/v1/doctor").await.ok();
    assert!(!doctor.to_string().contains("did not start"), "{doctor:#}");
}

fn killed(world: &World, proxy: &Value) -> VmId {
    let vm: VmId = text(proxy, "vm").parse().expect("an id of a VM");
    world.pod.host(&text(proxy, "host")).hypervisor().kill_domain(vm);
    vm
}

/// Neither its row, nor its VM, nor its address is left.
async fn is_cleaned_up(world: &World, proxy: &Value, vm: VmId) {
    let (id, host) = (&proxy["id"], world.pod.host(&text(proxy, "host")));
    world.proxies_are("what was killed to be gone", |left| left.iter().all(|one| one["id"] != *id)).await;
    assert!(host.hypervisor().domain(vm).is_none());
}

#[tokio::test]
async fn a_page_stays_where_it_is_if_its_proxy_answers() {
    let world = World::make().await;
    let opened = world.open().await;
    let (session, proxy) = world.exchange(&opened).await;
    let answer = resume(&world, session.resume.token.expose()).await;
    let (same, at) = world.exchange(&answer.ok()).await;
    assert_eq!((same.server, &at["id"]), (session.server, &proxy["id"]));
}

#[tokio::test]
async fn a_page_of_a_stopped_vm_waits_and_goes_on_when_it_is_started_again() {
    let world = World::make().await;
    let opened = world.open().await;
    let (session, _) = world.exchange(&opened).await;
    world.acme.api.stop_vm(&world.vm).await;
    world.session_is(&opened, |known| known.is_some_and(|known| known.upstream == Upstream::Off)).await;
    let answer = resume(&world, session.resume.token.expose()).await;
    assert_eq!((answer.status, answer.body["progress"].as_str()), (202, Some("the VM is stopped")));
    world.acme.api.start_vm(&world.vm).await;
    world.session_is(&opened, |known| known.is_some_and(|known| known.upstream != Upstream::Off)).await;
    until_resumed(&world, session.resume.token.expose()).await;
}

#[tokio::test]
async fn a_session_that_was_idle_goes_on_when_its_page_asks() {
    let world = World::make().await;
    let opened = world.open().await;
    let (session, proxy) = world.exchange(&opened).await;
    world.machine(&proxy).is_idle(session_id(&opened));
    world.session_is(&opened, |known| known.is_none()).await;
    let there = until_resumed(&world, session.resume.token.expose()).await;
    world.exchange(&json!({ "url": there })).await;
}

#[tokio::test]
async fn tokens_that_are_none_or_of_sessions_that_are_over_get_nothing() {
    let world = World::make().await;
    let opened = world.open().await;
    let token = world.exchange(&opened).await.0.resume.token.expose().clone();
    let mut other = token.clone().into_bytes();
    let last = other.len() - 2;
    other[last] = if other[last] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(other).unwrap();
    for bad in ["", "x", &altered, &token[..40]] {
        resume(&world, bad).await.refused(401, "unauthenticated");
    }
    world.acme.api.delete(&format!("/v1/console-sessions/{}", text(&opened, "session.id"))).await.ok();
    resume(&world, &token).await.refused(404, "not_found");
}

#[tokio::test]
async fn pages_of_console_proxies_may_ask_and_no_others() {
    let world = World::make().await;
    let opened = world.open().await;
    let token = world.exchange(&opened).await.0.resume.token.expose().clone();
    let tls = podzol_rpc::tls::anonymous_client_config(&world.control_plane.ca_pem).unwrap();
    let http = podzol_rpc::client::http_client(tls, None);
    let url = format!("{}/v1/console-sessions/resume", world.admin().base());
    let ask = async |method: reqwest::Method, origin: &str| {
        let request = http.request(method, &url).header("Origin", origin).json(&json!({ "token": token }));
        let answer = request.send().await.unwrap();
        let allowed = answer.headers().get("access-control-allow-origin").cloned();
        (answer.status().as_u16(), allowed.map(|origin| origin.to_str().unwrap().to_owned()))
    };
    let own = "https://203-0-113-10.console.example.org:8443";
    assert_eq!(ask(reqwest::Method::OPTIONS, own).await, (204, Some(own.into())));
    assert_eq!(ask(reqwest::Method::POST, own).await, (200, Some(own.into())));
    for other in [
        "https://evil.example",
        "https://console.example.org",
        "http://203-0-113-10.console.example.org",
        "https://a.b.console.example.org",
        "https://203-0-113-10.console.example.org.evil.example",
        "null",
    ] {
        for method in [reqwest::Method::OPTIONS, reqwest::Method::POST] {
            assert_eq!(ask(method, other).await, (403, None), "{other}");
        }
    }
}

#[tokio::test]
async fn whoever_asks_too_often_is_told_to_wait() {
    let world = World::make().await;
    let limited = wait_for("somebody to be told to wait", SOON, async || {
        let mut answers = futures_util::future::join_all((0..200).map(|_| resume(&world, "x"))).await;
        answers.retain(|answer| answer.status == 429);
        if answers.is_empty() { Err("nobody is".to_owned()) } else { Ok(answers) }
    })
    .await;
    assert!(limited.iter().all(|answer| answer.retry_after.is_some()), "{limited:?}");
    // Others do not feel it: this one has a key.
    world.acme.api.get("/v1/zones").await.ok();
}
