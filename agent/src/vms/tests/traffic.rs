//! VMs on the host's own networks, on bridges that its operator has made.

use podzol_agent_api::vm::VmArriveRequest;
use podzol_vocab::{InterfaceName, Tag, TrafficType};

use super::*;

/// A host on whose own networks there may be bridges for VMs: one that is there, and one that is not.
async fn host() -> (TempDir, Vms<Host>) {
    let folder = tempfile::tempdir().unwrap();
    let vms = host_with(&format!(
        "management = 'm:1'\ntrunk = 'eth1'\nstate_dir = '{}'\n[traffic]\nmanagement = 'br-gone'\npublic = 'br0'\n",
        folder.path().display(),
    ));
    vms.platform().links.add_bridge(name("br0"));
    vms.look().await.unwrap();
    (folder, vms)
}

/// A router: in a customer's network, and on this one of the host's own.
fn router(generation: u64, traffic: TrafficType) -> VmPlan {
    let mut plan = described(generation);
    let mac = "02:00:5e:10:00:02".parse().unwrap();
    let (nic, network, tag) =
        (NicId::from_bytes([5; 16]), NetworkId::from_bytes([6; 16]), Tag::Traffic(traffic));
    plan.nics.push(NicPlan { nic, network, tag, mac, ..plan.nics[0].clone() });
    plan.nics.iter_mut().for_each(|nic| nic.may_route = true);
    plan
}

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn names(vms: &Vms<Host>) -> Vec<String> {
    vms.platform().links.all().into_iter().map(|link| link.name.to_string()).collect()
}

/// The port of the interface on the host's own network.
const PORT: &str = "pzt005e100002";

#[tokio::test(start_paused = true)]
async fn a_vm_is_plugged_into_the_operators_bridge_which_stays_when_it_goes() {
    let (_folder, vms) = host().await;
    let bridge = vms.platform().links.get(&name("br0"));
    put(&vms, described(1)).await.unwrap();

    let status = put(&vms, router(2, TrafficType::Public)).await.unwrap();

    assert_eq!(status.error, None);
    let attached = vms.platform().hypervisor.changes.lock().unwrap().clone();
    assert_eq!(attached, [Change::AttachNic(router(2, TrafficType::Public).nics[1].clone(), name("br0"))]);
    assert_eq!(names(&vms), ["eth1", "br0", "pzb100", "pzv100"]);
    let guarded: Vec<_> = vms
        .platform()
        .rules
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|port| (port.name.to_string(), port.may_route))
        .collect();
    assert_eq!(guarded, [("pzt005e100001".to_owned(), true), (PORT.to_owned(), true)]);
    assert_eq!(delete(&vms, 3, Duration::ZERO).await.state, VmState::Absent);
    assert_eq!(names(&vms), ["eth1", "br0"]);
    assert_eq!(vms.platform().links.get(&name("br0")), bridge);
}

#[tokio::test(start_paused = true)]
async fn a_port_that_fell_out_of_the_operators_bridge_goes_back_and_is_told_in_the_inventory() {
    let (_folder, vms) = host().await;
    let plan = router(1, TrafficType::Public);
    put(&vms, plan.clone()).await.unwrap();
    let links = &vms.platform().links;
    links.add_bridge(name("br9"));
    links.plug(name(PORT), &name("br0"));
    let found = async || {
        let inventory = vms.inventory().await.unwrap();
        assert!(inventory.networks.contains(&plan.nics[1].tag) && inventory.odd_links.is_empty());
        inventory.ports.unwrap()[&plan.nics[1].mac]
    };
    assert_eq!(found().await, Some(plan.nics[1].tag));

    links.edit(&name(PORT), |link| link.master = None);
    assert_eq!(found().await, None);
    vms.converge().await;
    assert_eq!(found().await, Some(plan.nics[1].tag));

    // The operator has put it elsewhere.
    let elsewhere = links.get(&name("br9")).map(|link| link.index);
    links.edit(&name(PORT), |link| link.master = elsewhere);
    vms.converge().await;
    assert_eq!(found().await, None);
    assert_eq!(links.get(&name(PORT)).unwrap().master, elsewhere);
}

#[tokio::test(start_paused = true)]
async fn a_vm_does_not_start_on_a_host_without_the_bridge_and_leaves_nothing() {
    let (_folder, vms) = host().await;

    let status = put(&vms, router(1, TrafficType::Management)).await.unwrap();

    assert_eq!(status.state, VmState::Failed);
    assert_eq!(status.error.as_deref(), Some("traffic.management: there is no bridge br-gone on this host"));
    assert_eq!(names(&vms), ["eth1", "br0"]);
    vms.platform().links.add_bridge(name("br-gone"));
    assert_eq!(put(&vms, router(1, TrafficType::Management)).await.unwrap().state, VmState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_vm_does_not_start_on_a_host_that_names_no_bridge() {
    let (_folder, vms) = super::host().await;
    let status = put(&vms, router(1, TrafficType::Public)).await.unwrap();
    assert_eq!(status.state, VmState::Failed);
    assert!(
        status.error.unwrap().starts_with("traffic.public: this host has no bridge on the public network")
    );
}

#[tokio::test(start_paused = true)]
async fn a_vm_from_another_host_is_awaited_only_where_there_is_the_bridge() {
    let (_folder, vms) = host().await;
    let arrive = async |plan: VmPlan| {
        let from = HostId::from_bytes([8; 16]);
        vms.arrive(example().vm, VmArriveRequest { plan, from, wait_ms: 60_000 }).await.unwrap()
    };

    let status = arrive(router(1, TrafficType::Management)).await;

    assert_eq!(status.state, VmState::Failed);
    assert!(status.error.unwrap().starts_with("traffic.management:"));
    assert_eq!(names(&vms), ["eth1", "br0"]);
    assert_eq!(arrive(router(2, TrafficType::Public)).await.state, VmState::Arriving);
}
