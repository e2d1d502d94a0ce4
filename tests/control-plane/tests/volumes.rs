//! Data volumes and network interfaces come into VMs and go out of them, while they run and while they do not.

use podzol_sim::{Fault, SimPod, Step};
use podzol_test_support::{Api, ControlPlane, SOON, text, wait_for};
use serde_json::{Value, json};

use crate::create_bodies::{NOBODY, bad_ids, bad_names, check, check_twice};

async fn volume(api: &Api, pod: &SimPod, name: &str) -> String {
    let body = json!({ "name": name, "zone": pod.zone, "size_gib": 2 });
    let made = api.post("/v1/volumes", &body).await.ok();
    api.succeeded(&text(&made, "operation.id")).await;
    text(&made, "object.id")
}

async fn show(api: &Api, volume: &str) -> Value {
    api.get(&format!("/v1/volumes/{volume}")).await.ok()
}

/// Asks for an attachment, and gives the operation's id.
async fn attach(api: &Api, volume: &str, vm: &str) -> String {
    let asked = api.post(&format!("/v1/volumes/{volume}/attach"), &json!({ "vm": vm })).await.ok();
    text(&asked, "operation.id")
}

async fn detach(api: &Api, volume: &str) -> String {
    text(&api.post(&format!("/v1/volumes/{volume}/detach"), &json!({})).await.ok(), "operation.id")
}

/// How many disks and network interfaces a running VM has on its host.
fn devices(pod: &SimPod, vm: &str) -> (usize, usize) {
    let (_, domain) = pod.running(vm).pop().expect("the VM runs");
    (domain.devices.disks.len(), domain.devices.nics.len())
}

fn disks_in_pool(pod: &SimPod) -> usize {
    pod.storage.volumes("pool").iter().filter(|file| file.ends_with(".qcow2")).count()
}

struct World {
    control_plane: ControlPlane,
    pod: SimPod,
    network: String,
    vm: String,
}

impl World {
    async fn make() -> Self {
        Self::with_start_secs(300).await
    }

    async fn with_start_secs(secs: u64) -> Self {
        let control_plane = ControlPlane::with(|config| {
            config.vm_start_secs = secs;
            // So that the largest volume is more than the machine's disk may be promised for.
            config.storage_overcommit = 1;
        })
        .await;
        let pod = SimPod::start(&control_plane).await;
        let network = pod.network(&control_plane.admin, "n1", "10.1.1.0/24").await;
        let vm = pod.vm(&control_plane.admin, "web", &network).await;
        Self { control_plane, pod, network, vm }
    }

    fn admin(&self) -> &Api {
        &self.control_plane.admin
    }

    fn fault(&self, fault: Fault) {
        self.pod.hosts.iter().for_each(|host| host.hypervisor().fault(Step::Change, fault));
    }

    fn heal(&self) {
        self.pod.hosts.iter().for_each(|host| host.hypervisor().heal(Step::Change));
    }
}

#[tokio::test]
async fn a_volume_goes_from_a_running_vm_to_another_and_outlives_both() {
    let world = World::make().await;
    let (admin, pod) = (world.admin(), &world.pod);
    let other = pod.vm(admin, "other", &world.network).await;
    let run = pod.running(&world.vm)[0].1.run;
    let data = volume(admin, pod, "data").await;
    assert_eq!(disks_in_pool(pod), 3);

    admin.succeeded(&attach(admin, &data, &world.vm).await).await;
    let shown = show(admin, &data).await;
    assert_eq!((&shown["vm"], &shown["attachment"]), (&json!(world.vm), &json!("attached")));
    assert_eq!((devices(pod, &world.vm), pod.running(&world.vm)[0].1.run), ((2, 1), run));
    let refused = admin.post(&format!("/v1/volumes/{data}/attach"), &json!({ "vm": other })).await;
    refused.refused(409, "volume_attached");
    admin.delete(&format!("/v1/volumes/{data}")).await.refused(409, "volume_attached");

    admin.succeeded(&detach(admin, &data).await).await;
    assert_eq!((&show(admin, &data).await["vm"], devices(pod, &world.vm)), (&Value::Null, (1, 1)));
    admin.succeeded(&attach(admin, &data, &other).await).await;
    assert_eq!(devices(pod, &other), (2, 1));
    admin.delete_vm(&other).await;
    admin.delete_vm(&world.vm).await;

    let shown = show(admin, &data).await;
    assert_eq!((&shown["vm"], &shown["state"]), (&Value::Null, &json!("ready")));
    assert_eq!(disks_in_pool(pod), 1);
    let asked = admin.delete(&format!("/v1/volumes/{data}")).await.ok();
    admin.succeeded(&text(&asked, "operation.id")).await;
    admin.get(&format!("/v1/volumes/{data}")).await.refused(404, "not_found");
    pod.is_clean().await;
}

#[tokio::test]
async fn a_volume_of_a_stopped_vm_is_there_at_its_next_start_and_the_root_stays_first() {
    let world = World::make().await;
    let (admin, pod) = (world.admin(), &world.pod);
    // Older than the VM, and attached later than the other.
    let old = volume(admin, pod, "old").await;
    let late = pod.vm(admin, "late", &world.network).await;
    let new = volume(admin, pod, "new").await;
    admin.stop_vm(&late).await;
    for volume in [&new, &old] {
        admin.succeeded(&attach(admin, volume, &late).await).await;
        assert_eq!(show(admin, volume).await["attachment"], "attached");
    }

    admin.start_vm(&late).await;

    let (_, domain) = pod.running(&late).pop().expect("it runs");
    let order: Vec<String> = domain.record.plan.disks.iter().map(|disk| disk.volume.to_string()).collect();
    let root = text(&admin.show_vm(&late).await, "volumes.0.id");
    assert_eq!(order, [root, new.clone(), old.clone()]);
    admin.stop_vm(&late).await;
    admin.succeeded(&detach(admin, &old).await).await;
    admin.start_vm(&late).await;
    assert_eq!(devices(pod, &late), (2, 1));
}

#[tokio::test]
async fn an_attachment_that_fails_leaves_the_vm_and_the_volume_as_they_were() {
    let world = World::with_start_secs(20).await;
    let (admin, pod) = (world.admin(), &world.pod);
    let data = volume(admin, pod, "data").await;
    world.fault(Fault::Fails(u32::MAX));

    let ended = admin.ended(&attach(admin, &data, &world.vm).await).await;

    assert_eq!(ended["state"], "failed", "{ended}");
    world.heal();
    wait_for("the volume to be nobody's", SOON, async || {
        let shown = show(admin, &data).await;
        if shown["vm"].is_null() { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
    assert!(text(&show(admin, &data).await, "error").contains("a simulated fault"));
    assert_eq!(
        (devices(pod, &world.vm), &admin.show_vm(&world.vm).await["state"]),
        ((1, 1), &json!("running"))
    );
    admin.succeeded(&attach(admin, &data, &world.vm).await).await;
    assert_eq!((devices(pod, &world.vm), &show(admin, &data).await["error"]), ((2, 1), &Value::Null));
}

#[tokio::test]
async fn a_volume_that_the_vm_does_not_let_go_of_stays_until_it_does() {
    let world = World::with_start_secs(20).await;
    let (admin, pod) = (world.admin(), &world.pod);
    let data = volume(admin, pod, "data").await;
    admin.succeeded(&attach(admin, &data, &world.vm).await).await;
    world.fault(Fault::Fails(u32::MAX));

    let ended = admin.ended(&detach(admin, &data).await).await;

    assert_eq!(ended["state"], "failed", "{ended}");
    wait_for("the volume to be the VM's again", SOON, async || {
        let shown = show(admin, &data).await;
        if shown["attachment"] == "attached" { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
    assert_eq!(devices(pod, &world.vm), (2, 1));
    world.heal();
    // A VM that stops has let go of everything.
    admin.change_vm(&world.vm, "stop", json!({ "grace_secs": 0 })).await;
    admin.vm_in_state(&world.vm, "stopped").await;
    admin.succeeded(&detach(admin, &data).await).await;
    assert_eq!(show(admin, &data).await["vm"], Value::Null);
}

#[tokio::test]
async fn a_killed_service_or_agent_amid_changes_loses_none_of_them() {
    let mut world = World::make().await;
    let mut volumes = Vec::new();
    for number in 0..3 {
        volumes.push(volume(world.admin(), &world.pod, &format!("data{number}")).await);
    }
    for (number, data) in volumes.iter().enumerate() {
        attach(world.admin(), data, &world.vm).await;
        if number == 1 {
            world.pod.hosts.iter_mut().for_each(podzol_sim::SimHost::restart_agent);
        }
        world.control_plane.kill();
        world.control_plane.start_again().await;
    }

    let admin = world.admin();
    for data in &volumes {
        wait_for("the volume to be attached", SOON, async || {
            let shown = show(admin, data).await;
            if shown["attachment"] == "attached" { Ok(()) } else { Err(shown.to_string()) }
        })
        .await;
    }
    assert_eq!(devices(&world.pod, &world.vm), (4, 1));
}

#[tokio::test]
async fn a_network_interface_comes_and_goes_with_its_bridge() {
    let world = World::make().await;
    let (admin, pod) = (world.admin(), &world.pod);
    let second = pod.network(admin, "n2", "10.2.2.0/24").await;
    let links = |pod: &SimPod| {
        let on = pod.running(&world.vm).pop().expect("it runs").0;
        let host = pod.hosts.iter().find(|host| host.name == on).expect("it is a host of the pod");
        host.links().all().iter().filter(|link| link.name.as_str().starts_with("pzb")).count()
    };
    let path = format!("/v1/vms/{}/nics", world.vm);
    assert_eq!(links(pod), 1);

    let asked = admin.post(&path, &json!({ "network": second })).await.ok();
    admin.succeeded(&text(&asked, "operation.id")).await;

    let shown = admin.show_vm(&world.vm).await;
    assert_eq!(text(&shown, "nics.1.address"), "10.2.2.2");
    assert_eq!(
        (shown["nics"][1]["attachment"].as_str(), devices(pod, &world.vm), links(pod)),
        (Some("attached"), (1, 2), 2)
    );
    admin.post(&path, &json!({ "network": second })).await.refused(422, "invalid_field");
    let asked = admin.delete(&format!("/v1/nics/{}", text(&shown, "nics.0.id"))).await.ok();
    admin.succeeded(&text(&asked, "operation.id")).await;
    assert_eq!((devices(pod, &world.vm), links(pod)), ((1, 1), 1));
    let last = text(&admin.show_vm(&world.vm).await, "nics.0.id");
    admin.delete(&format!("/v1/nics/{last}")).await.refused(409, "nic_is_last");
    // Its address is free again.
    let next = pod.vm(admin, "next", &world.network).await;
    assert_eq!(text(&admin.show_vm(&next).await, "nics.0.address"), "10.1.1.2");
}

#[tokio::test]
async fn a_root_volume_goes_only_with_its_vm() {
    let world = World::make().await;
    let admin = world.admin();
    let root = text(&admin.show_vm(&world.vm).await, "volumes.0.id");
    let path = format!("/v1/volumes/{root}");
    admin.delete(&path).await.refused(409, "volume_is_root");
    admin.post(&format!("{path}/detach"), &json!({})).await.refused(409, "volume_is_root");
    let free = volume(admin, &world.pod, "free").await;
    admin.post(&format!("/v1/volumes/{free}/detach"), &json!({})).await.refused(409, "volume_not_attached");
    let listed = admin.list(&format!("/v1/volumes?vm={}", world.vm)).await;
    assert_eq!((listed.len(), &listed[0]["kind"]), (1, &json!("root")));
}

#[tokio::test]
async fn bad_volumes_and_attachments_are_refused() {
    let world = World::make().await;
    let (admin, pod) = (world.admin(), &world.pod);
    let good = json!({ "name": "v", "zone": pod.zone, "size_gib": 1 });
    let mut bad = [bad_names(), bad_ids("zone"), bad_ids("account")].concat();
    bad.extend([
        ("zone", json!(NOBODY), "there is no such zone"),
        ("size_gib", json!(0), "must be 1 to 4096"),
        ("size_gib", json!(4_097), "must be 1 to 4096"),
        ("size_gib", json!(-1), ""),
        ("size_gib", json!("1"), ""),
    ]);
    check(&world.control_plane, "/v1/volumes", good.clone(), &["name", "zone", "size_gib"], bad).await;
    check_twice(&world.control_plane, "/v1/volumes", good).await;
    let data = volume(admin, pod, "data").await;
    let attach = format!("/v1/volumes/{data}/attach");
    for vm in [json!(NOBODY), json!("x"), Value::Null] {
        assert_eq!(
            admin.post(&attach, &json!({ "vm": vm })).await.refused(422, "invalid_field")["field"],
            "vm"
        );
    }
    let acme = world.control_plane.admin.customer("acme").await;
    acme.api.post(&attach, &json!({ "vm": world.vm })).await.refused(404, "not_found");
    let own = volume(&acme.api, pod, "own").await;
    let theirs = acme.api.post(&format!("/v1/volumes/{own}/attach"), &json!({ "vm": world.vm })).await;
    theirs.refused(422, "invalid_field");
    assert_eq!(devices(pod, &world.vm), (1, 1));
}

async fn resize(api: &Api, volume: &str, gib: u64) -> String {
    let asked = api.post(&format!("/v1/volumes/{volume}/resize"), &json!({ "size_gib": gib })).await.ok();
    text(&asked, "operation.id")
}

/// The size of a volume's image, as the header in its file tells it.
fn size_in_pool(pod: &SimPod, volume: &str) -> u64 {
    let file = pod.storage.pool_folder("pool").join("volumes").join(format!("{volume}.qcow2"));
    let bytes = std::fs::read(file).expect("the volume has a file");
    u64::from_be_bytes(bytes[24..32].try_into().expect("8 bytes")) >> 30
}

/// The sizes that a running VM's disks were given.
fn sizes_on_host(pod: &SimPod, vm: &str) -> Vec<Option<u64>> {
    let (_, domain) = pod.running(vm).pop().expect("the VM runs");
    domain.devices.disks.iter().map(|disk| disk.size.map(|size| size.0 >> 30)).collect()
}

#[tokio::test]
async fn a_volume_grows_wherever_it_is() {
    let world = World::make().await;
    let (admin, pod) = (world.admin(), &world.pod);
    let data = volume(admin, pod, "data").await;
    // Nobody has it.
    admin.succeeded(&resize(admin, &data, 3).await).await;
    assert_eq!(size_in_pool(pod, &data), 3);
    // A running VM has it; the storage server only takes note.
    admin.succeeded(&attach(admin, &data, &world.vm).await).await;
    admin.succeeded(&resize(admin, &data, 4).await).await;
    assert_eq!(sizes_on_host(pod, &world.vm), [None, Some(4)]);
    let root = text(&admin.show_vm(&world.vm).await, "volumes.0.id");
    admin.succeeded(&resize(admin, &root, 2).await).await;
    assert_eq!(sizes_on_host(pod, &world.vm), [Some(2), Some(4)]);
    assert_eq!(show(admin, &root).await["state"], "ready");
    // A stopped VM has it.
    admin.stop_vm(&world.vm).await;
    admin.succeeded(&resize(admin, &data, 5).await).await;
    assert_eq!(size_in_pool(pod, &data), 5);
    admin.start_vm(&world.vm).await;
    assert_eq!(sizes_on_host(pod, &world.vm), [Some(2), Some(5)]);
    assert_eq!(show(admin, &data).await["size_bytes"], 5u64 << 30);
    admin.succeeded(&detach(admin, &data).await).await;
    let asked = admin.delete(&format!("/v1/volumes/{data}")).await.ok();
    admin.succeeded(&text(&asked, "operation.id")).await;
}

#[tokio::test]
async fn a_volume_grows_whoever_is_killed_meanwhile() {
    let mut world = World::make().await;
    let root = text(&world.admin().show_vm(&world.vm).await, "volumes.0.id");
    world.fault(Fault::Fails(1));
    let operation = resize(world.admin(), &root, 3).await;
    world.control_plane.kill();
    world.pod.hosts.iter_mut().for_each(podzol_sim::SimHost::restart_agent);
    world.control_plane.start_again().await;
    world.admin().succeeded(&operation).await;
    assert_eq!(sizes_on_host(&world.pod, &world.vm), [Some(3)]);
    assert_eq!(show(world.admin(), &root).await["state"], "ready");

    world.admin().stop_vm(&world.vm).await;
    let operation = resize(world.admin(), &root, 4).await;
    world.control_plane.kill();
    world.control_plane.start_again().await;
    world.admin().succeeded(&operation).await;
    assert_eq!(size_in_pool(&world.pod, &root), 4);
    world.admin().start_vm(&world.vm).await;
}

#[tokio::test]
async fn a_volume_that_a_host_does_not_resize_in_time_is_resized_later() {
    let world = World::with_start_secs(20).await;
    let admin = world.admin();
    let root = text(&admin.show_vm(&world.vm).await, "volumes.0.id");
    world.fault(Fault::Fails(1000));
    let operation = resize(admin, &root, 3).await;
    assert_eq!(admin.ended(&operation).await["state"], "failed");
    assert_eq!(show(admin, &root).await["state"], "resizing");
    world.heal();
    wait_for("the volume to have its size", SOON, async || {
        let shown = show(admin, &root).await;
        if shown["state"] == "ready" { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
    assert_eq!(sizes_on_host(&world.pod, &world.vm), [Some(3)]);
}

#[tokio::test]
async fn a_size_that_a_volume_cannot_have_is_refused() {
    let world = World::make().await;
    let admin = world.admin();
    let data = volume(admin, &world.pod, "data").await;
    let path = format!("/v1/volumes/{data}/resize");
    for (body, field) in [
        (json!({ "size_gib": 2 }), "size_gib"),
        (json!({ "size_gib": 0 }), "size_gib"),
        (json!({ "size_gib": 4_097 }), "size_gib"),
        (json!({ "size_gib": u64::MAX }), "size_gib"),
        (json!({ "size": 3 }), "size"),
        (json!({}), "size_gib"),
    ] {
        let refused = admin.post(&path, &body).await;
        assert!(matches!(refused.status, 400 | 422) && refused.body["field"] == field, "{body}: {refused:?}");
    }
    let refused = admin.post(&path, &json!({ "size_gib": 4_096 })).await.refused(409, "no_pool_fits");
    assert!(refused["reasons"][0].as_str().unwrap().starts_with("pool pool: "), "{refused}");
    assert_eq!(show(admin, &data).await["size_bytes"], 2u64 << 30);
}
