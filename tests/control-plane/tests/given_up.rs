//! Operations that are given up, by whoever asked for them or by their time, take nothing else with them.

use std::time::Duration;

use podzol_sim::{Fault, PodPlan, SimPod, Step};
use podzol_test_support::{ControlPlane, SOON, text, wait_for};
use serde_json::{Value, json};

use crate::operations::one_host;

#[tokio::test]
async fn a_start_that_hangs_can_be_cancelled_and_leaves_nothing() {
    let control_plane = ControlPlane::start().await;
    let plan = PodPlan { hosts: vec![("h1", 2048)], ..PodPlan::default() };
    let pod = SimPod::with(&control_plane, plan).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let hypervisor = pod.hosts[0].hypervisor();
    hypervisor.fault(Step::Start, Fault::Hangs);
    let made = admin.vm("web", &pod.offering, &pod.template, &network).await.ok();
    let (vm, operation) = (text(&made, "object.id"), text(&made, "operation.id"));
    wait_for("the start to be under way", SOON, async || {
        hypervisor.domain(vm.parse().unwrap()).map(drop).ok_or_else(|| "no domain".into())
    })
    .await;

    let asked = admin.post(&format!("/v1/operations/{operation}/cancel"), &Value::Null).await.ok();
    assert_eq!(asked["cancel_requested"], true);
    let ended = admin.ended(&operation).await;
    assert_eq!(ended["state"], "cancelled", "{ended}");
    hypervisor.heal(Step::Start);

    wait_for("the VM to be down", SOON, async || {
        let shown = admin.show_vm(&vm).await;
        if shown["state"] == "stopped" || shown["state"] == "failed" {
            Ok(())
        } else {
            Err(shown.to_string())
        }
    })
    .await;
    assert_eq!(pod.hosts[0].leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_running_vm_is_not_stopped_by_a_start_that_its_silent_host_never_answers() {
    let control_plane = ControlPlane::with(|config| config.vm_start_secs = 20).await;
    let mut pod = one_host(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let vm = pod.vm(admin, "web", &network).await;
    let before = pod.running(&vm);

    let path = format!("/v1/hosts/{}", pod.hosts[0].id);
    let address = admin.get(&path).await.ok()["address"].clone();
    pod.hosts[0].kill_agent();
    let operation = admin.change_vm(&vm, "start", Value::Null).await;
    assert_eq!(admin.ended(&operation).await["state"], "failed");
    pod.hosts[0].start_agent();
    wait_for("the host to report where it is", SOON, async || {
        let host = admin.get(&path).await.ok();
        if host["address"] != address { Ok(()) } else { Err(host.to_string()) }
    })
    .await;

    let operation = admin.change_vm(&vm, "start", Value::Null).await;
    admin.succeeded(&operation).await;
    assert_eq!(admin.show_vm(&vm).await["state"], "running");
    assert_eq!(pod.running(&vm), before);
}

#[tokio::test]
async fn what_must_get_done_cannot_be_cancelled() {
    let control_plane = ControlPlane::start().await;
    let mut pod = one_host(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let vm = pod.vm(admin, "web", &network).await;
    pod.hosts[0].kill_agent();
    let asked = admin.delete(&format!("/v1/vms/{vm}")).await.ok();
    let operation = text(&asked, "operation.id");

    let cancel = admin.post(&format!("/v1/operations/{operation}/cancel"), &Value::Null).await;

    cancel.refused(409, "operation_not_cancellable");
    pod.hosts[0].start_agent();
    admin.succeeded(&operation).await;
    assert_eq!(pod.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_vm_starts_although_a_change_of_it_that_came_meanwhile_is_cancelled() {
    let control_plane = ControlPlane::start().await;
    let mut pod = one_host(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let other = pod.network(admin, "n2", "10.1.2.0/24").await;
    pod.hosts[0].kill_agent();
    let made = admin.vm("web", &pod.offering, &pod.template, &network).await.ok();
    let (vm, started) = (text(&made, "object.id"), text(&made, "operation.id"));
    let plugged = admin.post(&format!("/v1/vms/{vm}/nics"), &json!({ "network": other })).await.ok();
    let plugged = text(&plugged, "operation.id");

    admin.post(&format!("/v1/operations/{plugged}/cancel"), &Value::Null).await.ok();

    assert_eq!(admin.ended(&plugged).await["state"], "cancelled");
    assert_eq!(admin.show_vm(&vm).await["state"], "starting");
    pod.hosts[0].start_agent();
    admin.succeeded(&started).await;
    let shown = wait_for("what is not wanted any more to be gone", SOON, async || {
        let shown = admin.show_vm(&vm).await;
        if shown["nics"].as_array().is_some_and(|nics| nics.len() == 1) {
            Ok(shown)
        } else {
            Err(shown.to_string())
        }
    })
    .await;
    assert_eq!(shown["state"], "running");
    assert_eq!(pod.running(&vm)[0].1.record.plan.nics.len(), 1);
}

#[tokio::test]
async fn a_start_that_was_cancelled_does_not_come_back_when_the_change_after_it_is_cancelled_too() {
    let control_plane = ControlPlane::start().await;
    let mut pod = one_host(&control_plane).await;
    let admin = &control_plane.admin;
    let [network, second, third] = [
        pod.network(admin, "n1", "10.1.1.0/24").await,
        pod.network(admin, "n2", "10.1.2.0/24").await,
        pod.network(admin, "n3", "10.1.3.0/24").await,
    ];
    pod.hosts[0].kill_agent();
    let made = admin.vm("web", &pod.offering, &pod.template, &network).await.ok();
    let (vm, started) = (text(&made, "object.id"), text(&made, "operation.id"));
    let mut plugged = vec![];
    for other in [&second, &third] {
        let answer = admin.post(&format!("/v1/vms/{vm}/nics"), &json!({ "network": other })).await.ok();
        plugged.push(text(&answer, "operation.id"));
    }
    for operation in [&started, &plugged[1]] {
        admin.post(&format!("/v1/operations/{operation}/cancel"), &Value::Null).await.ok();
        assert_eq!(admin.ended(operation).await["state"], "cancelled");
    }

    // Both were undone, as nobody can tell them apart.
    let undone = admin.ended(&plugged[0]).await;
    assert_eq!((&undone["state"], &undone["error"]["code"]), (&json!("cancelled"), &json!("undone")));
    assert_eq!(admin.show_vm(&vm).await["state"], "stopping");
    pod.hosts[0].start_agent();
    let shown = wait_for("the VM to be down", SOON, async || {
        let shown = admin.show_vm(&vm).await;
        if shown["host"].is_null() { Ok(shown) } else { Err(shown.to_string()) }
    })
    .await;
    assert_eq!(shown["nics"].as_array().map(Vec::len), Some(1), "{shown:#}");
    assert_eq!(pod.hosts[0].leftovers(), Vec::<String>::new());
    admin.start_vm(&vm).await;
}

#[tokio::test]
async fn a_reboot_that_is_given_up_leaves_another_to_come_and_does_not_come_long_after() {
    let control_plane = ControlPlane::start().await;
    let mut pod = one_host(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let other = pod.network(admin, "n2", "10.1.2.0/24").await;
    let vm = pod.vm(admin, "web", &network).await;
    let cancelled = async |operation: &str| {
        admin.post(&format!("/v1/operations/{operation}/cancel"), &Value::Null).await.ok();
        assert_eq!(admin.ended(operation).await["state"], "cancelled");
    };
    pod.hosts[0].kill_agent();
    let first = admin.change_vm(&vm, "reboot", Value::Null).await;
    let second = admin.change_vm(&vm, "reboot", Value::Null).await;
    cancelled(&second).await;
    pod.hosts[0].start_agent();
    admin.succeeded(&first).await;
    assert_eq!(pod.running(&vm)[0].1.reboots, 1);

    pod.hosts[0].kill_agent();
    let third = admin.change_vm(&vm, "reboot", Value::Null).await;
    let plugged = admin.post(&format!("/v1/vms/{vm}/nics"), &json!({ "network": other })).await.ok();
    cancelled(&third).await;
    pod.hosts[0].start_agent();
    admin.succeeded(&text(&plugged, "operation.id")).await;
    let now = &pod.running(&vm)[0].1;
    assert_eq!((now.reboots, now.record.plan.nics.len()), (1, 2));
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_a_vm_to_another_start_that_goes_on() {
    let control_plane = ControlPlane::start().await;
    let mut pod = one_host(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    pod.hosts[0].kill_agent();
    let made = admin.vm("web", &pod.offering, &pod.template, &network).await.ok();
    let (vm, first) = (text(&made, "object.id"), text(&made, "operation.id"));
    let second = admin.change_vm(&vm, "start", Value::Null).await;
    assert_ne!(first, second);

    admin.post(&format!("/v1/operations/{first}/cancel"), &Value::Null).await.ok();

    assert_eq!(admin.ended(&first).await["state"], "cancelled");
    assert_eq!(admin.show_vm(&vm).await["state"], "starting");
    // And when the last one is given up too, so is the VM's start.
    admin.post(&format!("/v1/operations/{second}/cancel"), &Value::Null).await.ok();
    assert_eq!(admin.ended(&second).await["state"], "cancelled");
    assert_eq!(admin.show_vm(&vm).await["state"], "stopping");
    pod.hosts[0].start_agent();
    wait_for("the VM to be down", SOON, async || {
        let shown = admin.show_vm(&vm).await;
        if shown["host"].is_null() { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
    assert_eq!(pod.hosts[0].leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_vm_is_rebooted_when_that_is_asked_for_again_after_it_was_cancelled_too_late() {
    let control_plane = ControlPlane::start().await;
    let pod = one_host(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let vm = pod.vm(admin, "web", &network).await;
    let hypervisor = pod.hosts[0].hypervisor();
    hypervisor.fault(Step::Reboot, Fault::Takes(Duration::from_secs(2)));
    let first = admin.change_vm(&vm, "reboot", Value::Null).await;
    wait_for("the reboot to be under way", SOON, async || {
        if hypervisor.taken().contains(&Step::Reboot) { Ok(()) } else { Err("not yet".into()) }
    })
    .await;
    admin.post(&format!("/v1/operations/{first}/cancel"), &Value::Null).await.ok();
    assert_eq!(admin.ended(&first).await["state"], "cancelled");
    wait_for("it to be rebooted all the same", SOON, async || match pod.running(&vm)[0].1.reboots {
        1 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    hypervisor.heal(Step::Reboot);

    let again = admin.change_vm(&vm, "reboot", Value::Null).await;

    admin.succeeded(&again).await;
    assert_eq!(pod.running(&vm)[0].1.reboots, 2);
}
