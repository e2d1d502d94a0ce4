//! Every field of every body with every rule that it has: what breaks one is refused with the field's name, and
//! nothing is made.

use podzol_sim::SimPod;
use podzol_test_support::{Answer, ControlPlane, text};
use reqwest::Method;
use serde_json::{Value, json};

const NAME: &str = "must be 1 to 63 lower-case letters";
pub(crate) const NOBODY: &str = "01890000-0000-7000-8000-000000000000";

/// What is wrong with a body: the field, a bad value for it, and a part of the message.
type Bad = (&'static str, Value, &'static str);

/// A rule of a name; every body has one.
pub(crate) fn bad_names() -> Vec<Bad> {
    vec![
        ("name", json!(""), NAME),
        ("name", json!("Web"), NAME),
        ("name", json!("a_b"), NAME),
        ("name", json!("a.b"), NAME),
        ("name", json!("-a"), NAME),
        ("name", json!("a-"), NAME),
        ("name", json!("x".repeat(64)), NAME),
        ("name", json!("é"), NAME),
        ("name", json!(7), "expected"),
        ("name", Value::Null, "expected"),
        ("colour", json!("red"), "unknown field"),
    ]
}

/// Values that are no id.
pub(crate) fn bad_ids(field: &'static str) -> Vec<Bad> {
    vec![(field, json!("x"), ""), (field, json!(7), ""), (field, json!([NOBODY]), "")]
}

/// Values outside of a range, and none.
fn outside(field: &'static str, low: u64, high: u64) -> Vec<Bad> {
    let too_low: Value = low.checked_sub(1).map_or(json!(-1), |low| json!(low));
    vec![
        (field, too_low, ""),
        (field, json!(high + 1), "must be"),
        (field, json!(-1), ""),
        (field, json!(1.5), ""),
        (field, json!("1"), ""),
        (field, json!(1e30), ""),
    ]
}

/// Checks that a body is refused with each of these, for each required field that is left out, and where it is no
/// object or no JSON; and that nothing was made of any.
pub(crate) async fn check(
    control_plane: &ControlPlane,
    path: &str,
    good: Value,
    required: &[&str],
    bad: Vec<Bad>,
) {
    let api = &control_plane.admin;
    let before = ids(control_plane, path).await;
    let mut wrong = Vec::new();
    for (field, value, message) in bad {
        let mut body = good.clone();
        body[field] = value.clone();
        let answer = api.post(path, &body).await;
        if !is_about(&answer, field, message) {
            wrong.push(format!("{field} = {value:.80}: {} {}", answer.status, answer.body));
        }
    }
    for field in required {
        let mut body = good.clone();
        body.as_object_mut().expect("a body is an object").remove(*field);
        let answer = api.post(path, &body).await;
        if !is_about(&answer, field, "missing field") {
            wrong.push(format!("without {field}: {} {}", answer.status, answer.body));
        }
    }
    let values: Vec<Value> = good.as_object().expect("a body is an object").values().cloned().collect();
    for text in [json!(values).to_string(), "[]".into(), "7".into(), "null".into(), "\"x\"".into()] {
        let answer = api.send_text(Method::POST, path, &text).await;
        if answer.status != 422 || answer.body["code"] != "invalid_body" {
            wrong.push(format!("{text:.80}, which is no object: {} {}", answer.status, answer.body));
        }
    }
    for text in ["{", "{\"name\":}", "\u{0}", "name=x", &format!("{good} {{}}")] {
        let answer = api.send_text(Method::POST, path, text).await;
        if answer.status != 400 || answer.body["code"] != "malformed_json" {
            wrong.push(format!("{text:?}, which is no JSON: {} {}", answer.status, answer.body));
        }
    }
    let made = ids(control_plane, path).await.len() - before.len();
    assert!(wrong.is_empty() && made == 0, "{path}: {made} were made; {wrong:#?}");
}

/// Whether an answer refuses a field, or an element of it (`networks[1]`), with a message that holds this.
fn is_about(answer: &Answer, field: &str, message: &str) -> bool {
    let found = answer.body["field"].as_str().unwrap_or_default();
    let names_it = found == field || found.strip_prefix(field).is_some_and(|rest| rest.starts_with('['));
    let says_it = answer.body["detail"].as_str().is_some_and(|detail| detail.contains(message));
    answer.status == 422 && answer.body["code"] == "invalid_field" && names_it && says_it
}

async fn ids(control_plane: &ControlPlane, path: &str) -> Vec<String> {
    let items = control_plane.admin.list(&format!("{path}?limit=500")).await;
    items.iter().map(|item| text(item, "id")).collect()
}

/// Checks that the body is good, and that the same name again is refused.
pub(crate) async fn check_twice(control_plane: &ControlPlane, path: &str, good: Value) {
    control_plane.admin.post(path, &good).await.ok();
    let before = ids(control_plane, path).await;
    control_plane.admin.post(path, &good).await.refused(409, "name_taken");
    assert_eq!(ids(control_plane, path).await, before);
}

#[tokio::test]
async fn bad_accounts_users_and_keys_are_refused() {
    let control_plane = ControlPlane::start().await;
    check(&control_plane, "/v1/accounts", json!({ "name": "a" }), &["name"], bad_names()).await;
    check_twice(&control_plane, "/v1/accounts", json!({ "name": "a" })).await;

    let user = json!({ "name": "u" });
    let mut bad = [bad_names(), bad_ids("account")].concat();
    bad.extend([("role", json!("root"), "unknown variant"), ("role", json!(1), "")]);
    check(&control_plane, "/v1/users", user.clone(), &["name"], bad).await;
    check_twice(&control_plane, "/v1/users", user).await;

    let key = json!({ "name": "k" });
    check(&control_plane, "/v1/keys", key.clone(), &["name"], [bad_names(), bad_ids("user")].concat()).await;
    check_twice(&control_plane, "/v1/keys", key).await;

    for (path, body) in [
        ("/v1/users", json!({ "name": "x", "account": NOBODY })),
        ("/v1/keys", json!({ "name": "x", "user": NOBODY })),
    ] {
        control_plane.admin.post(path, &body).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn bad_zones_and_pods_are_refused() {
    let control_plane = ControlPlane::start().await;
    let zone = json!({ "name": "z", "vlan_ranges": ["100-199", "7"] });
    let range = "must be a range of VLAN ids";
    let bad = vec![
        ("vlan_ranges", json!([]), "at least one"),
        ("vlan_ranges", json!("100-199"), ""),
        ("vlan_ranges", Value::Null, ""),
        ("vlan_ranges", json!([100]), ""),
        ("vlan_ranges", json!(["0-5"]), range),
        ("vlan_ranges", json!(["1-4095"]), range),
        ("vlan_ranges", json!(["200-100"]), range),
        ("vlan_ranges", json!(["100", "x"]), range),
        ("vlan_ranges", json!(["100 - 199"]), range),
        ("vlan_ranges", json!(["100-199-200"]), range),
        ("vlan_ranges", json!(["100-199", "199-250"]), "must not overlap, but 100-199 and 199-250 do"),
        ("vlan_ranges", json!(["100", "100"]), "must not overlap"),
    ];
    let vxlans = "must be a range of VXLAN ids from 4096 to 16777215";
    let bad_vxlans = vec![
        ("vxlan_ranges", json!("5000"), ""),
        ("vxlan_ranges", Value::Null, ""),
        ("vxlan_ranges", json!([5000]), ""),
        ("vxlan_ranges", json!(["4095-5000"]), vxlans),
        ("vxlan_ranges", json!(["5000-16777216"]), vxlans),
        ("vxlan_ranges", json!(["5001-5000"]), vxlans),
        ("vxlan_ranges", json!(["100-199"]), vxlans),
        ("vxlan_ranges", json!(["5000-5009", "5009"]), "must not overlap, but 5000-5009 and 5009 do"),
    ];
    let bad = [bad_names(), bad, bad_vxlans].concat();
    check(&control_plane, "/v1/zones", zone.clone(), &["name"], bad).await;
    let without = control_plane.admin.post("/v1/zones", &json!({ "name": "without" })).await;
    assert_eq!(without.refused(422, "invalid_field")["field"], "vlan_ranges");
    check_twice(&control_plane, "/v1/zones", zone).await;

    let zone = control_plane.admin.zone("z1", &["100"]).await;
    let pod = json!({ "name": "p", "zone": zone });
    let mut bad = [bad_names(), bad_ids("zone")].concat();
    bad.push(("zone", json!(NOBODY), "there is no such zone"));
    check(&control_plane, "/v1/pods", pod.clone(), &["name", "zone"], bad).await;
    check_twice(&control_plane, "/v1/pods", pod).await;
}

#[tokio::test]
async fn bad_hosts_storage_servers_and_pools_are_refused() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    for path in ["/v1/hosts", "/v1/storage-servers"] {
        let good = json!({ "name": "x1", "pod": pod.pod });
        let mut bad = [bad_names(), bad_ids("pod")].concat();
        bad.push(("pod", json!(NOBODY), "there is no such pod"));
        check(&control_plane, path, good, &["name", "pod"], bad).await;
    }
    check_twice(&control_plane, "/v1/hosts", json!({ "name": "x1", "pod": pod.pod })).await;
    // One name for hosts and storage servers together.
    let same = json!({ "name": "x1", "pod": pod.pod });
    control_plane.admin.post("/v1/storage-servers", &same).await.refused(409, "name_taken");

    let good =
        json!({ "name": "x2", "storage_server": pod.storage.id, "path": pod.storage.pool_folder("x2") });
    let mut bad = [bad_names(), bad_ids("storage_server")].concat();
    bad.extend([
        ("storage_server", json!(NOBODY), "there is no such storage server"),
        ("storage_server", json!(pod.hosts[0].id), "there is no such storage server"),
        ("path", json!(7), ""),
    ]);
    let paths =
        ["", "/", "srv", "/srv/", "/srv//x", "/srv/../etc", "/srv/.", "/srv/a b", "/srv/$(x)", "/srv\n"];
    bad.extend(paths.map(|path| ("path", json!(path), "must be an absolute path")));
    bad.push(("path", json!(format!("/{}", "x".repeat(255))), "must be an absolute path"));
    check(&control_plane, "/v1/pools", good.clone(), &["name", "storage_server", "path"], bad).await;
    check_twice(&control_plane, "/v1/pools", good).await;
}

#[tokio::test]
async fn a_pool_in_a_folder_that_is_not_for_pools_fails_with_the_reason() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let taken = pod.storage.pool_folder("pool");
    for (name, path, reason) in
        [("x1", "/etc".into(), "where pools may be"), ("x2", taken, "the folder is another pool's")]
    {
        let body = json!({ "name": name, "storage_server": pod.storage.id, "path": path });
        let made = admin.post("/v1/pools", &body).await.ok();
        let path = format!("/v1/pools/{}", text(&made, "object.id"));
        let failed = admin.in_state(&path, "failed").await;
        assert!(failed["error"].as_str().is_some_and(|error| error.contains(reason)), "{failed}");
        let ended = admin.delete(&path).await.ok();
        admin.succeeded(&text(&ended, "operation.id")).await;
        admin.get(&path).await.refused(404, "not_found");
    }
    assert_eq!(pod.storage.templates("pool").len(), 1, "the other pool is as it was");
}

#[tokio::test]
async fn bad_offerings_are_refused() {
    let control_plane = ControlPlane::start().await;
    let good = json!({ "name": "o", "vcpus": 1, "memory_mib": 64, "disk_gib": 1 });
    let bad = [
        bad_names(),
        outside("vcpus", 1, 254),
        outside("cpu_share", 1, 10_000),
        outside("memory_mib", 32, 4_194_304),
        outside("disk_gib", 1, 4_096),
        outside("network_mbps", 1, 1_000_000),
        outside("iops", 1, 10_000_000),
        vec![(
            "tags",
            json!((0..33).map(|number| format!("t{number}")).collect::<Vec<_>>()),
            "at most 32 tags",
        )],
    ];
    let required = ["name", "vcpus", "memory_mib", "disk_gib"];
    check(&control_plane, "/v1/offerings", good.clone(), &required, bad.concat()).await;
    check_twice(&control_plane, "/v1/offerings", good).await;
    let largest = json!({
        "name": "largest", "vcpus": 254, "cpu_share": 10_000, "memory_mib": 4_194_304, "disk_gib": 4_096,
        "network_mbps": 1_000_000, "iops": 10_000_000,
    });
    control_plane.admin.post("/v1/offerings", &largest).await.ok();
}

#[tokio::test]
async fn bad_networks_are_refused() {
    let control_plane = ControlPlane::start().await;
    let zone = control_plane.admin.zone("z1", &["100-199"]).await;
    let good = json!({ "name": "n", "zone": zone, "cidr": "10.1.1.0/24" });
    let mut bad = [bad_names(), bad_ids("zone"), bad_ids("account")].concat();
    bad.extend([
        ("zone", json!(NOBODY), "there is no such zone"),
        ("cidr", json!("10.1.1.0"), "must be an IPv4 range"),
        ("cidr", json!("fd00::/64"), "must be an IPv4 range"),
        ("cidr", json!("10.1.1.0/33"), "must be an IPv4 range"),
        ("cidr", json!("10.1.1.1/24"), "did you mean 10.1.1.0/24?"),
        ("cidr", json!("10.0.0.0/7"), ""),
        ("cidr", json!("10.1.1.0/30"), "must have a prefix length from 8 to 29"),
        ("cidr", json!("127.0.0.0/24"), "unicast"),
        ("cidr", json!("224.0.0.0/24"), "unicast"),
        ("cidr", json!("0.0.0.0/8"), "unicast"),
        ("cidr", json!("255.255.255.0/24"), "unicast"),
        ("cidr", json!(7), ""),
        ("isolation", json!("gre"), "unknown variant"),
        ("isolation", json!(7), ""),
    ]);
    check(&control_plane, "/v1/networks", good.clone(), &["name", "zone", "cidr"], bad).await;
    check_twice(&control_plane, "/v1/networks", good.clone()).await;
    let mut unknown = good;
    unknown["account"] = json!(NOBODY);
    control_plane.admin.post("/v1/networks", &unknown).await.refused(404, "not_found");
}
