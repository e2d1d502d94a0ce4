//! As `create_bodies`, for VMs, and for what changes VMs and hosts.

use podzol_sim::SimPod;
use podzol_test_support::ControlPlane;
use serde_json::json;

use crate::create_bodies::{NOBODY, bad_ids, bad_names, check, check_twice};

#[tokio::test]
async fn bad_vms_are_refused() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let far = admin.zone("z2", &["100-199"]).await;
    let far = admin.network("far", &far, "10.1.1.0/24").await;
    let foreign = admin.customer("acme").await;
    let foreign = foreign.api.network("n1", &pod.zone, "10.1.1.0/24").await;
    let good = json!({ "name": "v", "offering": pod.offering, "template": pod.template, "networks": [network.clone()] });
    let many = |count: usize| json!(vec![network.clone(); count]);
    let key = "ssh-ed25519 AAAA me";
    let mut bad = [bad_names(), bad_ids("offering"), bad_ids("template"), bad_ids("account")].concat();
    bad.extend([
        ("offering", json!(NOBODY), "there is no such offering"),
        ("template", json!(NOBODY), "there is no such template"),
        ("networks", json!([]), "must be 1 to 8 networks"),
        ("networks", many(9), "must be 1 to 8 networks"),
        ("networks", many(2), "must not name a network twice"),
        ("networks", json!([NOBODY]), "there is no network"),
        ("networks", json!([foreign]), "there is no network"),
        ("networks", json!([network.clone(), far]), "must all be in one zone"),
        ("networks", json!(network.clone()), ""),
        ("networks", json!(["x"]), ""),
        ("ssh_keys", json!(vec![key; 33]), "must be at most 32 keys"),
        ("ssh_keys", json!(["nonsense"]), "must be SSH public keys"),
        ("ssh_keys", json!([format!("{key}\nssh-rsa AAAA b")]), "must be SSH public keys"),
        ("ssh_keys", json!([format!("{key}{}", "x".repeat(8192))]), "must be SSH public keys"),
        ("ssh_keys", json!(key), ""),
        ("user_data", json!("x".repeat(65_537)), "must be at most 65536 bytes"),
        ("user_data", json!(7), ""),
    ]);
    let required = ["name", "offering", "template", "networks"];
    check(&control_plane, "/v1/vms", good.clone(), &required, bad).await;
    check_twice(&control_plane, "/v1/vms", good.clone()).await;
    let mut unknown = good;
    unknown["account"] = json!(NOBODY);
    admin.post("/v1/vms", &unknown).await.refused(404, "not_found");
}

#[tokio::test]
async fn bad_changes_of_vms_and_hosts_are_refused() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let vm = pod.vm(admin, "web", &network).await;
    for (path, body, field) in [
        (format!("/v1/vms/{vm}/stop"), json!({ "grace_secs": 3601 }), "grace_secs"),
        (format!("/v1/vms/{vm}/stop"), json!({ "grace_secs": -1 }), "grace_secs"),
        (format!("/v1/vms/{vm}/stop"), json!({ "force": true }), "force"),
    ] {
        assert_eq!(admin.post(&path, &body).await.refused(422, "invalid_field")["field"], field);
    }
    let host = format!("/v1/hosts/{}", pod.hosts[0].id);
    for (body, field) in [
        (json!({ "maintenance": "yes" }), "maintenance"),
        (json!({ "tags": "gpu" }), "tags"),
        (json!({ "maintenance": true, "name": "x" }), "name"),
    ] {
        assert_eq!(admin.patch(&host, &body).await.refused(422, "invalid_field")["field"], field);
    }
    for bytes in ["0", "1048577"] {
        let path = format!("/v1/vms/{vm}/console-log?bytes={bytes}");
        assert_eq!(admin.get(&path).await.refused(422, "invalid_field")["field"], "bytes");
    }
    assert_eq!(admin.show_vm(&vm).await["state"], "running");
    assert_eq!(admin.get(&host).await.ok()["state"], "up");
}
