//! A deleted VM can be recovered for a while, and goes for good then.

use podzol_sim::SimPod;
use podzol_test_support::{Api, ControlPlane, SOON, text, wait_for};
use serde_json::{Value, json};

async fn world(secs: u64) -> (ControlPlane, SimPod, String, String) {
    let control_plane = ControlPlane::with(|config| config.vm_expunge_secs = secs).await;
    let pod = SimPod::start(&control_plane).await;
    let network = pod.network(&control_plane.admin, "n1", "10.1.1.0/24").await;
    let vm = pod.vm(&control_plane.admin, "web", &network).await;
    (control_plane, pod, network, vm)
}

async fn delete(api: &Api, vm: &str, query: &str) -> Value {
    let asked = api.delete(&format!("/v1/vms/{vm}{query}")).await.ok();
    api.succeeded(&text(&asked, "operation.id")).await
}

#[tokio::test]
async fn a_deleted_vm_comes_back_with_all_that_it_had() {
    let (control_plane, pod, network, vm) = world(3600).await;
    let admin = &control_plane.admin;
    let before = admin.show_vm(&vm).await;

    assert_eq!(delete(admin, &vm, "").await["kind"], "vm.delete");
    let shown = admin.vm_in_state(&vm, "deleted").await;
    assert!(shown["expunge_at"].is_string() && shown["host"].is_null(), "{shown}");
    assert!(pod.running(&vm).is_empty());
    let left: Vec<String> = pod.hosts.iter().flat_map(|host| host.leftovers()).collect();
    assert!(left.is_empty(), "{left:?}");
    for (what, body) in
        [("start", Value::Null), ("stop", json!({})), ("resize", json!({ "offering": pod.offering }))]
    {
        admin.post(&format!("/v1/vms/{vm}/{what}"), &body).await.refused(409, "vm_deleted");
    }
    // Told again, it stays what it is; its name and addresses are still its own.
    delete(admin, &vm, "").await;
    assert_eq!(admin.show_vm(&vm).await["expunge_at"], shown["expunge_at"]);
    admin.vm("web", &pod.offering, &pod.template, &network).await.refused(409, "name_taken");
    let other = pod.vm(admin, "other", &network).await;
    assert_ne!(admin.show_vm(&other).await["nics"][0]["address"], before["nics"][0]["address"]);

    let recovered = admin.change_vm(&vm, "recover", Value::Null).await;
    admin.succeeded(&recovered).await;
    assert!(admin.vm_in_state(&vm, "stopped").await["expunge_at"].is_null());
    admin.post(&format!("/v1/vms/{vm}/recover"), &Value::Null).await.refused(409, "vm_not_deleted");
    admin.start_vm(&vm).await;
    let after = admin.show_vm(&vm).await;
    assert_eq!((&after["nics"], &after["volumes"]), (&before["nics"], &before["volumes"]));
}

#[tokio::test]
async fn a_deleted_vm_goes_for_good_at_its_time_or_when_that_is_asked_for() {
    let (mut control_plane, pod, network, vm) = world(1).await;
    delete(&control_plane.admin, &vm, "").await;
    control_plane.kill();
    control_plane.start_again().await;
    let admin = &control_plane.admin;
    wait_for("the VM to be gone", SOON, async || {
        let answer = admin.get(&format!("/v1/vms/{vm}")).await;
        if answer.status == 404 { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await;
    admin.event_about("vm.expunge", &vm, "web").await;
    pod.is_clean().await;

    let (control_plane, pod, _network, vm) = world(3600).await;
    let admin = &control_plane.admin;
    delete(admin, &vm, "").await;
    delete(admin, &vm, "?expunge=true").await;
    admin.get(&format!("/v1/vms/{vm}")).await.refused(404, "not_found");
    pod.is_clean().await;
    admin.delete(&format!("/v1/vms/{vm}?expunge=perhaps")).await.refused(422, "invalid_query");
    drop(network);
}

#[tokio::test]
async fn a_data_volume_of_a_deleted_vm_can_be_taken_from_it() {
    let (control_plane, pod, _network, vm) = world(3600).await;
    let admin = &control_plane.admin;
    let made =
        admin.post("/v1/volumes", &json!({ "name": "data", "zone": pod.zone, "size_gib": 1 })).await.ok();
    admin.succeeded(&text(&made, "operation.id")).await;
    let volume = text(&made, "object.id");
    let path = format!("/v1/volumes/{volume}");
    let attached = admin.post(&format!("{path}/attach"), &json!({ "vm": vm })).await.ok();
    admin.succeeded(&text(&attached, "operation.id")).await;
    delete(admin, &vm, "").await;
    assert_eq!(admin.get(&path).await.ok()["vm"], json!(vm));

    let detached = admin.post(&format!("{path}/detach"), &json!({})).await.ok();
    admin.succeeded(&text(&detached, "operation.id")).await;

    assert!(admin.get(&path).await.ok()["vm"].is_null());
    delete(admin, &vm, "?expunge=true").await;
    assert_eq!(admin.get(&path).await.ok()["state"], "ready");
}
