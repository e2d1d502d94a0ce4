//! Balancers of HTTP, while no router runs: what is asked of requests is checked, kept and shown, and no key ever is.

use podzol_test_support::certificate::{certificate, certificate_until};

use super::bodies::refused;
use super::*;

/// A line of a key that stands nowhere else.
fn secret(tls: &Value) -> String {
    text(tls, "key").lines().nth(1).expect("a key has more than its first line").to_owned()
}

impl World {
    /// With a template of routers that balance HTTP.
    async fn with_l7() -> Self {
        let world = Self::make().await;
        world.admin().router_template_with("router-l7", &["l7"]).await;
        world
    }

    fn https(&self, tls: &Value) -> Value {
        json!({
            "name": "shop", "public_ip": self.ip, "port": 443, "members": [{ "vm": self.web, "port": 80 }],
            "check": { "http_path": "/up" }, "http": { "cookie": "SRV", "tls": tls },
        })
    }
}

#[tokio::test]
async fn a_balancer_of_http_is_refused_where_no_router_could_be_one() {
    let world = World::make().await;
    let body = world.https(&certificate("shop.example"));
    let problem = world.api().post("/v1/load-balancers", &body).await.refused(409, "no_l7_router_template");
    assert!(text(&problem, "detail").contains("an operator imports router-l7"), "{problem}");
    assert_eq!(world.api().list("/v1/load-balancers").await, Vec::<Value>::new());

    world.admin().router_template_with("router-l7", &["l7"]).await;
    done(world.api(), world.api().post("/v1/load-balancers", &body).await).await;
}

#[tokio::test]
async fn a_certificate_is_shown_by_its_names_and_its_end_and_its_key_nowhere() {
    let world = World::with_l7().await;
    let (api, first, second) = (world.api(), certificate("shop.example"), certificate("www.example"));
    let mut changes = api.changes(None).await;
    let created = api.post_once("/v1/load-balancers", "once", &world.https(&first)).await;
    let id = done(api, created.clone()).await;
    let one = format!("/v1/load-balancers/{id}");
    let shown = api.get(&one).await.ok();
    assert_has(&shown, &json!({ "transport": "tcp", "port": 443, "name": "shop" }));
    assert_has(&shown["http"], &json!({ "cookie": "SRV", "max_connections": 2000, "idle_secs": 60 }));
    assert_has(
        &shown["http"]["certificate"],
        &json!({ "names": ["shop.example"], "expires_at": "2999-01-01T00:00:00.000Z" }),
    );
    // What is left out stays, and another certificate takes the place of the one before.
    let change = json!({ "http": { "tls": second, "idle_secs": 600 } });
    done(api, api.patch(&one, &change).await).await;
    let shown = api.get(&one).await.ok();
    assert_has(&shown["http"], &json!({ "cookie": "SRV", "max_connections": 2000, "idle_secs": 600 }));
    assert_eq!(shown["http"]["certificate"]["names"], json!(["www.example"]));

    let again = api.post_once("/v1/load-balancers", "once", &world.https(&first)).await;
    let listed = api.list("/v1/load-balancers").await;
    let events = world.admin().list("/v1/events").await;
    let told = changes.until(|change| change["id"] == id.as_str()).await;
    let told: Vec<&Value> = told.iter().map(|message| &message.change).collect();
    let said = json!([created.body, again.body, shown, listed, events, told]).to_string();
    for tls in [&first, &second] {
        assert!(!said.contains(&secret(tls)) && !said.contains("PRIVATE KEY"), "{said}");
    }

    done(api, api.patch(&one, &json!({ "http": { "no_tls": true, "no_cookie": true } })).await).await;
    let shown = api.get(&one).await.ok();
    assert_has(&shown["http"], &json!({ "cookie": null, "certificate": null }));
    done(api, api.patch(&one, &json!({ "http": { "tls": first } })).await).await;
    // The key goes with its balancer.
    done(api, api.delete(&one).await).await;
    assert_eq!(api.list("/v1/load-balancers").await, Vec::<Value>::new());
}

#[tokio::test]
async fn what_is_wrong_with_what_is_asked_of_requests_is_refused_by_its_field() {
    let world = World::with_l7().await;
    let (api, tls) = (world.api(), certificate("shop.example"));
    let good = world.https(&tls);
    let http = |change: Value| json!({ "http": change });
    let with = |field: &str, value: Value| {
        let mut tls = tls.clone();
        tls[field] = value;
        http(json!({ "tls": tls }))
    };
    let old = certificate_until("old.example", 2020);
    let other = certificate("other.example");
    let bad = vec![
        (json!({ "transport": "udp", "check": null }), "http", "must be left out of a balancer of UDP"),
        (http(json!({ "cookie": "a b" })), "http.cookie", "must be 1 to 64 letters"),
        (http(json!({ "cookie": "" })), "http.cookie", "must be 1 to 64 letters"),
        (http(json!({ "max_connections": 0 })), "http.max_connections", "must be 1 to 20000"),
        (http(json!({ "max_connections": 20_001 })), "http.max_connections", "must be 1 to 20000"),
        (http(json!({ "idle_secs": 0 })), "http.idle_secs", "must be 1 to 3600"),
        (http(json!({ "idle_secs": 3601 })), "http.idle_secs", "must be 1 to 3600"),
        (http(json!({ "colour": "red" })), "http.colour", "unknown field"),
        (http(json!({ "tls": { "key": "x" } })), "http.tls.certificates", "missing field"),
        (http(json!({ "tls": { "certificates": "x" } })), "http.tls.key", "missing field"),
        (with("certificates", json!("")), "http.tls.certificates", "must be"),
        (with("certificates", json!("x")), "http.tls.certificates", "must be"),
        (with("key", json!("")), "http.tls.key", "must be one private key"),
        (with("key", other["key"].clone()), "http.tls.key", "must be that of the first certificate"),
        (with("certificates", tls["key"].clone()), "http.tls.certificates", "must be certificates as PEM"),
        (http(json!({ "tls": old })), "http.tls.certificates", "must not have run out: one did at 2020-"),
        (with("certificates", json!("x".repeat(32_769))), "http.tls.certificates", "must be"),
        (with("key", json!("x".repeat(16_385))), "http.tls.key", "must be at most 16384 bytes"),
    ];
    refused(api, "/v1/load-balancers", &good, bad).await;

    let one = format!("/v1/load-balancers/{}", done(api, api.post("/v1/load-balancers", &good).await).await);
    let before = api.get(&one).await.ok();
    for (change, field) in [
        (json!({ "no_cookie": true, "cookie": "A" }), "http.no_cookie"),
        (json!({ "no_tls": true, "tls": tls }), "http.no_tls"),
        (json!({ "tls": { "certificates": tls["certificates"], "key": other["key"] } }), "http.tls.key"),
        (json!({ "idle_secs": 0 }), "http.idle_secs"),
    ] {
        let problem = api.patch(&one, &json!({ "http": change })).await.refused(422, "invalid_field");
        assert_eq!(problem["field"], field, "{problem}");
    }
    assert_eq!(api.get(&one).await.ok(), before);
    // What looks at connections alone does not begin to look at requests.
    let plain = done(
        api,
        api.post("/v1/load-balancers", &json!({ "name": "tcp", "public_ip": world.ip, "port": 1 })).await,
    )
    .await;
    let change = json!({ "http": { "cookie": "A" } });
    let problem =
        api.patch(&format!("/v1/load-balancers/{plain}"), &change).await.refused(422, "invalid_field");
    assert_eq!(problem["field"], "http");
}

#[tokio::test]
async fn an_account_has_64_balancers_of_http_in_a_zone() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    admin.zone_networks(&pod.zone).await;
    admin.router_template_with("router-l7", &["l7"]).await;
    let ip = address(admin, &pod.zone).await;
    let create = async |port: u32, http: Value| {
        let body = json!({ "name": format!("lb{port}"), "public_ip": ip, "port": port, "http": http });
        admin.post("/v1/load-balancers", &body).await
    };
    for port in 1..=64 {
        done(admin, create(port, json!({})).await).await;
    }
    let problem = create(65, json!({})).await.refused(409, "too_many_rules");
    assert!(text(&problem, "detail").contains("64 balancers of HTTP"), "{problem}");
    done(admin, create(65, Value::Null).await).await;
}
