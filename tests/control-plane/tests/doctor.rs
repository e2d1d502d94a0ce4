//! The doctor finds what differs, and nothing where all is well.

use std::os::unix::fs::FileExt;

use podzol_hostnet::{Kind, Link};
use podzol_hypervisor::{Change, Hypervisor, port_name};
use podzol_rpc::{AddressBook, Client, PeerId};
use podzol_sim::{Fault, SimPod, Step};
use podzol_storage_api::{VolumePlan, VolumePut};
use podzol_test_support::{Api, ControlPlane, SOON, text, wait_for};
use podzol_vocab::{ByteSize, VolumeId};
use serde_json::{Value, json};

async fn findings(api: &Api) -> Vec<Value> {
    api.get("/v1/doctor").await.ok()["findings"].as_array().expect("a list").clone()
}

fn codes(findings: &[Value]) -> Vec<String> {
    findings.iter().map(|finding| text(finding, "code")).collect()
}

/// Waits until the doctor finds nothing.
async fn is_well(api: &Api) {
    wait_for("the doctor to find nothing", SOON, async || {
        let found = findings(api).await;
        if found.is_empty() { Ok(()) } else { Err(format!("{found:#?}")) }
    })
    .await;
}

struct World {
    control_plane: ControlPlane,
    pod: SimPod,
    vm: String,
}

impl World {
    async fn make(leftover_secs: u64) -> Self {
        let control_plane = ControlPlane::with(|config| {
            config.leftover_secs = leftover_secs;
            config.silent_secs = 5;
        })
        .await;
        let pod = SimPod::start(&control_plane).await;
        let network = pod.network(&control_plane.admin, "n1", "10.1.1.0/24").await;
        let vm = pod.vm(&control_plane.admin, "web", &network).await;
        pod.vm(&control_plane.admin, "other", &network).await;
        Self { control_plane, pod, vm }
    }

    fn admin(&self) -> &Api {
        &self.control_plane.admin
    }
}

#[tokio::test]
async fn a_cloud_at_rest_and_one_at_work_are_well() {
    let world = World::make(0).await;
    let (admin, vm) = (world.admin(), &world.vm);
    let diagnosis = admin.get("/v1/doctor").await.ok();
    assert_eq!(diagnosis, json!({ "findings": [], "hosts": 2, "pools": 1 }));
    let pause = admin.change_vm(vm, "pause", Value::Null).await;
    admin.succeeded(&pause).await;
    assert_eq!(findings(admin).await, [] as [Value; 0]);
    admin.succeeded(&admin.change_vm(vm, "migrate", json!({})).await).await;
    is_well(admin).await;
    // In the middle of a move, nothing differs either.
    world.pod.hosts.iter().for_each(|host| host.hypervisor().fault(Step::Move, Fault::Hangs));
    let operation = admin.change_vm(vm, "migrate", json!({})).await;
    admin.vm_in_state(vm, "migrating").await;
    assert_eq!(findings(admin).await, [] as [Value; 0]);
    world.pod.hosts.iter().for_each(|host| host.hypervisor().heal(Step::Move));
    admin.succeeded(&operation).await;
    admin.stop_vm(vm).await;
    is_well(admin).await;
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_told_of_and_the_others_are_looked_at() {
    let mut world = World::make(0).await;
    world.pod.hosts[0].kill_agent();
    world.admin().in_state(&format!("/v1/hosts/{}", world.pod.hosts[0].id), "disconnected").await;
    let found = findings(world.admin()).await;
    assert_eq!(codes(&found), ["no_answer"]);
    assert_eq!(
        (&found[0]["place"], &found[0]["subject"]),
        (&json!("host h1"), &json!(world.pod.hosts[0].id))
    );
    assert!(found[0]["cause"].as_str().unwrap().contains("disconnected"), "{found:?}");
    world.pod.hosts[0].start_agent();
    is_well(world.admin()).await;
}

#[tokio::test]
async fn what_is_left_over_in_a_pool_is_found_and_a_repair_removes_it_at_once() {
    let world = World::make(3600).await;
    let admin = world.admin();
    let peer = PeerId::StorageServer(world.pod.storage.id.parse().unwrap());
    let book = AddressBook::default();
    let address =
        text(&admin.get(&format!("/v1/storage-servers/{}", world.pod.storage.id)).await.ok(), "address");
    book.set(peer, address);
    let client = Client::new(&world.control_plane.identity(), book).unwrap();
    let stray = VolumeId::new();
    let plan = VolumePlan { template: None, size: ByteSize::from_gib(1) };
    let path = (world.pod.pool.parse().unwrap(), stray);
    client.call::<VolumePut>(peer, &path, &plan, SOON).await.unwrap();

    let found = findings(admin).await;
    assert_eq!(codes(&found), ["volume_left_over"]);
    assert_eq!((&found[0]["place"], &found[0]["subject"]), (&json!("pool pool"), &json!(stray.to_string())));
    let after = admin.post("/v1/doctor/repair", &Value::Null).await.ok();
    assert_eq!(after["findings"], json!([]));
    admin.event("leftover.removed", "nobody has it").await;
    admin.event("doctor.repair", "user admin").await;
}

#[tokio::test]
async fn a_volume_that_is_gone_from_its_pool_is_found() {
    let mut world = World::make(0).await;
    let admin = world.control_plane.admin.clone();
    let made = admin
        .post("/v1/volumes", &json!({ "name": "data", "zone": world.pod.zone, "size_gib": 1 }))
        .await
        .ok();
    admin.succeeded(&text(&made, "operation.id")).await;
    let volume = text(&made, "object.id");
    let folder = world.pod.storage.pool_folder("pool").join("volumes");
    for ending in ["json", "qcow2"] {
        std::fs::remove_file(folder.join(format!("{volume}.{ending}"))).unwrap();
    }
    world.pod.storage.restart_agent();
    wait_for("the loss to be found", SOON, async || {
        let found = findings(&admin).await;
        let lost = codes(&found) == ["volume_missing"] && found[0]["subject"] == volume.as_str();
        if lost { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_volume_whose_disk_is_smaller_than_it_should_be_is_found_and_a_repair_makes_it_larger() {
    let world = World::make(0).await;
    let admin = world.admin();
    let body = json!({ "name": "data", "zone": world.pod.zone, "size_gib": 2 });
    let made = admin.post("/v1/volumes", &body).await.ok();
    admin.succeeded(&text(&made, "operation.id")).await;
    let volume = text(&made, "object.id");
    let path = world.pod.storage.pool_folder("pool").join(format!("volumes/{volume}.qcow2"));
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    // Where a qcow2 image has its disk's size.
    file.write_all_at(&ByteSize::from_gib(1).0.to_be_bytes(), 24).unwrap();

    let found = findings(admin).await;
    assert_eq!(codes(&found), ["volume_size"]);
    let words = (&found[0]["subject"], &found[0]["detail"]);
    assert_eq!(words, (&json!(volume), &json!("its disk has 1.0 GiB and should have 2.0 GiB")));
    admin.post("/v1/doctor/repair", &Value::Null).await.ok();
    wait_for("the disk to be large again", SOON, async || {
        let mut size = [0; 8];
        file.read_exact_at(&mut size, 24).unwrap();
        let size = ByteSize(u64::from_be_bytes(size));
        if size == ByteSize::from_gib(2) { Ok(()) } else { Err(size.to_string()) }
    })
    .await;
    is_well(admin).await;
}

#[tokio::test]
async fn a_template_that_is_gone_from_its_pool_is_found_and_a_repair_brings_it_again() {
    let world = World::make(0).await;
    let admin = world.admin();
    let template = admin.get(&format!("/v1/templates/{}", world.pod.template)).await.ok();
    let file = format!("{}.qcow2", text(&template, "sha256"));
    let path = world.pod.storage.pool_folder("pool").join("templates").join(&file);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();

    let found = findings(admin).await;
    assert_eq!(codes(&found), ["template_missing"]);
    assert_eq!(found[0]["subject"], world.pod.template.as_str());
    admin.post("/v1/doctor/repair", &Value::Null).await.ok();

    // While it is brought, nothing is missing.
    wait_for("the template to be there", SOON, async || match std::fs::read(&path) {
        Ok(there) if there == bytes => Ok(()),
        there => Err(format!("{:?}", there.map(|there| there.len()))),
    })
    .await;
    is_well(admin).await;
}

#[tokio::test]
async fn a_pool_that_is_exported_to_others_is_found_and_a_repair_exports_it_again() {
    let world = World::make(0).await;
    let admin = world.admin();
    let (exports, folder) = (&world.pod.storage.exports, world.pod.storage.pool_folder("pool"));
    let (before, host) = (exports.of(&folder), world.pod.hosts[1].address().to_string());
    exports.edit(&folder, |hosts| {
        hosts.retain(|known| *known != host);
        hosts.push("192.0.2.9".into());
    });

    let found = findings(admin).await;
    assert_eq!(codes(&found), ["export_left_over", "export_missing"]);
    assert_eq!((&found[0]["subject"], &found[1]["subject"]), (&json!("192.0.2.9"), &json!(host)));
    admin.post("/v1/doctor/repair", &Value::Null).await.ok();

    wait_for("the pool to be exported again", SOON, async || match exports.of(&folder) {
        now if now == before => Ok(()),
        now => Err(format!("{now:?}")),
    })
    .await;
    is_well(admin).await;
}

#[tokio::test]
async fn a_port_whose_bridge_somebody_removed_is_plugged_in_again() {
    let world = World::make(0).await;
    let admin = world.admin();
    let shown = admin.show_vm(&world.vm).await;
    let links = world.pod.host(&text(&shown, "host")).links();
    let port = port_name(text(&shown, "nics.0.mac").parse().unwrap());
    let bridge_of_port = || {
        let master = links.get(&port)?.master?;
        links.all().into_iter().find(|link| link.index == master).map(|link| link.name)
    };
    let bridge = bridge_of_port().unwrap();
    let is_back = async || match bridge_of_port() {
        Some(found) if found == bridge => Ok(()),
        found => Err(format!("it is in {found:?}")),
    };

    links.edit(&port, |link| link.master = None);
    wait_for("the port to be plugged in again", SOON, is_back).await;
    links.remove(&bridge);
    wait_for("the port to be in a new bridge", SOON, is_back).await;
    is_well(admin).await;
    // What an operator has plugged in elsewhere is found and left.
    let operators =
        links.add(Link { kind: Kind::Bridge, name: "br0".parse().unwrap(), ..links.get(&port).unwrap() });
    links.edit(&port, |link| link.master = Some(operators));
    admin.post("/v1/doctor/repair", &Value::Null).await.ok();
    let found = findings(admin).await;
    assert_eq!(codes(&found), ["port_unplugged"]);
    links.edit(&port, |link| link.master = None);
    is_well(admin).await;
    links.remove(&port);
    assert_eq!(codes(&findings(admin).await), ["port_missing"]);
}

#[tokio::test]
async fn devices_that_somebody_took_from_a_vm_are_found_and_a_repair_gives_them_back() {
    let world = World::make(0).await;
    let (admin, vm) = (world.admin(), world.vm.parse().unwrap());
    let host = world.pod.host(&text(&admin.show_vm(&world.vm).await, "host"));
    let mac = text(&admin.show_vm(&world.vm).await, "nics.0.mac").parse().unwrap();
    host.hypervisor().change(vm, Change::DetachNic(mac)).await.unwrap();

    let found = findings(admin).await;
    assert_eq!(codes(&found), ["vm_nics"]);
    admin.post("/v1/doctor/repair", &Value::Null).await.ok();

    wait_for("the VM to have its interface again", SOON, async || {
        let nics = host.hypervisor().domain(vm).unwrap().devices.nics.len();
        if nics == 1 { Ok(()) } else { Err(format!("{nics} interfaces")) }
    })
    .await;
    is_well(admin).await;
}

#[tokio::test]
async fn what_somebody_changed_of_a_vm_is_found_and_a_repair_puts_it_right() {
    let world = World::make(0).await;
    let (admin, vm) = (world.admin(), world.vm.parse().unwrap());
    let body = json!({ "limits": { "iops": 500, "network_mbps": 100 } });
    let account = text(&admin.show_vm(&world.vm).await, "account");
    admin.patch(&format!("/v1/accounts/{account}"), &body).await.ok();
    wait_for("the limits to be in force", SOON, async || {
        let shown = admin.show_vm(&world.vm).await;
        let limited = shown["limits"]["iops"]["value"] == 500 && shown["state"] == "running";
        if limited { Ok(()) } else { Err(format!("{shown:#}")) }
    })
    .await;
    is_well(admin).await;
    let iso = admin.iso("cd").await;
    let shown = admin.show_vm(&world.vm).await;
    let host = world.pod.host(&text(&shown, "host"));
    let (mac, volume) = (text(&shown, "nics.0.mac"), text(&shown, "volumes.0.id"));
    let hypervisor = host.hypervisor();
    let cd = world.pod.storage.pool_folder("pool").join("templates").join(format!("{iso}.iso"));
    std::fs::write(&cd, "an ISO of somebody's").unwrap();
    let changes = [
        ("vm_limits", Change::LimitNic(mac.parse().unwrap(), None)),
        ("vm_limits", Change::LimitDisk(volume.parse().unwrap(), Some(7))),
        ("vm_iso", Change::InsertCd(cd.clone())),
    ];
    for (code, change) in changes {
        hypervisor.change(vm, change).await.unwrap();
        is_found_and_mended(admin, code).await;
    }
    hypervisor.pause(vm).await.unwrap();
    is_found_and_mended(admin, "vm_pause").await;
    std::fs::remove_file(host.seed(vm)).unwrap();
    is_found_and_mended(admin, "config_drive_missing").await;
    assert!(host.seed(vm).exists());
    std::fs::remove_file(cd).unwrap();
}

async fn is_found_and_mended(admin: &Api, code: &str) {
    wait_for(&format!("{code} to be found"), SOON, async || {
        let found = findings(admin).await;
        if codes(&found) == [code] { Ok(()) } else { Err(format!("{found:#?}")) }
    })
    .await;
    admin.post("/v1/doctor/repair", &Value::Null).await.ok();
    // What is being done with a VM may be so or so, and is no finding: the next change would be put right with this one.
    wait_for("the repair to end", SOON, async || {
        for state in ["queued", "running"] {
            let open = admin.list(&format!("/v1/operations?state={state}")).await;
            if !open.is_empty() {
                return Err(format!("{open:#?}"));
            }
        }
        Ok(())
    })
    .await;
    is_well(admin).await;
}
