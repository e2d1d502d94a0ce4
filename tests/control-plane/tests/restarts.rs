//! Parts of Podzol are restarted, killed, or silent for a while: VMs run on, and everything is known again.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use podzol_hypervisor::DomainState;
use podzol_mgmt_api::operation::OperationState;
use podzol_mgmt_db::{Db, DbError, JsonCol, now, operation};
use podzol_rpc::PeerId;
use podzol_sim::{Fault, PodPlan, SimPod, Step};
use podzol_storage_api::{VolumePlan, VolumePut};
use podzol_test_support::{ControlPlane, SOON, text, wait_for};
use podzol_vocab::{ByteSize, VolumeId};
use serde_json::{Value, json};

use crate::joining::{CALL, client};

#[tokio::test]
async fn a_management_service_that_is_killed_amid_creates_brings_every_vm_up_once() {
    let mut control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    for host in &pod.hosts {
        host.hypervisor().fault(Step::Start, Fault::Takes(Duration::from_millis(200)));
    }
    let network = pod.network(&control_plane.admin, "n1", "10.1.1.0/24").await;
    let mut ids = Vec::new();
    for number in 0..12 {
        ids.push(pod.begin_vm(&control_plane.admin, &format!("vm{number}"), &network).await);
        if number % 4 == 3 {
            control_plane.kill();
            control_plane.start_again().await;
        }
    }

    let admin = &control_plane.admin;
    join_all(ids.iter().map(|id| admin.vm_in_state(id, "running"))).await;

    assert!(ids.iter().all(|id| pod.running(id).len() == 1));
    assert_eq!(pod.hosts.iter().map(|host| host.hypervisor().starts()).sum::<u64>(), 12);
    assert_eq!(admin.list("/v1/vms").await.len(), 12);
}

#[tokio::test]
async fn a_management_service_that_is_restarted_finds_its_vms_running() {
    let mut control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let network = pod.network(&control_plane.admin, "n1", "10.1.1.0/24").await;
    let id = pod.vm(&control_plane.admin, "web", &network).await;
    let before = pod.running(&id);

    control_plane.restart().await;

    let admin = &control_plane.admin;
    assert_eq!(admin.show_vm(&id).await["state"], "running");
    let operation = admin.change_vm(&id, "reboot", Value::Null).await;
    admin.succeeded(&operation).await;
    assert_eq!(pod.running(&id)[0].1.run, before[0].1.run);
}

#[tokio::test]
async fn an_agent_that_is_killed_finds_its_vms_running() {
    let control_plane = ControlPlane::start().await;
    let mut pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let ids = [pod.vm(admin, "a", &network).await, pod.vm(admin, "b", &network).await];
    let before: Vec<_> = ids.iter().map(|id| pod.running(id)).collect();

    for host in &mut pod.hosts {
        let address = admin.get(&format!("/v1/hosts/{}", host.id)).await.ok()["address"].clone();
        host.restart_agent();
        wait_for("the host's report", SOON, async || {
            let shown = admin.get(&format!("/v1/hosts/{}", host.id)).await.ok();
            let known = shown["address"] != address && shown["report"]["vms"][0]["state"] == "running";
            if known { Ok(()) } else { Err(shown.to_string()) }
        })
        .await;
    }

    let after: Vec<_> = ids.iter().map(|id| pod.running(id)).collect();
    assert_eq!(after, before);
    for id in &ids {
        assert_eq!(admin.show_vm(id).await["state"], "running");
        admin.delete_vm(id).await;
    }
    assert_eq!(pod.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn an_agent_that_is_killed_amid_a_start_starts_the_vm_once() {
    let control_plane = ControlPlane::start().await;
    let plan = PodPlan { hosts: vec![("h1", 2048)], ..PodPlan::default() };
    let mut pod = SimPod::with(&control_plane, plan).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    pod.hosts[0].hypervisor().fault(Step::Start, Fault::Hangs);
    let id = pod.begin_vm(admin, "web", &network).await;
    wait_for("the start to be under way", SOON, async || {
        pod.hosts[0].hypervisor().domain(id.parse().unwrap()).map(drop).ok_or_else(|| "no domain".into())
    })
    .await;

    pod.hosts[0].kill_agent();
    pod.hosts[0].hypervisor().heal(Step::Start);
    pod.hosts[0].start_agent();

    admin.vm_in_state(&id, "running").await;
    assert_eq!(pod.hosts[0].hypervisor().starts(), 1);
}

#[tokio::test]
async fn what_a_killed_agent_has_left_half_done_is_removed_at_its_next_start() {
    let control_plane = ControlPlane::start().await;
    let plan = PodPlan { hosts: vec![("h1", 2048)], ..PodPlan::default() };
    let mut pod = SimPod::with(&control_plane, plan).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let id = pod.vm(admin, "web", &network).await;

    // The domain goes while no agent looks, and with it whatever said what it needed.
    pod.hosts[0].kill_agent();
    pod.hosts[0].hypervisor().forget(id.parse().unwrap());
    let operation = admin.change_vm(&id, "stop", json!({ "grace_secs": 0 })).await;
    pod.hosts[0].start_agent();

    admin.succeeded(&operation).await;
    wait_for("a clean host", SOON, async || {
        let left = pod.hosts[0].leftovers();
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    })
    .await;
}

#[tokio::test]
async fn a_storage_agent_that_is_killed_serves_its_pool_again() {
    let control_plane = ControlPlane::start().await;
    let mut pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let first = pod.vm(admin, "a", &network).await;
    let before = pod.running(&first);

    pod.storage.restart_agent();

    let second = pod.vm(admin, "b", &network).await;
    assert_eq!(pod.running(&first), before);
    admin.delete_vm(&first).await;
    admin.delete_vm(&second).await;
    assert_eq!(pod.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_vm_that_shuts_itself_down_becomes_stopped_and_is_cleaned_up() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let id = pod.vm(admin, "web", &network).await;
    let host = pod.host(&text(&admin.show_vm(&id).await, "host"));

    host.hypervisor().guest_shuts_down(id.parse().unwrap());

    let vm = admin.vm_in_state(&id, "stopped").await;
    assert_eq!(vm["error"], Value::Null);
    assert_eq!(host.leftovers(), Vec::<String>::new());
    let event = admin.event("vm.shut_down", "its operating system shut it down").await;
    assert_eq!(text(&event, "subject"), id);
    admin.start_vm(&id).await;
}

#[tokio::test]
async fn a_domain_that_is_killed_is_started_again() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let id = pod.vm(admin, "web", &network).await;
    let (name, before) = pod.running(&id).remove(0);
    let host = pod.host(&text(&admin.show_vm(&id).await, "host"));

    host.hypervisor().kill_domain(id.parse().unwrap());

    let after = wait_for("the VM to run again", SOON, async || {
        pod.running(&id).pop().ok_or_else(|| "it does not run".into())
    })
    .await;
    assert_eq!((after.0, after.1.run), (name, before.run + 1));
    admin.event("vm.died", "").await;
    admin.vm_in_state(&id, "running").await;
}

#[tokio::test]
async fn the_vms_of_a_host_that_crashed_run_again_when_it_is_back() {
    let control_plane = ControlPlane::start().await;
    let plan = PodPlan { hosts: vec![("h1", 2048)], ..PodPlan::default() };
    let mut pod = SimPod::with(&control_plane, plan).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let ids = [pod.vm(admin, "a", &network).await, pod.vm(admin, "b", &network).await];

    pod.hosts[0].kill_agent();
    pod.hosts[0].hypervisor().host_crashes();
    pod.hosts[0].start_agent();

    for id in &ids {
        wait_for("the VM to run again", SOON, async || {
            let domain = pod.hosts[0].hypervisor().domain(id.parse().unwrap());
            let runs = domain.as_ref().is_some_and(|domain| domain.state == DomainState::Running);
            if runs { Ok(()) } else { Err(format!("{domain:?}")) }
        })
        .await;
        admin.vm_in_state(id, "running").await;
    }
}

#[tokio::test]
async fn what_keeps_a_host_from_starting_its_vms_after_it_crashed_passes_and_they_run_again() {
    let control_plane = ControlPlane::with(|config| config.vm_start_secs = 10).await;
    let plan = PodPlan { hosts: vec![("h1", 2048)], ..PodPlan::default() };
    let mut pod = SimPod::with(&control_plane, plan).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let (kept, stopped) = (pod.vm(admin, "a", &network).await, pod.vm(admin, "b", &network).await);

    pod.hosts[0].kill_agent();
    pod.hosts[0].hypervisor().host_crashes();
    pod.hosts[0].hypervisor().fault(Step::Start, Fault::Fails(u32::MAX));
    pod.hosts[0].start_agent();

    // For longer than a start may take that somebody asked for.
    let kept_from_it = wait_for("the doctor to find them", Duration::from_secs(30), async || {
        let found = admin.get("/v1/doctor").await.ok()["findings"].clone();
        let of = |finding: &&Value| finding["code"] == "vm_start";
        let of_vms: Vec<Value> = found.as_array().expect("a list").iter().filter(of).cloned().collect();
        if of_vms.len() == 2 { Ok(of_vms) } else { Err(found.to_string()) }
    })
    .await;
    assert!(kept_from_it.iter().all(|finding| finding["cause"].is_string()), "{kept_from_it:?}");
    for id in [&kept, &stopped] {
        assert_eq!(admin.show_vm(id).await["state"], "starting");
    }
    // Who wants it to be off all the same has it off.
    admin.stop_vm(&stopped).await;
    assert_eq!(admin.show_vm(&stopped).await["state"], "stopped");

    pod.hosts[0].hypervisor().heal(Step::Start);
    admin.vm_in_state(&kept, "running").await;
    assert_eq!(pod.running(&kept).len(), 1);
    assert!(pod.running(&stopped).is_empty());
}

#[tokio::test]
async fn a_host_that_stops_to_report_is_disconnected_until_it_reports_again() {
    let control_plane = ControlPlane::with(|config| config.silent_secs = 2).await;
    let mut pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let id = pod.vm(admin, "web", &network).await;
    let before = pod.running(&id);
    let path = format!("/v1/hosts/{}", pod.hosts[0].id);

    pod.hosts[0].kill_agent();
    admin.in_state(&path, "disconnected").await;
    admin.event("server.disconnected", "h1").await;
    pod.hosts[0].start_agent();
    admin.in_state(&path, "up").await;

    assert_eq!(pod.running(&id), before);
    assert_eq!(admin.show_vm(&id).await["state"], "running");
}

#[tokio::test]
async fn a_host_in_maintenance_that_was_silent_for_a_while_is_still_in_maintenance() {
    let control_plane = ControlPlane::with(|config| config.silent_secs = 2).await;
    let mut pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let path = format!("/v1/hosts/{}", pod.hosts[0].id);
    admin.patch(&path, &json!({ "maintenance": true })).await.ok();
    let address = admin.get(&path).await.ok()["address"].clone();

    pod.hosts[0].kill_agent();
    wait_for("the host to be silent for long", SOON, async || {
        let silent_for = age(&admin.get(&path).await.ok(), "reported_at");
        if silent_for > time::Duration::seconds(4) { Ok(()) } else { Err(silent_for.to_string()) }
    })
    .await;
    pod.hosts[0].start_agent();

    let host = wait_for("a report of the agent's next start", SOON, async || {
        let host = admin.get(&path).await.ok();
        if host["address"] == address { Err(host.to_string()) } else { Ok(host) }
    })
    .await;
    assert_eq!(host["state"], "maintenance");
}

#[tokio::test]
async fn a_vm_runs_on_when_its_reboot_fails() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let id = pod.vm(admin, "web", &network).await;
    let before = pod.running(&id);
    let host = pod.host(&text(&admin.show_vm(&id).await, "host"));
    host.hypervisor().fault(Step::Reboot, Fault::Fails(1));

    let operation = admin.change_vm(&id, "reboot", Value::Null).await;

    admin.ended(&operation).await;
    assert_eq!(pod.running(&id).first().map(|(_, domain)| domain.run), Some(before[0].1.run));
    assert_eq!(admin.show_vm(&id).await["state"], "running");
}

#[tokio::test]
async fn a_vm_runs_on_when_it_is_to_be_rebooted_while_the_hypervisor_gives_no_answer() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let id = pod.vm(admin, "web", &network).await;
    let before = pod.running(&id);
    let host = pod.host(&text(&admin.show_vm(&id).await, "host"));
    host.hypervisor().fault(Step::List, Fault::NoAnswer(3));

    let operation = admin.change_vm(&id, "reboot", Value::Null).await;

    admin.ended(&operation).await;
    assert_eq!(pod.running(&id).first().map(|(_, domain)| domain.run), Some(before[0].1.run));
}

/// How long ago a time in an object is.
fn age(object: &Value, field: &str) -> time::Duration {
    let format = &time::format_description::well_known::Rfc3339;
    let then = time::OffsetDateTime::parse(&text(object, field), format).expect("times are RFC 3339");
    time::OffsetDateTime::now_utc() - then
}

/// A volume in the pool that the database does not know, as after it was put back to an older state.
async fn unknown_volume(control_plane: &ControlPlane, pod: &SimPod) -> String {
    let server = pod.storage.id.parse().expect("it is an id");
    let peer = PeerId::StorageServer(server);
    let shown = control_plane.admin.get(&format!("/v1/storage-servers/{}", pod.storage.id)).await.ok();
    let client = client(&control_plane.identity(), peer, &text(&shown, "address"));
    let volume = VolumeId::new();
    let path = (pod.pool.parse().expect("it is an id"), volume);
    let plan = VolumePlan { template: None, size: ByteSize::from_mib(1) };
    client.call::<VolumePut>(peer, &path, &plan, CALL).await.expect("the storage agent makes it");
    volume.to_string()
}

#[tokio::test]
async fn a_volume_that_the_database_does_not_know_is_removed() {
    let mut control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let volume = unknown_volume(&control_plane, &pod).await;

    control_plane.restart().await;

    control_plane.admin.event_about("leftover.removed", &volume, "nobody has it").await;
    assert_eq!(pod.storage.volumes("pool"), Vec::<String>::new());
}

#[tokio::test]
async fn a_volume_that_the_database_does_not_know_is_kept_for_as_long_as_an_operator_wants() {
    let mut control_plane = ControlPlane::with(|config| config.leftover_secs = 3600).await;
    let pod = SimPod::start(&control_plane).await;
    let volume = unknown_volume(&control_plane, &pod).await;

    control_plane.restart().await;

    control_plane.admin.event_about("leftover.found", &volume, "removed in 3600 s").await;
    control_plane.restart().await;
    control_plane.admin.event_about("leftover.found", &volume, "removed in 3600 s").await;
    assert!(!pod.storage.volumes("pool").is_empty());
    assert_eq!(control_plane.admin.list("/v1/events?action=leftover.removed").await.len(), 0);
}

#[tokio::test]
async fn what_is_on_its_way_without_an_operation_gets_one() {
    let mut control_plane = ControlPlane::start().await;
    let mut pod = SimPod::start(&control_plane).await;
    let network = pod.network(&control_plane.admin, "n1", "10.1.1.0/24").await;
    let running = pod.vm(&control_plane.admin, "stops", &network).await;
    pod.hosts.iter_mut().for_each(podzol_sim::SimHost::kill_agent);
    let starting = pod.begin_vm(&control_plane.admin, "starts", &network).await;
    control_plane.admin.change_vm(&running, "stop", Value::Null).await;
    control_plane.stop().await;

    // As if each had ended just as another was not begun because of it.
    for subject in [&starting, &running] {
        assert_eq!(end_operations_of(&control_plane, subject).await, 1);
    }
    control_plane.start_again().await;
    pod.hosts.iter_mut().for_each(podzol_sim::SimHost::start_agent);

    let admin = &control_plane.admin;
    admin.vm_in_state(&starting, "running").await;
    admin.vm_in_state(&running, "stopped").await;
    assert_eq!((pod.running(&starting).len(), pod.running(&running).len()), (1, 0));
}

/// Ends what is to be done for a thing without doing it, in the database of a service that is stopped.
async fn end_operations_of(control_plane: &ControlPlane, subject: &str) -> usize {
    try_end(&control_plane.data_dir().join("podzol.sqlite"), subject).await.expect("the database works")
}

async fn try_end(file: &Path, subject: &str) -> Result<usize, DbError> {
    let db = Db::open(file).await?;
    let tx = db.begin().await?;
    let open = operation::open_of(tx.reader(), subject).await?;
    for mut row in open.clone() {
        (row.state, row.finished_at) = (JsonCol(OperationState::Cancelled), Some(now().0));
        tx.operation_update(row).await?;
    }
    tx.commit().await?;
    Ok(open.len())
}
