//! ISOs in the CD drives of VMs, as firmware and hypervisor see them.

use std::path::Path;
use std::time::Duration;

use podzol_lab::cloud::wait_for;
use podzol_lab::{Cloud, Lab, Ssh};
use podzol_scenarios::{account, lab};
use podzol_test_support::image;

/// What the firmware of a VM loads from the ISO, and nothing else, says this.
const SAYS: &str = "podzol booted from a cd";

/// Waits until a VM has written this to its serial port.
fn wait_says(cloud: &Cloud, vm: &str, line: &str) {
    wait_for(&format!("VM {vm} to say {line:?}"), Duration::from_secs(300), || {
        let log = cloud.podzol(&format!("vm console-log {vm}"))?;
        let text = log["text"].as_str().unwrap_or_default();
        anyhow::ensure!(text.contains(line), "it says {text:?}");
        Ok(Some(()))
    })
    .unwrap();
}

/// Makes an ISO that says a line of what boots from it.
fn make(admin: &Cloud, folder: &Path, name: &str, line: &str) {
    let file = folder.join(format!("{name}.iso"));
    std::fs::write(&file, image::iso(line)).unwrap();
    let create = format!("template create {name} --format iso --file {} --wait", file.display());
    assert_eq!(admin.podzol(&create).unwrap()["format"], "iso");
}

/// The host of a VM, and the VM's id.
fn place_of(lab: &Lab, admin: &Cloud, vm: &str) -> (Ssh, String) {
    let shown = admin.podzol(&format!("vm show {vm}")).unwrap();
    let host = admin.podzol(&format!("host show {}", shown["host"].as_str().unwrap())).unwrap();
    let host = lab.ssh(&lab.host(host["name"].as_str().unwrap()).unwrap());
    (host, shown["id"].as_str().unwrap().to_owned())
}

/// What libvirt and QEMU have in the drive of a VM.
fn in_drive(lab: &Lab, admin: &Cloud, vm: &str) -> String {
    let (host, id) = place_of(lab, admin, vm);
    let listed = host.run(&format!("virsh domblklist {id}")).unwrap();
    let line = listed.lines().find(|line| line.split_whitespace().next() == Some("sda")).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn a_vm_of_an_iso_boots_from_it_and_a_running_vm_is_given_one() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    let acme = account(&lab, "acme").unwrap();
    let folder = tempfile::tempdir().unwrap();
    make(&admin, folder.path(), "installer", SAYS);
    make(&admin, folder.path(), "data", "podzol booted from another cd");

    acme.podzol("vm create installed --offering tiny --template installer --network net --wait").unwrap();
    wait_says(&admin, "installed", SAYS);
    let refused = admin.podzol("template delete installer").unwrap_err();
    assert!(format!("{refused:#}").contains("in_use"), "{refused:#}");
    acme.podzol("vm delete installed --expunge --wait").unwrap();

    // A VM that runs from its disk is given one and loses it, and moves with it.
    acme.podzol("vm create has-cd --offering tiny --template tiny --network net --wait").unwrap();
    wait_says(&admin, "has-cd", "tiny ready has-cd");
    assert_eq!(in_drive(&lab, &admin, "has-cd"), "-");
    acme.podzol("vm iso attach has-cd data --wait").unwrap();
    assert!(in_drive(&lab, &admin, "has-cd").ends_with(".iso"));
    admin.podzol("vm migrate has-cd --wait").unwrap();
    assert!(in_drive(&lab, &admin, "has-cd").ends_with(".iso"));
    acme.podzol("vm iso detach has-cd --wait").unwrap();
    assert_eq!(in_drive(&lab, &admin, "has-cd"), "-");
    acme.podzol("vm iso attach has-cd data --boot --wait").unwrap();
    acme.podzol("vm stop has-cd --grace 0 --wait").unwrap();
    acme.podzol("vm start has-cd --wait").unwrap();
    wait_says(&admin, "has-cd", "podzol booted from another cd");
    acme.podzol("vm delete has-cd --expunge --wait").unwrap();

    for template in ["installer", "data"] {
        admin.podzol(&format!("template delete {template}")).unwrap();
    }
    wait_for("the pool to have let go of the ISOs", Duration::from_secs(300), || {
        let there = lab.ssh(&lab.host("s1")?).run("ls /srv/podzol/nfs1/templates")?;
        Ok((!there.contains(".iso")).then_some(()))
    })
    .unwrap();
}
