//! Disks and network interfaces of running VMs, as their operating systems see them.

use std::time::Duration;

use podzol_lab::cloud::wait_for;
use podzol_lab::{Console, proof};
use podzol_scenarios::{account, console_of, lab};

const SHORT: Duration = Duration::from_secs(180);

/// The name of a volume's disk, as the VM's kernel has it.
fn disk(console: &mut Console, volume: &str) -> Option<String> {
    let serial: String = volume.replace('-', "").chars().take(20).collect();
    let find = format!("sh grep -l {serial} /sys/block/vd*/serial || true");
    let found = console.ask(&find, SHORT).unwrap();
    found.first().and_then(|path| path.split('/').nth(3)).map(str::to_owned)
}

/// As [`disk`], once its kernel has met it: a device that was attached just now is told of by an interrupt.
fn met_disk(console: &mut Console, volume: &str) -> String {
    wait_for("the VM to see the disk", SHORT, || Ok(disk(console, volume))).unwrap()
}

/// Waits until a VM's kernel has met a network interface.
fn met_link(console: &mut Console, mac: &str) -> String {
    let find = format!("sh grep -l {mac} /sys/class/net/*/address || true");
    wait_for("the VM to see the network interface", SHORT, || {
        let found = console.ask(&find, SHORT)?;
        Ok(found.first().and_then(|path| path.split('/').nth(4)).map(str::to_owned))
    })
    .unwrap()
}

#[test]
fn a_volume_carries_what_one_running_vm_wrote_to_another_on_another_host() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    let acme = account(&lab, "acme").unwrap();
    let made = acme.podzol("volume create data --size-gib 1 --zone z1 --wait").unwrap();
    let volume = made["id"].as_str().unwrap();
    let (mut one, mut other) =
        (console_of(&lab, &admin, "acme-1").unwrap(), console_of(&lab, &admin, "acme-2").unwrap());

    acme.podzol("volume attach data --vm acme-1 --wait").unwrap();
    let name = met_disk(&mut one, volume);
    let write = format!("sh echo carried | dd of=/dev/{name} bs=512 conv=sync,fsync");
    one.ask(&write, SHORT).unwrap();
    acme.podzol("volume detach data --wait").unwrap();
    assert_eq!(disk(&mut one, volume), None);
    acme.podzol("volume attach data --vm acme-2 --wait").unwrap();
    let name = met_disk(&mut other, volume);
    let read = other.ask(&format!("sh dd if=/dev/{name} bs=512 count=1 | head -n 1"), SHORT).unwrap();

    assert!(read.iter().any(|line| line.trim() == "carried"), "{read:?}");
    acme.podzol("volume detach data --wait").unwrap();
    acme.podzol("volume delete data --wait").unwrap();
    let pool = lab.ssh(&lab.host("s1").unwrap()).run("find /srv/podzol/nfs1 -type f").unwrap();
    assert!(!pool.contains(volume), "{pool}");
}

#[test]
fn running_vms_meet_in_a_network_that_they_were_given_and_its_bridges_go_with_it() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    let acme = account(&lab, "acme").unwrap();
    acme.podzol("network create second --zone z1 --cidr 10.2.2.0/24 --router no").unwrap();
    let links = |host: &str| podzol_scenarios::links_of_podzol(&lab, host).unwrap();
    let before = (links("h1"), links("h2"));
    let mut nics = Vec::new();
    let mut consoles = Vec::new();
    for vm in ["acme-1", "acme-2"] {
        let shown = acme.podzol(&format!("vm nic add {vm} --network second --wait")).unwrap();
        let nic = &shown["nics"][1];
        let (mac, address) = (nic["mac"].as_str().unwrap(), nic["address"].as_str().unwrap());
        let mut console = console_of(&lab, &admin, vm).unwrap();
        // A tiny VM configures what it has at its boot, and nothing later.
        let link = met_link(&mut console, mac);
        let up = format!("sh ip link set {link} up && ip addr add {address}/24 dev {link}");
        console.ask(&up, SHORT).unwrap();
        nics.push((nic["id"].as_str().unwrap().to_owned(), address.to_owned()));
        consoles.push(console);
    }
    assert_eq!((links("h1").len(), links("h2").len()), (before.0.len() + 2, before.1.len() + 2));

    assert_eq!(proof::who(&mut consoles[0], &nics[1].1).unwrap().as_deref(), Some("acme-2"));

    for (nic, _) in &nics {
        acme.podzol(&format!("vm nic remove {nic} --wait")).unwrap();
    }
    assert_eq!((links("h1"), links("h2")), before);
    acme.podzol("network delete second").unwrap();
    // A serial port has one listener at a time.
    drop(consoles);
    let vms = proof::demo_vms(&lab).unwrap();
    proof::reachability(&lab, &vms).unwrap();
}

#[test]
fn a_running_vm_gets_limits_as_they_change_and_a_larger_disk() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    let acme = account(&lab, "acme").unwrap();
    admin.podzol("offering create free --vcpus 1 --memory-mib 96 --disk-gib 1").unwrap();
    acme.podzol("vm create limited --offering free --template tiny --network net --wait").unwrap();
    let shown = admin.podzol("vm show limited").unwrap();
    let (vm, mac) = (shown["id"].as_str().unwrap(), shown["nics"][0]["mac"].as_str().unwrap());
    let host = admin.podzol(&format!("host show {}", shown["host"].as_str().unwrap())).unwrap();
    let host = lab.ssh(&lab.host(host["name"].as_str().unwrap()).unwrap());
    wait_for("the VM to be ready", Duration::from_secs(300), || {
        let log = admin.podzol(&format!("vm console-log {vm}"))?;
        Ok(log["text"].as_str().unwrap_or_default().contains("tiny ready limited").then_some(()))
    })
    .unwrap();
    let in_libvirt = || {
        let ask = format!("virsh domiftune {vm} {mac}; virsh blkdeviotune {vm} vda");
        let text = host.run(&ask).unwrap();
        let number = |name: &str| {
            let line = text.lines().find(|line| line.split(':').next().unwrap().trim() == name).unwrap();
            line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
        };
        ["inbound.average", "outbound.average", "total_iops_sec"].map(number)
    };
    let has = |limits: [u64; 3]| {
        wait_for(&format!("the VM to have the limits {limits:?}"), SHORT, || {
            let found = in_libvirt();
            anyhow::ensure!(found == limits, "it has {found:?}");
            Ok(Some(()))
        })
        .unwrap();
    };
    assert_eq!(in_libvirt(), [0, 0, 0]);

    admin.podzol("account limit acme network_mbps=8 iops=100").unwrap();
    has([976, 976, 100]);
    admin.podzol("zone limit z1 iops=50").unwrap();
    admin.podzol("account limit acme network_mbps=16 iops=none").unwrap();
    has([1953, 1953, 50]);

    let root = shown["volumes"][0]["id"].as_str().unwrap();
    acme.podzol(&format!("volume resize {root} --size-gib 2 --wait")).unwrap();
    let mut console = console_of(&lab, &admin, vm).unwrap();
    let size = wait_for("the VM to see a larger disk", SHORT, || {
        let size = console.ask("sh cat /sys/block/vda/size", SHORT)?;
        Ok(size.first().filter(|size| size.trim() == "4194304").cloned())
    });
    size.unwrap();
    drop(console);
    let image = format!(
        "find /srv/podzol/nfs1 -name {root}.qcow2 -exec head -c 32 {{}} \\; | tail -c 8 | od -An -tx1"
    );
    let header = lab.ssh(&lab.host("s1").unwrap()).run(&image).unwrap();
    assert_eq!(header.trim(), "00 00 00 00 80 00 00 00");

    admin.podzol("zone limit z1 iops=none").unwrap();
    admin.podzol("account limit acme network_mbps=none").unwrap();
    has([0, 0, 0]);
    acme.podzol("vm pause limited --wait").unwrap();
    assert_eq!(host.run(&format!("virsh domstate {vm}")).unwrap().trim(), "paused");
    acme.podzol("vm resume limited --wait").unwrap();
    assert_eq!(host.run(&format!("virsh domstate {vm}")).unwrap().trim(), "running");
    acme.podzol("vm delete limited --wait").unwrap();
    admin.podzol("offering delete free").unwrap();
}
