//! cloud-init, as Debian packages it, takes what Podzol gives a VM on its drive.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use podzol_sim::SimPod;
use podzol_test_support::{ControlPlane, text, wait_for};
use serde_json::json;

/// Long enough for a system to boot under emulation, on a machine that is busy with other tests.
const BOOTED: Duration = Duration::from_secs(900);

/// What the VM runs at its first boot: it says on its console what has become of it.
const SCRIPT: &str = r#"#!/bin/bash
{
    echo "name-is $(hostname)"
    echo "keys-are $(cat /home/*/.ssh/authorized_keys)"
    echo "source-is $(grep -om1 'DataSource[A-Za-z0-9]*' /var/lib/cloud/data/status.json)"
    echo "address-is $(ip -4 -oneline address show scope global | awk '{ print $4 }')"
    echo "mac-is $(cat /sys/class/net/e*/address)"
    echo "way-is $(ip route show default | grep -o 'via [0-9.]*')"
    echo "disk-has $(($(df --output=size -B1 / | tail -n 1) >> 28)) quarters of a GiB"
} > /dev/ttyS0
"#;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Cr0m2pXHpsQ1WqIHtUD0yUrEgp9vNfPUWHsZ1Xm9S web-1";

/// A VM of QEMU; until this is dropped.
struct Machine(Child);

impl Machine {
    /// One with a network card that leads nowhere.
    fn boot(disk: &Path, seed: &Path, mac: &str, console: &Path) -> Self {
        let line = format!(
            "-nodefaults -no-user-config -display none -machine pc -accel tcg -cpu max -m 512 -serial file:{} \
             -drive file={},format=qcow2,if=virtio -drive file={},format=raw,if=virtio,readonly=on \
             -device virtio-rng-pci -netdev hubport,id=n,hubid=0 -device virtio-net-pci,netdev=n,mac={mac},romfile=",
            console.display(),
            disk.display(),
            seed.display(),
        );
        let mut qemu = Command::new("qemu-system-x86_64");
        Self(qemu.args(line.split_whitespace()).stdin(Stdio::null()).spawn().expect("QEMU is installed"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_vm_of_the_debian_template_takes_name_keys_data_address_and_disk_size_from_what_podzol_gives() {
    // Images are made beside these tests; those that come after them have one.
    let template = std::env::var_os("PODZOL_DEBIAN").map(PathBuf::from);
    assert!(template.is_some() || std::env::var_os("PODZOL_ROUTER").is_none(), "PODZOL_DEBIAN must name it");
    let Some(template) = template else { return };
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let acme = control_plane.admin.customer("acme").await;
    // Without a router, so that the address is on the drive too.
    let network = pod.network(&acme.api, "net", "10.1.1.0/24").await;
    let vm = json!({
        "name": "web-1", "offering": pod.offering, "template": pod.template, "networks": [network],
        "ssh_keys": [KEY], "user_data": SCRIPT,
    });
    let id = text(&acme.api.post("/v1/vms", &vm).await.ok(), "object.id");
    acme.api.vm_in_state(&id, "running").await;
    let shown = control_plane.admin.show_vm(&id).await;
    let seed = pod.host(&text(&shown, "host")).seed(id.parse().expect("an id"));
    let (mac, address) = (text(&shown["nics"][0], "mac"), text(&shown["nics"][0], "address"));
    // The disk is larger than the template, as offerings have it.
    let folder = tempfile::tempdir().expect("there is room");
    let (disk, console) = (folder.path().join("disk.qcow2"), folder.path().join("console"));
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
        .args([template.as_os_str(), disk.as_os_str(), "3G".as_ref()])
        .status();
    assert!(made.expect("QEMU is installed").success());

    let _machine = Machine::boot(&disk, &seed, &mac, &console);

    for (beginning, rest) in [
        ("name-is ", "web-1".to_owned()),
        ("keys-are ", KEY.to_owned()),
        ("source-is ", "DataSourceNoCloud".to_owned()),
        ("address-is ", format!("{address}/24")),
        ("mac-is ", mac),
        ("way-is ", "via 10.1.1.1".to_owned()),
        ("disk-has ", "11 quarters of a GiB".to_owned()),
    ] {
        let said = wait_for(&format!("a line {beginning}"), BOOTED, async || {
            let text = std::fs::read(&console).map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&text).into_owned();
            // A line may not be there whole yet.
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let found = whole.lines().find_map(|line| line.split_once(beginning));
            found
                .map(|(_, rest)| rest.trim().to_owned())
                .ok_or_else(|| whole.lines().last().unwrap_or_default().to_owned())
        })
        .await;
        assert_eq!(said, rest, "{beginning}");
    }
}
