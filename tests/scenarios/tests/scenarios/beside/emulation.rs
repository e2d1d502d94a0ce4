//! Servers on which KVM is there and does not work: hosts of a cloud, and machines that are to carry a lab.

use std::time::Duration;

use anyhow::Context;
use podzol_lab::cloud::wait_for;
use podzol_lab::{Cloud, Lab, Ssh};
use podzol_scenarios::{account, lab_beside_others, qemu_processes};
use serde_json::Value;

const CREATE: &str = "--offering tiny --template tiny --network net";
const CONFIG: &str = "/etc/podzol/agent.toml";

/// What is read of the template's disk only by a boot loader, in bytes.
const LOADER: u64 = 64 << 10;

/// A host whose `/dev/kvm` opens and is no KVM, until this is dropped.
struct BrokenKvm(Ssh);

impl BrokenKvm {
    fn on(lab: &Lab, host: &str) -> Self {
        let broken = Self(lab.ssh(&lab.host(host).unwrap()));
        broken.0.run("mv /dev/kvm /dev/kvm.away && mknod -m 666 /dev/kvm c 1 3").unwrap();
        broken.restart_agent();
        broken
    }

    fn restart_agent(&self) {
        self.0.run("systemctl restart podzol-agent").unwrap();
    }

    fn allow_emulation(&self) {
        self.0.run(&format!("sed -i '1i allow_emulation = true' {CONFIG}")).unwrap();
        self.restart_agent();
    }
}

impl Drop for BrokenKvm {
    fn drop(&mut self) {
        self.0
            .run(&format!("rm /dev/kvm; mv /dev/kvm.away /dev/kvm; sed -i '/^allow_emulation/d' {CONFIG}"))
            .unwrap();
        self.restart_agent();
    }
}

fn wait_host(lab: &Lab, host: &str, accelerator: Value) -> Value {
    let cloud = lab.cloud().unwrap();
    wait_for(&format!("{host} to say that it runs VMs by {accelerator}"), Duration::from_secs(180), || {
        let shown = cloud.podzol(&format!("host show {host}"))?;
        anyhow::ensure!(shown["state"] == "up" && shown["accelerator"] == accelerator, "it is {shown}");
        Ok(Some(shown))
    })
    .unwrap()
}

fn host_of(cloud: &Cloud, vm: &str) -> String {
    let shown = cloud.podzol(&format!("vm show {vm}")).unwrap();
    let host = shown["host"].as_str().unwrap_or_default();
    cloud.podzol(&format!("host show {host}")).unwrap()["name"].as_str().unwrap_or_default().to_owned()
}

/// How much a VM has read of its disk, in bytes.
fn bytes_read(host: &Ssh, id: &str) -> anyhow::Result<u64> {
    let counts = host.run(&format!("virsh domblkstat {id} vda"))?;
    let read = counts.lines().find_map(|line| line.strip_prefix("vda rd_bytes "));
    Ok(read.with_context(|| counts.clone())?.trim().parse()?)
}

#[test]
fn a_host_whose_kvm_is_broken_says_so_and_runs_vms_by_emulation_only_where_that_is_allowed() {
    let lab = lab_beside_others().unwrap();
    let admin = lab.cloud().unwrap();
    let acme = account(&lab, "acme").unwrap();
    let before = qemu_processes(&lab, "h2").unwrap();
    let broken = BrokenKvm::on(&lab, "h2");

    let shown = wait_host(&lab, "h2", Value::Null);
    let problem = shown["problem"].as_str().unwrap_or_default();
    assert!(problem.starts_with("KVM cannot be used: a test program does not run in it"), "{shown}");
    admin.podzol("offering create vast --vcpus 1 --memory-mib 65536 --disk-gib 1").unwrap();
    let refused = acme.podzol("vm create vast --offering vast --template tiny --network net").unwrap_err();
    admin.podzol("offering delete vast").unwrap();
    assert!(format!("{refused:#}").contains("1 host: cannot run VMs (h2)"), "{refused:#}");
    // VMs go to the host with the most room, so without the fault one of these would go to h2.
    for name in ["fast-1", "fast-2"] {
        acme.podzol(&format!("vm create {name} {CREATE} --wait")).unwrap();
        assert_eq!(host_of(&admin, name), "h1");
    }

    broken.allow_emulation();
    let shown = wait_host(&lab, "h2", "emulation".into());
    assert_eq!(shown["problem"].as_str(), Some(problem), "the host goes on saying why");
    let slow = acme.podzol(&format!("vm create slow {CREATE} --wait")).unwrap();
    let id = slow["id"].as_str().unwrap_or_else(|| panic!("{slow}"));
    assert_eq!(host_of(&admin, "slow"), "h2");
    let domain = broken.0.run(&format!("virsh dumpxml {id}")).unwrap();
    assert!(domain.starts_with("<domain type='qemu'"), "{domain}");
    // Its firmware has run when its boot loader is there. What follows takes minutes, emulated twice.
    wait_for("the emulated VM to have read its boot loader", Duration::from_secs(900), || {
        Ok((bytes_read(&broken.0, id)? > LOADER).then_some(()))
    })
    .unwrap();

    for name in ["fast-1", "fast-2", "slow"] {
        acme.podzol(&format!("vm delete {name} --wait")).unwrap();
    }
    drop(broken);
    let shown = wait_host(&lab, "h2", "kvm".into());
    assert_eq!(shown["problem"], Value::Null);
    assert_eq!(qemu_processes(&lab, "h2").unwrap(), before, "the VMs' processes are others than before");
}

/// KVM on the storage server as it is ordinarily, when this is dropped.
struct KvmOfStorageServer(Ssh);

impl KvmOfStorageServer {
    fn reload(&self, nested: u8) {
        self.0.run(&format!("modprobe -r kvm_amd && modprobe kvm_amd nested={nested}")).unwrap();
    }

    fn told(&self) -> String {
        self.0.run("/tmp/podzol-lab --tree / probe").unwrap().trim().to_owned()
    }
}

impl Drop for KvmOfStorageServer {
    fn drop(&mut self) {
        let _ = self.0.run("rm -f /tmp/podzol-lab; [ ! -e /dev/kvm.away ] || mv -f /dev/kvm.away /dev/kvm");
        self.reload(0);
    }
}

#[test]
fn a_lab_uses_kvm_where_it_works_and_can_be_nested() {
    let lab = lab_beside_others().unwrap();
    let server = KvmOfStorageServer(lab.ssh(&lab.host("s1").unwrap()));
    let program = std::fs::read(lab.programs.join("podzol-lab")).unwrap();
    server.0.feed("cat > /tmp/podzol-lab && chmod 755 /tmp/podzol-lab", &program).unwrap();

    server.reload(1);
    assert_eq!(server.told(), "servers run in KVM");
    server.reload(0);
    let told = server.told();
    assert!(told.starts_with("servers run by emulation: KVM is not nested"), "{told}");
    server.reload(1);
    server.0.run("mv /dev/kvm /dev/kvm.away && mknod -m 666 /dev/kvm c 1 3").unwrap();
    let told = server.told();
    assert!(told.starts_with("servers run by emulation: a test program does not run in it"), "{told}");
}
