//! Operations: followed, cancelled, retried; and one host's trouble is not another's.

use std::time::Duration;

use podzol_sim::{Fault, PodPlan, SimPod, SimStorage, Step};
use podzol_test_support::{ControlPlane, SOON, text, wait_for};
use serde_json::{Value, json};

#[tokio::test]
async fn the_stream_shows_changes_in_their_order_and_goes_on_after_the_last_one_seen() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let customer = control_plane.admin.customer("acme").await;
    let network = pod.network(&customer.api, "n1", "10.1.1.0/24").await;
    let mut changes = customer.api.changes(None).await;

    let made = customer.api.vm("web", &pod.offering, &pod.template, &network).await.ok();
    let (vm, operation) = (text(&made, "object.id"), text(&made, "operation.id"));
    let is_done =
        |change: &Value| change["id"] == operation.as_str() && change["object"]["state"] == "succeeded";
    let runs = |change: &Value| change["id"] == vm.as_str() && change["object"]["state"] == "running";
    // What a change has come to may be shown before its turn.
    let mut seen = changes.until(runs).await;
    seen.extend(changes.until(is_done).await);

    let ids: Vec<i64> = seen.iter().map(|message| message.id.parse().unwrap()).collect();
    assert!(ids.is_sorted() && !ids.is_empty(), "{ids:?}");
    assert!(seen.iter().any(|message| message.change["kind"] == "vm" && message.change["id"] == vm.as_str()));

    let mut again = customer.api.changes(Some(&seen[0].id)).await;
    for id in &ids[1..] {
        assert_eq!(again.next().await.id, id.to_string());
    }

    customer.api.delete_vm(&vm).await;
    let gone = changes.until(|change| change["id"] == vm.as_str() && change["object"].is_null()).await;
    assert!(!gone.is_empty());
}

#[tokio::test]
async fn a_stream_cannot_go_on_after_a_change_that_was_never_made() {
    let control_plane = ControlPlane::start().await;
    let (api, method) = (&control_plane.admin, reqwest::Method::GET);
    for (id, status, code) in [("999999", 409, "changes_forgotten"), ("x", 422, "invalid_field")] {
        let answer = api.send_with_header(method.clone(), "/v1/changes", "Last-Event-ID", id).await;
        answer.refused(status, code);
    }
}

#[tokio::test]
async fn a_start_that_fails_leaves_nothing_on_the_host_and_can_be_retried() {
    let control_plane = ControlPlane::start().await;
    let plan = PodPlan { hosts: vec![("h1", 2048)], ..PodPlan::default() };
    let pod = SimPod::with(&control_plane, plan).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    pod.hosts[0].hypervisor().fault(Step::Start, Fault::Fails(u32::MAX));
    let made = admin.vm("web", &pod.offering, &pod.template, &network).await.ok();
    let (vm, operation) = (text(&made, "object.id"), text(&made, "operation.id"));

    let ended = admin.ended(&operation).await;
    assert_eq!((&ended["state"], &ended["error"]["code"]), (&json!("failed"), &json!("start_failed")));
    let failed = admin.vm_in_state(&vm, "failed").await;
    assert!(text(&failed, "error").contains("a simulated fault"), "{failed}");
    assert_eq!(failed["host"], Value::Null);
    assert_eq!(pod.hosts[0].leftovers(), Vec::<String>::new());
    pod.hosts[0].hypervisor().heal(Step::Start);

    admin.post(&format!("/v1/operations/{operation}/retry"), &Value::Null).await.ok();
    admin.succeeded(&operation).await;
    assert_eq!(admin.show_vm(&vm).await["state"], "running");
    admin
        .post(&format!("/v1/operations/{operation}/retry"), &Value::Null)
        .await
        .refused(409, "operation_not_failed");
    admin
        .post(&format!("/v1/operations/{operation}/cancel"), &Value::Null)
        .await
        .refused(409, "operation_ended");
}

#[tokio::test]
async fn a_vm_that_failed_to_start_can_be_started_or_deleted() {
    let control_plane = ControlPlane::start().await;
    let plan = PodPlan { hosts: vec![("h1", 2048)], ..PodPlan::default() };
    let pod = SimPod::with(&control_plane, plan).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    pod.hosts[0].hypervisor().fault(Step::Start, Fault::Fails(u32::MAX));
    let [one, other] = [pod.begin_vm(admin, "a", &network).await, pod.begin_vm(admin, "b", &network).await];
    admin.vm_in_state(&one, "failed").await;
    admin.vm_in_state(&other, "failed").await;
    pod.hosts[0].hypervisor().heal(Step::Start);

    admin.start_vm(&one).await;
    assert_eq!(admin.show_vm(&one).await["error"], Value::Null);
    admin.delete_vm(&other).await;
    admin.delete_vm(&one).await;
    assert_eq!(pod.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_vm_whose_start_hangs_can_be_deleted() {
    let control_plane = ControlPlane::start().await;
    let plan = PodPlan { hosts: vec![("h1", 2048)], ..PodPlan::default() };
    let pod = SimPod::with(&control_plane, plan).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let hypervisor = pod.hosts[0].hypervisor();
    hypervisor.fault(Step::Start, Fault::Takes(Duration::from_secs(2)));
    let vm = pod.begin_vm(admin, "web", &network).await;
    wait_for("the start to be under way", SOON, async || {
        hypervisor.domain(vm.parse().unwrap()).map(drop).ok_or_else(|| "no domain".into())
    })
    .await;

    admin.delete_vm(&vm).await;

    assert_eq!(pod.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_host_that_hangs_does_not_delay_vms_on_another_host() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let hanging = &pod.hosts[0];
    hanging.hypervisor().fault(Step::Start, Fault::Hangs);
    let mut stuck = 0;

    // VMs go to the hosts in turn; far more of them than one host gets at a time.
    for number in 0..24 {
        let id = pod.begin_vm(admin, &format!("vm{number}"), &network).await;
        if text(&admin.show_vm(&id).await, "host") == hanging.id {
            stuck += 1;
        } else {
            admin.vm_in_state(&id, "running").await;
        }
    }

    assert_eq!(stuck, 12);
    hanging.hypervisor().heal(Step::Start);
    wait_for("all to run", SOON, async || {
        let running = admin.list("/v1/vms?state=running").await.len();
        if running == 24 { Ok(()) } else { Err(format!("{running} run")) }
    })
    .await;
}

#[tokio::test]
async fn a_vm_that_is_stopped_while_it_starts_ends_up_stopped() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    for host in &pod.hosts {
        host.hypervisor().fault(Step::Start, Fault::Takes(Duration::from_millis(500)));
    }
    let id = pod.begin_vm(admin, "web", &network).await;

    admin.stop_vm(&id).await;

    assert_eq!(admin.show_vm(&id).await["state"], "stopped");
    assert!(pod.running(&id).is_empty());
    admin.start_vm(&id).await;
    admin.delete(&format!("/v1/vms/{id}")).await.ok();
    let refused = admin.post(&format!("/v1/vms/{id}/start"), &Value::Null).await;
    assert!([404, 409].contains(&refused.status), "{refused:?}");
    pod.is_clean().await;
}

#[tokio::test]
async fn what_users_do_is_recorded_with_their_names() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let acme = control_plane.admin.customer("acme").await;
    let network = pod.network(&acme.api, "n1", "10.1.1.0/24").await;
    let id = pod.vm(&acme.api, "web", &network).await;
    acme.api.stop_vm(&id).await;
    acme.api.delete_vm(&id).await;

    let events = acme.api.list(&format!("/v1/events?subject={id}")).await;

    let actions: Vec<String> = events.iter().map(|event| text(event, "action")).collect();
    assert_eq!(actions, ["vm.create", "vm.stop", "vm.delete"]);
    assert!(
        events
            .iter()
            .all(|event| event["actor"] == "user owner" && event["account"] == acme.account.as_str())
    );
}

#[tokio::test]
async fn a_vm_that_died_after_a_reboot_that_failed_is_started_again() {
    let control_plane = ControlPlane::with(|config| config.vm_start_secs = 20).await;
    let mut pod = one_host(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let vm = pod.vm(admin, "web", &network).await;
    let before = pod.running(&vm)[0].1.run;

    pod.hosts[0].kill_agent();
    let operation = admin.change_vm(&vm, "reboot", Value::Null).await;
    assert_eq!(admin.ended(&operation).await["state"], "failed");
    pod.hosts[0].hypervisor().host_crashes();
    pod.hosts[0].start_agent();

    wait_for("the VM to run again", SOON, async || match pod.running(&vm).first() {
        Some((_, domain)) if domain.run > before => Ok(()),
        domain => Err(format!("{domain:?}")),
    })
    .await;
    admin.vm_in_state(&vm, "running").await;
}

#[tokio::test]
async fn a_template_reaches_the_pools_that_answer_though_another_does_not() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let mut dead = SimStorage::join(&control_plane, &pod.pod, "a-dead-one", 1).await;
    admin.in_state(&format!("/v1/storage-servers/{}", dead.id), "up").await;
    admin.pool("dead", &dead.id, &dead.pool_folder("dead").display().to_string()).await;
    dead.kill_agent();

    let bytes = podzol_test_support::image::qcow2(64, "other");
    let body = json!({ "name": "other", "sha256": podzol_test_support::image::sha256(&bytes) });
    let template = text(&admin.post("/v1/templates", &body).await.ok(), "id");
    admin.put(&format!("/v1/templates/{template}/data"), &bytes).await.ok();

    admin.in_state(&format!("/v1/templates/{template}"), "ready").await;
    assert_eq!(pod.storage.templates("pool").len(), 2);
    dead.start_agent();
    wait_for("the other pool to have it", SOON, async || match dead.templates("dead").len() {
        2 => Ok(()),
        count => Err(count.to_string()),
    })
    .await;
}

#[tokio::test]
async fn a_host_that_refuses_what_it_is_told_is_not_told_again_at_each_of_its_reports() {
    let control_plane = ControlPlane::with(|config| config.vm_start_secs = 20).await;
    let pod = one_host(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let vm = pod.vm(admin, "web", &network).await;
    // The host reboots it, and cannot write down that it has: it knows the older description from then on.
    pod.hosts[0].hypervisor().fault(Step::Note, Fault::Fails(u32::MAX));
    let operation = admin.change_vm(&vm, "reboot", Value::Null).await;
    assert_eq!(admin.ended(&operation).await["state"], "failed");
    let path = format!("/v1/operations?subject={vm}");
    let before = admin.list(&path).await.len();

    for _ in 0..3 {
        let at = text(&admin.get(&format!("/v1/hosts/{}", pod.hosts[0].id)).await.ok(), "reported_at");
        wait_for("another report", SOON, async || {
            let shown = admin.get(&format!("/v1/hosts/{}", pod.hosts[0].id)).await.ok();
            if text(&shown, "reported_at") == at { Err(at.clone()) } else { Ok(()) }
        })
        .await;
    }

    assert_eq!(admin.list(&path).await.len(), before);
    assert_eq!(admin.show_vm(&vm).await["state"], "running");
}

pub(crate) async fn one_host(control_plane: &ControlPlane) -> SimPod {
    SimPod::with(control_plane, PodPlan { hosts: vec![("h1", 2048)], ..PodPlan::default() }).await
}
