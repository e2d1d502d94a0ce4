//! The life of a VM.

use podzol_sim::{PodPlan, SimPod};
use podzol_test_support::{ControlPlane, text};
use serde_json::{Value, json};

#[tokio::test]
async fn a_vm_runs_on_the_host_with_the_most_room_and_shows_how_long_its_start_took() {
    let control_plane = ControlPlane::start().await;
    let hosts = vec![("small", 1024), ("large", 2048)];
    let pod = SimPod::with(&control_plane, PodPlan { hosts, ..PodPlan::default() }).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;

    let id = pod.vm(admin, "web", &network).await;

    let vm = admin.show_vm(&id).await;
    assert_eq!(pod.host(&text(&vm, "host")).name, "large");
    assert_eq!(pod.running(&id).len(), 1);
    let steps: Vec<&str> =
        vm["start_timing"].as_array().unwrap().iter().filter_map(|step| step["step"].as_str()).collect();
    let expected = [
        "queue",
        "volume",
        "host",
        "host: look",
        "host: storage",
        "host: seed",
        "host: network",
        "host: libvirt",
    ];
    assert_eq!(steps, expected);
    assert!(vm["started_at"].is_string());
}

#[tokio::test]
async fn a_vm_is_stopped_and_started_again_on_its_volume() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let id = pod.vm(admin, "web", &network).await;
    let before = admin.show_vm(&id).await;
    let volumes = pod.storage.volumes("pool");

    admin.stop_vm(&id).await;
    let stopped = admin.show_vm(&id).await;
    assert_eq!((&stopped["state"], &stopped["host"]), (&json!("stopped"), &Value::Null));
    assert!(pod.hosts.iter().all(|host| host.leftovers().is_empty()), "{:?}", pod.leftovers());
    assert_eq!(pod.storage.volumes("pool"), volumes);

    admin.start_vm(&id).await;
    let again = admin.show_vm(&id).await;
    assert_eq!(pod.running(&id).len(), 1);
    assert_eq!((&again["nics"], &again["volumes"]), (&before["nics"], &before["volumes"]));
}

#[tokio::test]
async fn a_reboot_reaches_the_hypervisor_once() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let id = pod.vm(admin, "web", &network).await;
    let (host, first) = pod.running(&id).remove(0);

    let operation = admin.change_vm(&id, "reboot", Value::Null).await;
    admin.succeeded(&operation).await;

    let (same_host, domain) = pod.running(&id).remove(0);
    assert_eq!((same_host, domain.run, domain.reboots), (host, first.run, 1));
    admin.stop_vm(&id).await;
    admin.post(&format!("/v1/vms/{id}/reboot"), &Value::Null).await.refused(409, "vm_not_running");
}

#[tokio::test]
async fn a_guest_that_does_not_shut_down_in_its_grace_is_ended_by_force() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let id = pod.vm(admin, "web", &network).await;
    pod.hosts.iter().for_each(|host| host.hypervisor().deafen_guests());

    let operation = admin.change_vm(&id, "stop", json!({ "grace_secs": 1 })).await;

    admin.succeeded(&operation).await;
    assert_eq!(admin.show_vm(&id).await["state"], "stopped");
    assert!(pod.running(&id).is_empty());
}

#[tokio::test]
async fn a_deleted_vm_leaves_nothing_and_its_network_returns_the_vlan() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::with(&control_plane, PodPlan { vlan_ranges: vec!["100"], ..PodPlan::default() }).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let id = pod.vm(admin, "web", &network).await;
    admin.delete(&format!("/v1/networks/{network}")).await.refused(409, "in_use");

    admin.delete_vm(&id).await;

    assert_eq!(pod.leftovers(), Vec::<String>::new());
    admin.delete(&format!("/v1/networks/{network}")).await.ok();
    let next = admin.network("n2", &pod.zone, "10.1.1.0/24").await;
    assert_eq!(admin.get(&format!("/v1/networks/{next}")).await.ok()["vlan"], 100);
}

#[tokio::test]
async fn fifty_stops_and_starts_leave_nothing() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let id = pod.vm(admin, "web", &network).await;
    let volumes = pod.storage.volumes("pool");

    for _ in 0..50 {
        admin.stop_vm(&id).await;
        admin.start_vm(&id).await;
    }

    assert_eq!(pod.running(&id).len(), 1);
    assert_eq!(pod.storage.volumes("pool"), volumes);
    admin.delete_vm(&id).await;
    assert_eq!(pod.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn the_last_vm_of_a_network_takes_its_links_along_and_other_links_stay() {
    let control_plane = ControlPlane::start().await;
    let hosts = vec![("h1", 2048)];
    let pod = SimPod::with(&control_plane, PodPlan { hosts, ..PodPlan::default() }).await;
    let admin = &control_plane.admin;
    let one = pod.network(admin, "n1", "10.1.1.0/24").await;
    let other = pod.network(admin, "n2", "10.1.1.0/24").await;
    let first = pod.vm(admin, "a", &one).await;
    let second = pod.vm(admin, "b", &one).await;
    pod.vm(admin, "c", &other).await;
    let there = |name: &str| pod.hosts[0].links().get(&name.parse().unwrap()).is_some();

    admin.stop_vm(&first).await;
    assert!(there("pzb100") && there("pzv100"));
    admin.stop_vm(&second).await;
    assert!(!there("pzb100") && !there("pzv100"));
    assert!(there("pzb101") && there("pzv101") && there("eth1"));
}

#[tokio::test]
async fn a_console_log_is_read_from_the_host() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let id = pod.vm(admin, "web", &network).await;

    let log = admin.get(&format!("/v1/vms/{id}/console-log")).await.ok();

    assert!(text(&log, "text").contains("web boots"), "{log}");
}
