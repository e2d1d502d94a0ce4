//! Many at once: nothing is given twice.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use podzol_sim::SimPod;
use podzol_test_support::{ControlPlane, text};
use serde_json::json;

#[tokio::test]
async fn twenty_vms_that_are_created_at_once_all_run_and_share_nothing() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let names: Vec<String> = (0..20).map(|number| format!("vm{number}")).collect();

    let ids = join_all(names.iter().map(|name| pod.vm(admin, name, &network))).await;

    let vms = join_all(ids.iter().map(|id| admin.show_vm(id))).await;
    for field in ["id", "nics.0.id", "nics.0.mac", "nics.0.address", "volumes.0.id"] {
        let values: BTreeSet<String> = vms.iter().map(|vm| text(vm, field)).collect();
        assert_eq!(values.len(), 20, "{field}: {values:?}");
    }
    assert!(ids.iter().all(|id| pod.running(id).len() == 1));
    assert_eq!(pod.hosts.iter().map(|host| host.hypervisor().starts()).sum::<u64>(), 20);
    let on_each: Vec<usize> = pod.hosts.iter().map(|host| host.hypervisor().domains().len()).collect();
    assert_eq!(on_each, [10, 10]);

    join_all(ids.iter().map(|id| admin.delete_vm(id))).await;
    assert_eq!(pod.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn networks_that_are_created_at_once_get_a_vlan_each() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let zone = admin.zone("z1", &["100-119"]).await;
    let names: Vec<String> = (0..20).map(|number| format!("n{number}")).collect();

    join_all(names.iter().map(|name| admin.network(name, &zone, "10.1.1.0/24"))).await;

    let networks = admin.list("/v1/networks").await;
    let vlans: BTreeSet<u64> = networks.iter().filter_map(|network| network["vlan"].as_u64()).collect();
    assert_eq!(vlans, (100..120).collect());
}

#[tokio::test]
async fn two_accounts_may_have_the_same_addresses_on_different_vlans() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let (acme, globex) = (admin.customer("acme").await, admin.customer("globex").await);
    let one = pod.network(&acme.api, "blue", "10.1.1.0/24").await;
    let other = pod.network(&globex.api, "blue", "10.1.1.0/24").await;

    let first = pod.vm(&acme.api, "web", &one).await;
    let second = pod.vm(&globex.api, "web", &other).await;

    let (first, second) = (acme.api.show_vm(&first).await, globex.api.show_vm(&second).await);
    assert_eq!(text(&first, "nics.0.address"), "10.1.1.2");
    assert_eq!(text(&second, "nics.0.address"), "10.1.1.2");
    assert_ne!(text(&first, "nics.0.mac"), text(&second, "nics.0.mac"));
    let vlans = [
        admin.get(&format!("/v1/networks/{one}")).await.ok()["vlan"].clone(),
        admin.get(&format!("/v1/networks/{other}")).await.ok()["vlan"].clone(),
    ];
    assert_eq!(vlans, [json!(100), json!(101)]);
    assert!(first.get("host").is_none(), "a customer sees no host: {first}");
}

#[tokio::test]
async fn a_key_that_creates_once_creates_once_however_many_requests_come_together() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let body = json!({ "name": "acme" });

    let answers = join_all((0..8).map(|_| admin.post_once("/v1/accounts", "k", &body))).await;

    let ids: BTreeSet<String> = answers.into_iter().map(|answer| text(&answer.ok(), "id")).collect();
    assert_eq!(ids.len(), 1);
}
