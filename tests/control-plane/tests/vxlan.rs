//! Networks on VXLANs: who gets one, and which hosts know which others.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use podzol_hostnet::Kind;
use podzol_sim::{Fault, PodPlan, SimHost, SimPod, Step};
use podzol_test_support::{Api, ControlPlane, SOON, text, wait_for};
use serde_json::{Value, json};

/// Three hosts, and a network on a VXLAN.
struct World {
    control_plane: ControlPlane,
    pod: SimPod,
    network: String,
}

impl World {
    async fn make() -> Self {
        let control_plane = ControlPlane::start().await;
        let hosts = vec![("h1", 2048), ("h2", 2048), ("h3", 2048)];
        let pod = SimPod::with(&control_plane, PodPlan { hosts, ..PodPlan::default() }).await;
        let admin = &control_plane.admin;
        let account = text(&admin.list("/v1/accounts").await[0], "id");
        let network = pod.vxlan(admin, &account, "n1", "10.1.1.0/24").await;
        Self { control_plane, pod, network }
    }

    fn admin(&self) -> &Api {
        &self.control_plane.admin
    }

    /// A VM on a host, once it runs.
    async fn vm_on(&self, name: &str, host: usize) -> String {
        let vm = self.pod.vm(self.admin(), name, &self.network).await;
        let to = &self.pod.hosts[host].id;
        if text(&self.admin().show_vm(&vm).await, "host") != *to {
            let operation = self.admin().change_vm(&vm, "migrate", json!({ "host": to })).await;
            self.admin().succeeded(&operation).await;
        }
        vm
    }

    /// Waits until exactly these hosts carry the network, each with tunnels to all others of them.
    async fn is_carried_by(&self, hosts: &[usize]) {
        let expected: Vec<Option<BTreeSet<IpAddr>>> = (0..self.pod.hosts.len())
            .map(|host| {
                let others = hosts.iter().filter(|other| **other != host).map(|other| address(*other));
                hosts.contains(&host).then(|| others.collect())
            })
            .collect();
        wait_for(&format!("{hosts:?} to know each other"), SOON, async || {
            let found: Vec<_> = self.pod.hosts.iter().map(peers).collect();
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
}

fn address(host: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, host as u8 + 1))
}

/// Where the tunnels of the one network on a VXLAN end; nothing if the host does not carry it.
fn peers(host: &SimHost) -> Option<BTreeSet<IpAddr>> {
    host.links().all().iter().find_map(|link| link.peers().cloned())
}

#[tokio::test]
async fn hosts_know_each_other_for_as_long_as_they_carry_a_network() {
    let world = World::make().await;
    let first = world.vm_on("a", 0).await;
    world.is_carried_by(&[0]).await;
    let second = world.vm_on("b", 1).await;
    world.is_carried_by(&[0, 1]).await;
    let third = world.vm_on("c", 2).await;
    world.is_carried_by(&[0, 1, 2]).await;
    let link = world.pod.hosts[0].links().all().into_iter().find(|link| link.peers().is_some()).unwrap();
    assert!(matches!(&link.kind, Kind::Vxlan(vxlan) if vxlan.local == Some(address(0))));
    assert_eq!((link.name.as_str(), link.mtu), ("pzx5000", 1430));

    let operation =
        world.admin().change_vm(&third, "migrate", json!({ "host": world.pod.hosts[1].id })).await;
    world.admin().succeeded(&operation).await;
    world.is_carried_by(&[0, 1]).await;
    world.admin().stop_vm(&first).await;
    world.is_carried_by(&[1]).await;
    for vm in [first, second, third] {
        world.admin().delete_vm(&vm).await;
    }
    world.pod.is_clean().await;
}

#[tokio::test]
async fn a_host_to_which_a_vm_is_on_its_way_is_known_before_it_arrives() {
    let world = World::make().await;
    world.vm_on("a", 0).await;
    let moving = world.vm_on("b", 1).await;
    world.pod.hosts[1].hypervisor().fault(Step::Move, Fault::Hangs);
    let operation =
        world.admin().change_vm(&moving, "migrate", json!({ "host": world.pod.hosts[2].id })).await;
    world.is_carried_by(&[0, 1, 2]).await;
    world.pod.hosts[1].hypervisor().heal(Step::Move);
    world.admin().succeeded(&operation).await;
    world.is_carried_by(&[0, 2]).await;
}

#[tokio::test]
async fn what_a_host_did_not_hear_or_somebody_changed_is_told_again() {
    let mut world = World::make().await;
    world.vm_on("a", 0).await;
    world.vm_on("b", 1).await;
    world.is_carried_by(&[0, 1]).await;

    // An agent that was away for a while, and one that knows no more than the kernel does.
    world.pod.hosts[0].kill_agent();
    let third = world.vm_on("c", 2).await;
    assert_eq!(peers(&world.pod.hosts[0]), Some([address(1)].into()));
    world.pod.hosts[0].start_agent();
    world.is_carried_by(&[0, 1, 2]).await;
    world.admin().stop_vm(&third).await;
    world.is_carried_by(&[0, 1]).await;

    let name = "pzx5000".parse().unwrap();
    world.pod.hosts[1].links().edit(&name, |link| {
        if let Kind::Vxlan(vxlan) = &mut link.kind {
            vxlan.peers = [address(2)].into();
        }
    });
    world.is_carried_by(&[0, 1]).await;

    world.control_plane.kill();
    world.pod.hosts[1].links().edit(&name, |link| {
        if let Kind::Vxlan(vxlan) = &mut link.kind {
            vxlan.peers.clear();
        }
    });
    world.pod.hosts[1].restart_agent();
    world.control_plane.start_again().await;
    world.is_carried_by(&[0, 1]).await;
    let diagnosis = world.admin().get("/v1/doctor").await.ok();
    assert_eq!(diagnosis["findings"], json!([]));
}

#[tokio::test]
async fn a_network_gets_a_vxlan_when_its_zone_has_no_vlan_left_or_an_admin_says_so() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let zone = admin.zone_with("z1", &["100"], &["5000", "4096-4097"]).await;
    let make = async |name: &str, isolation: Option<&str>| {
        let body = json!({ "name": name, "zone": zone, "cidr": "10.1.1.0/24", "isolation": isolation });
        admin.post("/v1/networks", &body).await
    };
    let tags = |network: Value| (network["vlan"].clone(), network["vxlan"].clone());
    assert_eq!(tags(make("n1", Some("vxlan")).await.ok()), (Value::Null, json!(4096)));
    assert_eq!(tags(make("n2", None).await.ok()), (json!(100), Value::Null));
    assert_eq!(tags(make("n3", None).await.ok()), (Value::Null, json!(4097)));
    let full = make("n4", Some("vlan")).await.refused(409, "vlans_exhausted");
    assert_eq!(text(&full, "detail"), "no VLAN left in zone z1 (100 all in use)");
    assert_eq!(tags(make("n4", None).await.ok()), (Value::Null, json!(5000)));
    let full = make("n5", None).await.refused(409, "vlans_exhausted");
    assert_eq!(text(&full, "detail"), "no VLAN or VXLAN left in zone z1 (100, 4096-4097, 5000 all in use)");

    // More of them, but none less that a network has.
    let path = format!("/v1/zones/{zone}");
    let fewer = admin.patch(&path, &json!({ "vxlan_ranges": ["4096-4097"] })).await.refused(409, "in_use");
    assert_eq!(text(&fewer, "detail"), "a network has VXLAN 5000, which would not be the zone's any more");
    admin.patch(&path, &json!({ "vlan_ranges": ["101-102"] })).await.refused(409, "in_use");
    let shown = admin.patch(&path, &json!({ "vxlan_ranges": ["5000-5001", "4096-4097"] })).await.ok();
    assert_eq!(shown["vxlan_ranges"], json!(["4096-4097", "5000-5001"]));
    assert_eq!(tags(make("n5", None).await.ok()), (Value::Null, json!(5001)));
    let overlap = admin.patch(&path, &json!({ "vxlan_ranges": ["4096-5001", "5000-5001"] })).await;
    assert_eq!(overlap.refused(422, "invalid_field")["field"], "vxlan_ranges");

    let only_vlans = admin.zone("z2", &["100"]).await;
    let body = json!({ "name": "n9", "zone": only_vlans, "cidr": "10.1.1.0/24", "isolation": "vxlan" });
    assert_eq!(admin.post("/v1/networks", &body).await.refused(422, "invalid_field")["field"], "isolation");
    let none = admin.post("/v1/zones", &json!({ "name": "z3" })).await.refused(422, "invalid_field");
    assert_eq!(none["field"], "vlan_ranges");
    admin.post("/v1/zones", &json!({ "name": "z3", "vxlan_ranges": ["5000"] })).await.ok();

    let acme = admin.customer("acme").await;
    let body = json!({ "name": "n1", "zone": zone, "cidr": "10.1.1.0/24", "isolation": "vxlan" });
    acme.api.post("/v1/networks", &body).await.refused(403, "forbidden");
}
