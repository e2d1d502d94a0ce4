//! What is used up is said in words, and nothing is left of the attempt.

use podzol_sim::{PodPlan, SimHost, SimPod};
use podzol_test_support::{ControlPlane, SOON, text, wait_for};
use serde_json::json;

#[tokio::test]
async fn a_zone_without_a_free_vlan_says_which_are_all_in_use() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let zone = admin.zone("z1", &["100-101"]).await;
    let other = admin.zone("z2", &["100-101"]).await;
    admin.network("n1", &zone, "10.1.1.0/24").await;
    let second = admin.network("n2", &zone, "10.1.1.0/24").await;
    let body = json!({ "name": "n3", "zone": zone, "cidr": "10.1.1.0/24" });

    let problem = admin.post("/v1/networks", &body).await.refused(409, "vlans_exhausted");

    assert_eq!(text(&problem, "detail"), "no VLAN left in zone z1 (100-101 all in use)");
    assert_eq!(admin.list("/v1/networks").await.len(), 2);
    assert!(admin.list("/v1/events?action=network.create").await.len() == 2);
    admin.network("n3", &other, "10.1.1.0/24").await;
    admin.delete(&format!("/v1/networks/{second}")).await.ok();
    admin.post("/v1/networks", &json!({ "name": "n4", "zone": zone, "cidr": "10.1.1.0/24" })).await.ok();
}

#[tokio::test]
async fn a_vm_that_fits_on_no_host_is_told_why_for_each_class_of_hosts() {
    let control_plane = ControlPlane::start().await;
    let hosts = vec![("h1", 128), ("h2", 128), ("h3", 2048)];
    let plan = PodPlan { hosts, vm_memory_mib: 256, ..PodPlan::default() };
    let pod = SimPod::with(&control_plane, plan).await;
    let admin = &control_plane.admin;
    admin.host("h4", &pod.pod).await;
    let away = format!("/v1/hosts/{}", pod.hosts[2].id);
    admin.patch(&away, &json!({ "maintenance": true })).await.ok();
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;

    let problem = admin.vm("web", &pod.offering, &pod.template, &network).await.refused(409, "no_host_fits");

    let reasons =
        ["1 host: not joined yet (h4)", "1 host: in maintenance (h3)", "2 hosts: not enough memory (h1, h2)"];
    assert_eq!(problem["reasons"], json!(reasons));
    assert!(admin.list("/v1/vms").await.is_empty());
    assert!(admin.list("/v1/operations?state=queued").await.is_empty());
    assert_eq!(pod.leftovers(), Vec::<String>::new());

    admin.patch(&away, &json!({ "maintenance": false })).await.ok();
    let id = pod.vm(admin, "web", &network).await;
    assert_eq!(text(&admin.show_vm(&id).await, "nics.0.address"), "10.1.1.2");
}

#[tokio::test]
async fn a_vm_that_needs_too_many_cpus_fits_on_no_host() {
    let control_plane = ControlPlane::with(|config| config.cpu_overcommit = 1).await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let body = json!({ "name": "wide", "vcpus": 254, "memory_mib": 64, "disk_gib": 1 });
    let wide = text(&admin.post("/v1/offerings", &body).await.ok(), "id");
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;

    let problem = admin.vm("web", &wide, &pod.template, &network).await.refused(409, "no_host_fits");

    assert_eq!(problem["reasons"], json!(["2 hosts: not enough CPUs (h1, h2)"]));
}

#[tokio::test]
async fn a_zone_without_hosts_or_pools_says_so() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let empty = admin.zone("z2", &["100"]).await;
    let network = admin.network("n1", &empty, "10.1.1.0/24").await;

    let problem = admin.vm("web", &pod.offering, &pod.template, &network).await.refused(409, "no_pool_fits");

    assert_eq!(problem["reasons"], json!(["there is no pool in this zone that is ready"]));
}

#[tokio::test]
async fn a_pool_that_has_promised_all_it_may_is_passed_over_with_its_reason() {
    let control_plane = ControlPlane::with(|config| config.storage_overcommit = 1).await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let body = json!({ "name": "vast", "vcpus": 1, "memory_mib": 64, "disk_gib": 4_096 });
    let vast = text(&admin.post("/v1/offerings", &body).await.ok(), "id");

    let problem = admin.vm("web", &vast, &pod.template, &network).await.refused(409, "no_pool_fits");

    let reason = text(&problem, "reasons.0");
    assert!(reason.starts_with("pool pool: ") && reason.ends_with(" left, 4.0 TiB needed"), "{reason}");
    assert_eq!(admin.list("/v1/vms").await.len(), 0);
}

#[tokio::test]
async fn a_pool_whose_server_is_silent_is_passed_over() {
    let control_plane = ControlPlane::with(|config| config.silent_secs = 2).await;
    let mut pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    pod.storage.kill_agent();
    admin.in_state(&format!("/v1/storage-servers/{}", pod.storage.id), "disconnected").await;

    let problem = admin.vm("web", &pod.offering, &pod.template, &network).await.refused(409, "no_pool_fits");

    assert_eq!(problem["reasons"], json!(["pool pool: its storage server is disconnected"]));
}

#[tokio::test]
async fn a_host_gets_vms_once_the_pool_is_exported_to_it_and_no_export_once_it_is_removed() {
    let control_plane = ControlPlane::start().await;
    let plan = PodPlan { hosts: vec![("h1", 2048)], ..PodPlan::default() };
    let mut pod = SimPod::with(&control_plane, plan).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    admin.patch(&format!("/v1/hosts/{}", pod.hosts[0].id), &json!({ "maintenance": true })).await.ok();

    pod.storage.kill_agent();
    let (exports, about) = (pod.storage.exports.clone(), ("h2", 2048));
    let host = SimHost::join(&control_plane, exports, &pod.pod, 2, about, 1).await;
    admin.in_state(&format!("/v1/hosts/{}", host.id), "up").await;
    let problem = admin.vm("web", &pod.offering, &pod.template, &network).await.refused(409, "no_host_fits");
    let reasons = json!(["1 host: in maintenance (h1)", "1 host: does not reach the pool yet (h2)"]);
    assert_eq!(problem["reasons"], reasons);

    pod.storage.start_agent();
    let vm = wait_for("the host to reach the pool", SOON, async || {
        let answer = admin.vm("web", &pod.offering, &pod.template, &network).await;
        if answer.status == 202 { Ok(text(&answer.body, "object.id")) } else { Err(answer.body.to_string()) }
    })
    .await;
    admin.vm_in_state(&vm, "running").await;
    admin.delete_vm(&vm).await;

    let exported = || pod.storage.exports.of(&pod.storage.pool_folder("pool"));
    let address = "127.0.1.2".to_owned();
    assert!(exported().contains(&address), "{:?}", exported());
    admin.delete(&format!("/v1/hosts/{}", host.id)).await.ok();
    wait_for("the export to end", SOON, async || {
        if exported().contains(&address) { Err(format!("{:?}", exported())) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn a_network_without_a_free_address_says_so() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.8/29").await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        ids.push(pod.vm(admin, name, &network).await);
    }

    let problem = admin.vm("f", &pod.offering, &pod.template, &network).await;

    let problem = problem.refused(409, "addresses_exhausted");
    assert_eq!(text(&problem, "detail"), "no address left in network n1 (10.1.1.8/29 all in use)");
    assert_eq!(admin.list("/v1/vms").await.len(), 5);
    admin.delete_vm(&ids[2]).await;
    let next = pod.vm(admin, "f", &network).await;
    assert_eq!(text(&admin.show_vm(&next).await, "nics.0.address"), "10.1.1.12");
}
