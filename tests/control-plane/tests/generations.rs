//! Which of two descriptions of a VM is the newer: hosts refuse old ones, and nothing is stuck for that.

use podzol_agent_api::report::HostReportPost;
use podzol_agent_api::vm::{VmDelete, VmDeleteRequest, VmPut, VmPutRequest, VmState};
use podzol_rpc::{Client, PeerId};
use podzol_sim::SimPod;
use podzol_test_support::{ControlPlane, SOON, text, wait_for};
use podzol_vocab::{ErrorCode, Generation, VmId};
use serde_json::Value;

use crate::joining::{CALL, call, client, last_report, one_host};

/// The agent of the one host, asked as the management service asks it, and the plan of the VM there.
async fn agent_with_a_vm(control_plane: &ControlPlane, pod: &SimPod) -> (Client, PeerId, VmId, VmPutRequest) {
    let network = pod.network(&control_plane.admin, "n1", "10.1.1.0/24").await;
    let vm: VmId = pod.vm(&control_plane.admin, "web", &network).await.parse().expect("a VM's id is one");
    let host = &pod.hosts[0];
    let address = last_report(control_plane, host).await.api_address;
    let client = client(&control_plane.identity(), host.peer(), &address);
    let plan = host.hypervisor().domain(vm).expect("it runs here").record.plan;
    (client, host.peer(), vm, VmPutRequest { plan, wait_ms: 5000 })
}

#[tokio::test]
async fn an_agent_refuses_an_older_description_and_another_one_of_the_same_number() {
    let control_plane = ControlPlane::start().await;
    let pod = one_host(&control_plane).await;
    let (client, host, vm, request) = agent_with_a_vm(&control_plane, &pod).await;
    let before = pod.running(&vm.to_string());

    let mut other = request.clone();
    other.plan.memory_mib += 1;
    let conflict = client.call::<VmPut>(host, &vm, &other, CALL).await.unwrap_err();
    let mut older = request.clone();
    older.plan.generation = Generation(0);
    let stale = client.call::<VmPut>(host, &vm, &older, CALL).await.unwrap_err();
    let delete = VmDeleteRequest { generation: Generation(0), grace_secs: 0, wait_ms: 5000 };
    let stale_delete = client.call::<VmDelete>(host, &vm, &delete, CALL).await.unwrap_err();

    assert_eq!(conflict.code(), Some(ErrorCode::GenerationConflict));
    assert_eq!(stale.code(), Some(ErrorCode::StaleGeneration));
    assert_eq!(stale_delete.code(), Some(ErrorCode::StaleGeneration));
    assert_eq!(pod.running(&vm.to_string()), before);
}

/// A VM that has stopped, and of which the host knows a newer "it is not here": no report tells of that.
async fn stopped_vm_with_a_newer_past(control_plane: &ControlPlane, pod: &SimPod) -> String {
    let (client, host, vm, _) = agent_with_a_vm(control_plane, pod).await;
    control_plane.admin.stop_vm(&vm.to_string()).await;
    let delete = VmDeleteRequest { generation: Generation(50), grace_secs: 0, wait_ms: 5000 };
    client.call::<VmDelete>(host, &vm, &delete, CALL).await.expect("a newer description is taken");
    vm.to_string()
}

#[tokio::test]
async fn a_generation_that_a_host_refuses_is_recorded() {
    let control_plane = ControlPlane::start().await;
    let pod = one_host(&control_plane).await;
    let vm = stopped_vm_with_a_newer_past(&control_plane, &pod).await;

    control_plane.admin.change_vm(&vm, "start", Value::Null).await;

    control_plane.admin.event_about("generation.refused", &vm, "older than 50").await;
}

#[tokio::test]
async fn a_vm_that_its_host_refused_to_start_for_its_generation_can_be_deleted() {
    let control_plane = ControlPlane::start().await;
    let pod = one_host(&control_plane).await;
    let vm = stopped_vm_with_a_newer_past(&control_plane, &pod).await;
    let operation = control_plane.admin.change_vm(&vm, "start", Value::Null).await;
    control_plane.admin.ended(&operation).await;

    control_plane.admin.delete_vm(&vm).await;

    assert_eq!(pod.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_vm_whose_host_knows_a_newer_generation_can_still_be_deleted() {
    let control_plane = ControlPlane::start().await;
    let pod = one_host(&control_plane).await;
    let (client, host, vm, mut request) = agent_with_a_vm(&control_plane, &pod).await;
    request.plan.generation = Generation(50);
    client.call::<VmPut>(host, &vm, &request, CALL).await.expect("a newer description is taken");

    control_plane.admin.delete_vm(&vm.to_string()).await;

    assert_eq!(pod.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_report_that_comes_late_does_not_hinder_the_next_start() {
    let control_plane = ControlPlane::start().await;
    let pod = one_host(&control_plane).await;
    let (admin, host) = (&control_plane.admin, &pod.hosts[0]);
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let vm = pod.vm(admin, "web", &network).await;

    let mut report = wait_for("a report with the VM", SOON, async || {
        let report = last_report(&control_plane, host).await;
        if report.vms.is_empty() { Err("no VM".into()) } else { Ok(report) }
    })
    .await;
    admin.stop_vm(&vm).await;
    // As the agent would have told it just before the VM was gone.
    let generation = admin.show_vm(&vm).await["generation"].as_u64().unwrap();
    (report.vms[0].generation, report.vms[0].state) = (Generation(generation), VmState::Stopping);
    let path = format!("/v1/hosts/{}", host.id);

    call::<HostReportPost>(&control_plane, &host.identity, host.id.parse().unwrap(), report)
        .await
        .expect("a report is taken");
    let late = text(&admin.get(&path).await.ok(), "reported_at");
    wait_for("the next report, when all that followed from the late one has been done", SOON, async || {
        let at = text(&admin.get(&path).await.ok(), "reported_at");
        if at == late { Err(at) } else { Ok(()) }
    })
    .await;

    admin.start_vm(&vm).await;
}
