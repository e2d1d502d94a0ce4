//! ISOs go into the CD drives of VMs and out of them, and VMs are installed from them.

use podzol_sim::{Fault, SimHost, SimPod, SimulatedDomain, Step};
use podzol_test_support::{Api, ControlPlane, SOON, image, text, wait_for};
use podzol_vocab::VmId;
use serde_json::{Value, json};

use crate::create_bodies::NOBODY;

struct World {
    control_plane: ControlPlane,
    pod: SimPod,
    network: String,
    iso: String,
}

impl World {
    async fn make() -> Self {
        Self::of(ControlPlane::start().await).await
    }

    async fn with_start_secs(secs: u64) -> Self {
        Self::of(ControlPlane::with(|config| config.vm_start_secs = secs).await).await
    }

    async fn of(control_plane: ControlPlane) -> Self {
        let pod = SimPod::start(&control_plane).await;
        let network = pod.network(&control_plane.admin, "n1", "10.1.1.0/24").await;
        let iso = control_plane.admin.iso("installer").await;
        Self { control_plane, pod, network, iso }
    }

    fn admin(&self) -> &Api {
        &self.control_plane.admin
    }

    async fn vm(&self) -> String {
        self.pod.vm(self.admin(), "web", &self.network).await
    }

    /// The domain of a VM that runs.
    fn domain(&self, vm: &str) -> SimulatedDomain {
        self.pod.running(vm).pop().expect("the VM runs").1
    }

    /// The file in the drive of a VM that runs.
    fn in_drive(&self, vm: &str) -> Option<String> {
        self.domain(vm).devices.cd.map(|cd| cd.file.file_name().expect("it has a name").display().to_string())
    }

    /// Whether a VM that runs was described as one that boots from its drive.
    fn boots_from_drive(&self, vm: &str) -> Option<bool> {
        self.domain(vm).record.plan.cdrom.map(|cdrom| cdrom.boots)
    }

    fn fault(&self, fault: Fault) {
        self.pod.hosts.iter().for_each(|host| host.hypervisor().fault(Step::Change, fault));
    }

    fn heal(&self) {
        self.pod.hosts.iter().for_each(|host| host.hypervisor().heal(Step::Change));
    }
}

/// Asks for an ISO in a VM's drive, and gives the operation's id.
async fn attach(api: &Api, vm: &str, iso: &str, boot: bool) -> String {
    let body = json!({ "template": iso, "boot": boot });
    text(&api.post(&format!("/v1/vms/{vm}/iso"), &body).await.ok(), "operation.id")
}

async fn detach(api: &Api, vm: &str) -> String {
    text(&api.delete(&format!("/v1/vms/{vm}/iso")).await.ok(), "operation.id")
}

/// Waits until what is in a VM's drive is told so.
async fn told(api: &Api, vm: &str, expected: Value) {
    wait_for(&format!("the ISO of the VM to be {expected}"), SOON, async || {
        let shown = api.show_vm(vm).await;
        if shown["iso"] == expected { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
}

fn attached(iso: &str, boots: bool) -> Value {
    json!({ "template": iso, "boots": boots, "attachment": "attached" })
}

/// The name of an ISO's file.
fn file_of(name: &str) -> Option<String> {
    Some(format!("{}.iso", image::sha256(&image::iso(name))))
}

async fn doctor_finds_nothing(api: &Api) {
    let diagnosis = api.get("/v1/doctor").await.ok();
    assert_eq!(diagnosis["findings"], json!([]), "{diagnosis:#}");
}

#[tokio::test]
async fn a_vm_of_an_iso_boots_from_it_with_an_empty_root_volume_of_the_offerings_size() {
    let world = World::make().await;
    let (admin, pod) = (world.admin(), &world.pod);
    let template = admin.get(&format!("/v1/templates/{}", world.iso)).await.ok();
    assert_eq!((&template["format"], &template["size_bytes"]), (&json!("iso"), &json!(21 * 2048)));
    let before = pod.storage.templates("pool");

    let made = admin.vm("web", &pod.offering, &world.iso, &world.network).await.ok();
    let vm = text(&made, "object.id");
    admin.succeeded(&text(&made, "operation.id")).await;

    let shown = admin.show_vm(&vm).await;
    assert_eq!(shown["iso"], attached(&world.iso, false));
    assert_eq!(shown["volumes"][0]["size_bytes"], 1u64 << 30);
    assert_eq!((world.in_drive(&vm), world.boots_from_drive(&vm)), (file_of("installer"), Some(false)));
    let root = format!("{}.qcow2", text(&shown, "volumes.0.id"));
    let image =
        std::fs::read(pod.storage.pool_folder("pool").join("volumes").join(root)).expect("it is there");
    assert_eq!(image[8..16], [0; 8], "it has no backing file");
    assert_eq!(pod.storage.templates("pool"), before);
    doctor_finds_nothing(admin).await;
    // It was made empty, so it grows as such.
    let root = text(&shown, "volumes.0.id");
    let grown = admin.post(&format!("/v1/volumes/{root}/resize"), &json!({ "size_gib": 2 })).await.ok();
    admin.succeeded(&text(&grown, "operation.id")).await;
    // Installed, it needs it no more.
    admin.succeeded(&detach(admin, &vm).await).await;
    admin.stop_vm(&vm).await;
    admin.start_vm(&vm).await;
    assert_eq!((world.in_drive(&vm), world.boots_from_drive(&vm)), (None, None));
    admin.delete_vm(&vm).await;
    pod.is_clean().await;
}

#[tokio::test]
async fn an_iso_goes_into_a_running_vm_and_out_of_it_and_its_template_stays_as_long() {
    let world = World::make().await;
    let (admin, vm) = (world.admin(), world.vm().await);
    let (run, path) = (world.domain(&vm).run, format!("/v1/templates/{}", world.iso));
    assert_eq!(admin.show_vm(&vm).await["iso"], Value::Null);

    admin.succeeded(&attach(admin, &vm, &world.iso, false).await).await;

    assert_eq!(admin.show_vm(&vm).await["iso"], attached(&world.iso, false));
    assert_eq!((world.in_drive(&vm), world.domain(&vm).run), (file_of("installer"), run));
    let refused = admin.delete(&path).await.refused(409, "in_use");
    assert!(text(&refused, "detail").contains("in their drives"), "{refused}");
    doctor_finds_nothing(admin).await;
    // The same again is success, and whether it boots may change.
    admin.succeeded(&attach(admin, &vm, &world.iso, false).await).await;
    admin.succeeded(&attach(admin, &vm, &world.iso, true).await).await;
    assert_eq!(admin.show_vm(&vm).await["iso"], attached(&world.iso, true));
    assert_eq!((world.boots_from_drive(&vm), world.domain(&vm).run), (Some(true), run));
    doctor_finds_nothing(admin).await;

    admin.succeeded(&detach(admin, &vm).await).await;

    assert_eq!((&admin.show_vm(&vm).await["iso"], world.in_drive(&vm)), (&Value::Null, None));
    assert_eq!(world.domain(&vm).run, run);
    admin.delete(&path).await.ok();
    admin.event_about("iso.attach", &vm, "installer").await;
    admin.event_about("iso.detach", &vm, "installer").await;
}

#[tokio::test]
async fn an_iso_of_a_stopped_or_paused_vm_is_there_when_it_runs() {
    let world = World::make().await;
    let (admin, vm) = (world.admin(), world.vm().await);
    admin.stop_vm(&vm).await;
    admin.succeeded(&attach(admin, &vm, &world.iso, true).await).await;
    assert_eq!(admin.show_vm(&vm).await["iso"], attached(&world.iso, true));
    admin.delete(&format!("/v1/templates/{}", world.iso)).await.refused(409, "in_use");
    admin.start_vm(&vm).await;
    assert_eq!((world.in_drive(&vm), world.boots_from_drive(&vm)), (file_of("installer"), Some(true)));
    admin.stop_vm(&vm).await;
    admin.succeeded(&detach(admin, &vm).await).await;
    assert_eq!(admin.show_vm(&vm).await["iso"], Value::Null);
    admin.start_vm(&vm).await;
    assert_eq!(world.in_drive(&vm), None);

    admin.succeeded(&admin.change_vm(&vm, "pause", Value::Null).await).await;
    admin.succeeded(&attach(admin, &vm, &world.iso, false).await).await;
    admin.succeeded(&admin.change_vm(&vm, "resume", Value::Null).await).await;
    assert_eq!(world.in_drive(&vm), file_of("installer"));
}

#[tokio::test]
async fn an_iso_goes_with_its_vm_to_another_host() {
    let world = World::make().await;
    let (admin, vm) = (world.admin(), world.vm().await);
    admin.succeeded(&attach(admin, &vm, &world.iso, false).await).await;
    let (before, run) = (world.pod.running(&vm)[0].0.clone(), world.domain(&vm).run);

    admin.succeeded(&admin.change_vm(&vm, "migrate", json!({})).await).await;

    let (after, domain) = world.pod.running(&vm).pop().expect("it runs");
    assert_ne!(after, before);
    assert_eq!((world.in_drive(&vm), domain.run), (file_of("installer"), run));
    doctor_finds_nothing(admin).await;
    admin.succeeded(&detach(admin, &vm).await).await;
    assert_eq!(world.in_drive(&vm), None);
}

#[tokio::test]
async fn what_cannot_be_in_a_drive_is_refused_and_nothing_has_changed() {
    let world = World::of(ControlPlane::with(|config| config.vm_expunge_secs = 60).await).await;
    let (admin, vm) = (world.admin(), world.vm().await);
    let path = format!("/v1/vms/{vm}/iso");
    let other = admin.iso("drivers").await;
    let generation = admin.show_vm(&vm).await["generation"].clone();
    for (body, field, message) in [
        (json!({}), "template", "missing field"),
        (json!({ "template": "x" }), "template", ""),
        (json!({ "template": 7 }), "template", ""),
        (json!({ "template": NOBODY }), "template", "there is no such template"),
        (json!({ "template": world.pod.template }), "template", "must be an ISO"),
        (json!({ "template": world.iso, "boot": "yes" }), "boot", ""),
        (json!({ "template": world.iso, "colour": "red" }), "colour", "unknown field"),
    ] {
        let problem = admin.post(&path, &body).await.refused(422, "invalid_field");
        assert_eq!(problem["field"], field, "{problem}");
        assert!(text(&problem, "detail").contains(message), "{problem}");
    }
    let late = json!({ "name": "late", "sha256": "0".repeat(64), "format": "iso" });
    let late = text(&admin.post("/v1/templates", &late).await.ok(), "id");
    admin.post(&path, &json!({ "template": late })).await.refused(409, "template_not_ready");
    admin.vm("x", &world.pod.offering, &late, &world.network).await.refused(409, "template_not_ready");
    admin.delete(&path).await.refused(409, "iso_not_attached");
    let acme = admin.customer("acme").await.api;
    acme.post(&path, &json!({ "template": world.iso })).await.refused(404, "not_found");
    acme.delete(&path).await.refused(404, "not_found");
    let nobody = format!("/v1/vms/{NOBODY}/iso");
    admin.post(&nobody, &json!({ "template": world.iso })).await.refused(404, "not_found");
    assert_eq!(admin.show_vm(&vm).await["generation"], generation);
    assert_eq!(world.in_drive(&vm), None);

    admin.succeeded(&attach(admin, &vm, &world.iso, false).await).await;
    admin.post(&path, &json!({ "template": other })).await.refused(409, "iso_attached");
    assert_eq!(world.in_drive(&vm), file_of("installer"));
    admin.delete(&format!("/v1/vms/{vm}")).await.ok();
    admin.vm_in_state(&vm, "deleted").await;
    admin.post(&path, &json!({ "template": world.iso })).await.refused(409, "vm_deleted");
    admin.delete(&path).await.refused(409, "vm_deleted");
}

#[tokio::test]
async fn a_customer_has_the_isos_of_the_installation_in_own_vms() {
    let world = World::make().await;
    let acme = world.admin().customer("acme").await.api;
    let network = world.pod.network(&acme, "own", "10.1.1.0/24").await;
    let vm = world.pod.vm(&acme, "web", &network).await;
    acme.succeeded(&attach(&acme, &vm, &world.iso, false).await).await;
    assert_eq!(acme.show_vm(&vm).await["iso"], attached(&world.iso, false));
    acme.succeeded(&detach(&acme, &vm).await).await;
}

#[tokio::test]
async fn what_is_no_iso_is_not_imported_as_one_and_an_iso_not_as_a_disk() {
    let world = World::make().await;
    let admin = world.admin();
    let before = world.pod.storage.templates("pool");
    let mut cut_off = image::iso("cut off");
    cut_off.truncate(20 * 2048);
    for (name, format, bytes, reason) in [
        ("a", "iso", image::qcow2(64, "a disk"), "no ISO 9660 image"),
        ("b", "iso", cut_off, "bytes of the 43008 that it says it has"),
        ("c", "qcow2", image::iso("an ISO"), "no qcow2 image"),
    ] {
        let body = json!({ "name": name, "sha256": image::sha256(&bytes), "format": format });
        let id = text(&admin.post("/v1/templates", &body).await.ok(), "id");
        admin.put(&format!("/v1/templates/{id}/data"), &bytes).await.ok();
        let failed = admin.in_state(&format!("/v1/templates/{id}"), "failed").await;
        assert!(text(&failed, "error").contains(reason), "{failed}");
    }
    assert_eq!(world.pod.storage.templates("pool"), before);
    for format in [json!("raw"), json!(7), Value::Null] {
        let body = json!({ "name": "d", "sha256": "0".repeat(64), "format": format });
        let problem = admin.post("/v1/templates", &body).await.refused(422, "invalid_field");
        assert_eq!(problem["field"], "format", "{problem}");
    }
}

#[tokio::test]
async fn a_vm_that_was_started_before_there_were_drives_says_so_and_gets_one_with_its_next_start() {
    let world = World::with_start_secs(20).await;
    let (admin, vm) = (world.admin(), world.vm().await);
    let id: VmId = vm.parse().expect("it is an id");
    world.pod.hosts.iter().for_each(|host| host.hypervisor().take_drive(id));

    let ended = admin.ended(&attach(admin, &vm, &world.iso, false).await).await;

    assert_eq!(ended["state"], "failed", "{ended}");
    assert!(text(&ended, "error.detail").contains("no CD drive"), "{ended}");
    told(admin, &vm, Value::Null).await;
    assert_eq!(admin.show_vm(&vm).await["state"], "running");
    admin.stop_vm(&vm).await;
    admin.start_vm(&vm).await;
    admin.succeeded(&attach(admin, &vm, &world.iso, false).await).await;
    assert_eq!(world.in_drive(&vm), file_of("installer"));
}

#[tokio::test]
async fn what_a_host_cannot_do_with_a_drive_is_as_it_was_before() {
    let world = World::with_start_secs(20).await;
    let (admin, vm) = (world.admin(), world.vm().await);
    world.fault(Fault::Fails(u32::MAX));
    let ended = admin.ended(&attach(admin, &vm, &world.iso, true).await).await;
    assert_eq!(ended["state"], "failed", "{ended}");
    told(admin, &vm, Value::Null).await;
    world.heal();
    admin.succeeded(&attach(admin, &vm, &world.iso, true).await).await;
    world.fault(Fault::Fails(u32::MAX));

    let ended = admin.ended(&detach(admin, &vm).await).await;

    assert_eq!(ended["state"], "failed", "{ended}");
    told(admin, &vm, attached(&world.iso, true)).await;
    assert_eq!(world.in_drive(&vm), file_of("installer"));
    world.heal();
    admin.succeeded(&detach(admin, &vm).await).await;
    assert_eq!(world.in_drive(&vm), None);
}

#[tokio::test]
async fn an_iso_that_vanished_from_its_pool_is_brought_there_again_for_the_next_start() {
    let world = World::make().await;
    let (admin, vm) = (world.admin(), world.vm().await);
    let folder = world.pod.storage.pool_folder("pool").join("templates");
    let file = folder.join(file_of("installer").expect("it has a name"));
    std::fs::remove_file(&file).expect("it is there");
    admin.succeeded(&attach(admin, &vm, &world.iso, false).await).await;
    assert_eq!(world.in_drive(&vm), file_of("installer"));
    admin.stop_vm(&vm).await;
    std::fs::remove_file(&file).expect("it is there again");
    admin.start_vm(&vm).await;
    assert_eq!(world.in_drive(&vm), file_of("installer"));
}

#[tokio::test]
async fn a_killed_service_or_agent_amid_changes_of_a_drive_loses_none_of_them() {
    let mut world = World::make().await;
    let vm = world.vm().await;
    for (number, boots) in [false, true].into_iter().enumerate() {
        attach(world.admin(), &vm, &world.iso, boots).await;
        if number == 1 {
            world.pod.hosts.iter_mut().for_each(SimHost::restart_agent);
        }
        world.control_plane.kill();
        world.control_plane.start_again().await;
    }
    told(world.admin(), &vm, attached(&world.iso, true)).await;
    assert_eq!(world.in_drive(&vm), file_of("installer"));

    detach(world.admin(), &vm).await;
    world.control_plane.kill();
    world.pod.hosts.iter_mut().for_each(SimHost::restart_agent);
    world.control_plane.start_again().await;

    told(world.admin(), &vm, Value::Null).await;
    wait_for("the drive to be empty", SOON, async || match world.in_drive(&vm) {
        None => Ok(()),
        Some(file) => Err(file),
    })
    .await;
}
