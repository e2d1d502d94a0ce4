//! Requests that come twice, pages of lists, and paths that lead nowhere.

use podzol_sim::SimPod;
use podzol_test_support::{ControlPlane, text};
use serde_json::{Value, json};

#[tokio::test]
async fn a_repeated_key_gets_the_same_answer_and_another_body_a_refusal() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let first = admin.post_once("/v1/accounts", "k", &json!({ "name": "a" })).await;
    let again = admin.post_once("/v1/accounts", "k", &json!({ "name": "a" })).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);

    let other = admin.post_once("/v1/accounts", "k", &json!({ "name": "b" })).await;
    other.refused(409, "idempotency_key_reused");
    let elsewhere = admin.post_once("/v1/users", "k", &json!({ "name": "a" })).await;
    elsewhere.refused(409, "idempotency_key_reused");
    let customer = admin.customer("acme").await;
    customer.api.post_once("/v1/users", "k", &json!({ "name": "a" })).await.ok();
    assert_eq!(admin.list("/v1/accounts?name=a").await.len(), 1);
    assert!(admin.list("/v1/accounts?name=b").await.is_empty());
}

#[tokio::test]
async fn a_create_that_was_refused_may_be_repeated_with_its_key() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let account = admin.account("a").await;
    admin.post_once("/v1/accounts", "k", &json!({ "name": "a" })).await.refused(409, "name_taken");
    admin.delete(&format!("/v1/accounts/{account}")).await.ok();
    admin.post_once("/v1/accounts", "k", &json!({ "name": "a" })).await.ok();
}

#[tokio::test]
async fn a_secret_is_shown_once_also_when_its_request_is_repeated() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let zone = admin.zone("z1", &["100"]).await;
    let pod = admin.pod("p1", &zone).await;
    for (path, body, secret) in [
        ("/v1/keys", json!({ "name": "k" }), "secret"),
        ("/v1/hosts", json!({ "name": "h", "pod": pod }), "join_token"),
        ("/v1/storage-servers", json!({ "name": "s", "pod": pod }), "join_token"),
    ] {
        let first = admin.post_once(path, path, &body).await.ok();
        let again = admin.post_once(path, path, &body).await.ok();
        assert!(!text(&first, secret).is_empty());
        assert_eq!(again[secret], "", "{path}");
        let kept = admin.get(path).await.ok().to_string();
        assert!(!kept.contains(&text(&first, secret)), "{path}");
    }
}

#[tokio::test]
async fn a_vm_that_is_created_once_is_one_vm_with_one_operation() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let body =
        json!({ "name": "web", "offering": pod.offering, "template": pod.template, "networks": [network] });

    let first = admin.post_once("/v1/vms", "k", &body).await.ok();
    let again = admin.post_once("/v1/vms", "k", &body).await.ok();

    assert_eq!(first, again);
    let id = text(&first, "object.id");
    admin.vm_in_state(&id, "running").await;
    assert_eq!(admin.list(&format!("/v1/operations?subject={id}")).await.len(), 1);
    assert_eq!(admin.list("/v1/vms").await.len(), 1);
}

#[tokio::test]
async fn a_key_must_be_1_to_128_characters() {
    let control_plane = ControlPlane::start().await;
    for key in ["", &"k".repeat(129)] {
        let answer = control_plane.admin.post_once("/v1/accounts", key, &json!({ "name": "a" })).await;
        assert_eq!(answer.refused(400, "invalid_header")["field"], "Idempotency-Key");
    }
    control_plane.admin.post_once("/v1/accounts", &"k".repeat(128), &json!({ "name": "a" })).await.ok();
}

#[tokio::test]
async fn pages_follow_one_another_without_gaps() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    for number in 0..7 {
        admin.account(&format!("a{number}")).await;
    }
    let all: Vec<String> = admin.list("/v1/accounts").await.iter().map(|item| text(item, "id")).collect();
    let mut paged = Vec::new();
    let mut query = "?limit=3".to_owned();
    loop {
        let page = admin.get(&format!("/v1/accounts{query}")).await.ok();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        paged.extend(items.iter().map(|item| text(item, "id")));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=3&after={next}");
    }
    assert_eq!(paged, all);
    assert_eq!(all.len(), 8);
}

#[tokio::test]
async fn a_page_has_1_to_500_things() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let lists = [
        "accounts",
        "users",
        "keys",
        "zones",
        "pods",
        "hosts",
        "storage-servers",
        "pools",
        "offerings",
        "templates",
        "networks",
        "vms",
        "operations",
        "events",
    ];
    for list in lists {
        for limit in ["0", "501"] {
            let answer = admin.get(&format!("/v1/{list}?limit={limit}")).await;
            assert_eq!(answer.refused(422, "invalid_field")["field"], "limit", "{list}");
        }
        for limit in ["-1", "x", "1.5"] {
            admin.get(&format!("/v1/{list}?limit={limit}")).await.refused(422, "invalid_query");
        }
        admin.get(&format!("/v1/{list}?limit=500")).await.ok();
        let one = admin.get(&format!("/v1/{list}?limit=1")).await.ok();
        assert!(one["items"].as_array().is_some_and(|items| items.len() <= 1));
    }
    admin.get("/v1/events?after=x").await.refused(422, "invalid_field");
    admin.get("/v1/vms?state=flying").await.refused(422, "invalid_query");
    admin.get("/v1/vms?network=x").await.refused(422, "invalid_query");
}

#[tokio::test]
async fn a_query_parameter_that_is_none_is_refused_by_name() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    // Of no use to anybody if it were ignored: all VMs instead of those meant.
    for query in ["/v1/vms?acount=acme", "/v1/vms?state=running&acount=acme", "/v1/zones?acount"] {
        let problem = admin.get(query).await.refused(422, "unknown_parameter");
        assert_eq!(problem["field"], "acount", "{query}");
    }
    let body = json!({ "name": "acme" });
    admin.post("/v1/accounts?dry_run=true", &body).await.refused(422, "unknown_parameter");
    assert_eq!(admin.list("/v1/accounts?name=acme").await.len(), 0);
}

#[tokio::test]
async fn what_is_no_route_id_or_method_is_a_problem_too() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    admin.get("/v1/nothing").await.refused(404, "no_such_route");
    admin.get("/v1/vms/x").await.refused(404, "not_found");
    admin.delete("/v1/events").await.refused(405, "no_such_method");
    let large = json!({ "name": "x".repeat(1 << 20) });
    admin.post("/v1/accounts", &large).await.refused(413, "unreadable_body");
    assert_eq!(admin.get("/v1/vms").await.ok()["next"], Value::Null);
}
