//! The hypervisor on a real libvirt with a real QEMU. The domains have an empty disk, so they never get beyond their
//! firmware, which is all that is needed here.
//!
//! Run on a host of the lab by its scenarios; elsewhere only if libvirtd answers.

#![allow(clippy::unwrap_used, reason = "in a test an error is a panic, in its helpers too")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use podzol_agent_api::report::Accelerator;
use podzol_agent_api::vm::{DiskPlan, DiskSource, Seed, Usage, VmPlan};
use podzol_hypervisor::{Cd, Change, DiskDevice, Domain, DomainState, Hypervisor, Libvirt};
use podzol_vocab::{Generation, Secret, VmId, VolumeId};
use tempfile::TempDir;

const URI: &str = "qemu:///system";

/// A domain on this machine, until it is dropped.
struct Running {
    vm: VmId,
    folder: TempDir,
}

/// libvirt on this machine; nothing, with a word why, if there is none and none is required.
async fn libvirt() -> Option<Libvirt> {
    let libvirt = Libvirt::new(URI);
    match libvirt.version().await {
        Ok(_) => Some(libvirt),
        Err(missing) => {
            assert!(std::env::var_os("PODZOL_REQUIRE_LIBVIRT").is_none(), "missing: {missing}");
            eprintln!("skipped, missing: {missing}");
            None
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A file that QEMU's user can open, wherever it is.
fn disk(folder: &Path, name: &str, format: &str) -> PathBuf {
    let path = folder.join(name);
    let at = path.display().to_string();
    run("qemu-img", &["create", "-q", "-f", format, &at, "1M"]);
    run("chmod", &["666", &at]);
    path
}

impl Running {
    async fn start(libvirt: &Libvirt, accelerator: Accelerator) -> Self {
        let folder = tempfile::tempdir().unwrap();
        run("chmod", &["777", &folder.path().display().to_string()]);
        let vm = VmId::new();
        let file = disk(folder.path(), "root.qcow2", "qcow2");
        let source = DiskSource::Nfs { server: "s1".into(), export: "/srv/p".into(), file: "root".into() };
        let plan = VmPlan {
            vm,
            generation: Generation(1),
            name: "firmware".parse().unwrap(),
            vcpus: 1,
            cpu_share: 100,
            memory_mib: 32,
            disks: vec![DiskPlan { volume: VolumeId::new(), source, iops: Some(100), size: None }],
            nics: vec![],
            seed: Seed {
                meta_data: String::new(),
                user_data: Secret::new(String::new()),
                network_config: String::new(),
            },
            reboots: 0,
            paused: false,
            cdrom: None,
        };
        let domain = Domain {
            plan,
            accelerator,
            disks: vec![file],
            cdrom: None,
            bridges: vec![],
            seed: disk(folder.path(), "seed.iso", "raw"),
            serial_log: folder.path().join("serial.log"),
            serial_socket: folder.path().join("serial.sock"),
        };
        libvirt.start(domain).await.unwrap();
        Self { vm, folder }
    }

    fn signal(&self, signal: &str) {
        let pattern = format!("^/usr/bin/qemu-system.*{}", self.folder.path().display());
        run("pkill", &[signal, "-f", &pattern]);
    }

    async fn end(self, libvirt: &Libvirt) {
        libvirt.remove(self.vm).await.unwrap();
        assert_eq!(libvirt.find(self.vm).await.unwrap(), None);
    }
}

impl Drop for Running {
    /// A failed test must not leave a stopped QEMU behind, for which libvirt's threads wait, and this process for them.
    fn drop(&mut self) {
        let pattern = format!("^/usr/bin/qemu-system.*{}", self.folder.path().display());
        let _ = Command::new("pkill").args(["-KILL", "-f", &pattern]).status();
        let _ = Command::new("virsh").args(["-q", "-c", URI, "undefine", &self.vm.to_string()]).output();
    }
}

async fn check_runs(accelerator: Accelerator, kind: &str) {
    let Some(libvirt) = libvirt().await else { return };
    let domain = Running::start(&libvirt, accelerator).await;
    let listed = libvirt.list().await.unwrap();
    let found = listed.iter().find(|found| found.vm == domain.vm).expect("it is listed");
    assert_eq!(found.state, DomainState::Running);
    assert_eq!(found.record.as_ref().unwrap().plan.name.as_str(), "firmware");
    let xml = run("virsh", &["-c", URI, "dumpxml", &domain.vm.to_string()]);
    assert!(xml.starts_with(&format!("<domain type='{kind}'")), "{xml}");
    domain.end(&libvirt).await;
}

#[tokio::test]
async fn a_domain_runs_in_kvm() {
    check_runs(Accelerator::Kvm, "kvm").await;
}

#[tokio::test]
async fn a_domain_runs_by_emulation() {
    check_runs(Accelerator::Emulation, "qemu").await;
}

/// Counts until what was counted is as it should be.
async fn wait_counted(libvirt: &Libvirt, good: impl Fn(&HashMap<VmId, Usage>) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let usage = libvirt.usage().await;
        if usage.as_ref().is_ok_and(&good) {
            return;
        }
        assert!(Instant::now() < deadline, "{usage:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_domain_that_hangs_keeps_no_other_from_being_counted() {
    let Some(libvirt) = libvirt().await else { return };
    let (hanging, other) =
        (Running::start(&libvirt, Accelerator::Kvm).await, Running::start(&libvirt, Accelerator::Kvm).await);
    // Each has read from its disk, as firmware does.
    let read =
        |usage: &Usage| usage.disk_read_bytes >= 512 && usage.cpu_nanos > 0 && usage.memory_kib == 32 << 10;
    let counted = |usage: &HashMap<VmId, Usage>, vm| usage.get(&vm).is_some_and(read);
    wait_counted(&libvirt, |usage| counted(usage, hanging.vm) && counted(usage, other.vm)).await;
    hanging.signal("-STOP");

    // The first rounds may wait for the one that hangs; it is passed over then.
    for _ in 0..3 {
        wait_counted(&libvirt, |usage| counted(usage, other.vm) && !usage.contains_key(&hanging.vm)).await;
    }

    hanging.signal("-CONT");
    wait_counted(&libvirt, |usage| counted(usage, hanging.vm) && counted(usage, other.vm)).await;
    hanging.end(&libvirt).await;
    other.end(&libvirt).await;
}

#[tokio::test]
async fn a_domain_that_hangs_is_found_and_removed_all_the_same_and_asked_nothing_more() {
    let Some(libvirt) = libvirt().await else { return };
    let domain = Running::start(&libvirt, Accelerator::Kvm).await;
    domain.signal("-STOP");
    // Whoever asked goes away.
    let pause = libvirt.pause(domain.vm);
    assert!(tokio::time::timeout(Duration::from_secs(1), pause).await.is_err());

    let refused = libvirt.reboot(domain.vm).await.unwrap_err();

    assert!(refused.to_string().contains("has not been answered yet"), "{refused}");
    let found = libvirt.find(domain.vm).await.unwrap().expect("it is there");
    assert!(found.runs(), "{found:?}");
    domain.end(&libvirt).await;
}

#[tokio::test]
async fn a_running_domain_gets_disks_and_limits_and_repeating_that_is_success() {
    let Some(libvirt) = libvirt().await else { return };
    let domain = Running::start(&libvirt, Accelerator::Kvm).await;
    let before = libvirt.devices(domain.vm, vec![]).await.unwrap();
    let first = before.disks[0].clone();
    assert_eq!((before.disks.len(), first.iops, before.nics.len()), (1, Some(100), 0));
    let source = DiskSource::Nfs { server: "s1".into(), export: "/srv/p".into(), file: "data".into() };
    let data = DiskPlan { volume: VolumeId::new(), source, iops: None, size: None };
    let attach = Change::AttachDisk(data.clone(), disk(domain.folder.path(), "data.qcow2", "qcow2"));

    for change in [attach, Change::LimitDisk(data.volume, Some(50))] {
        libvirt.change(domain.vm, change.clone()).await.unwrap();
        libvirt.change(domain.vm, change).await.unwrap();
    }

    let after = libvirt.devices(domain.vm, vec![]).await.unwrap();
    assert_eq!(after.disks.len(), 2);
    assert!(after.disks.contains(&first));
    assert!(after.disks.iter().any(|disk| disk.is_of(data.volume) && disk.iops == Some(50)), "{after:?}");
    libvirt.change(domain.vm, Change::LimitDisk(data.volume, None)).await.unwrap();
    let found = libvirt.devices(domain.vm, vec![data.volume]).await.unwrap();
    assert!(found.disks.iter().all(|disk| disk.size.is_some() == disk.is_of(data.volume)), "{found:?}");
    let disk = found.disks.iter().find(|disk| disk.is_of(data.volume)).unwrap();
    assert_eq!(disk.iops, None);
    // It grows, and says so; growing to what it has is success.
    let larger = podzol_vocab::ByteSize(disk.size.unwrap().0 + (1 << 20));
    for _ in 0..2 {
        libvirt.change(domain.vm, Change::GrowDisk(data.volume, larger)).await.unwrap();
    }
    let found = libvirt.devices(domain.vm, vec![data.volume]).await.unwrap();
    assert!(found.disks.iter().any(|disk| disk.is_of(data.volume) && disk.size == Some(larger)), "{found:?}");
    // A firmware lets go of nothing, and what is not there need not go.
    let refused =
        libvirt.change(domain.vm, Change::DetachDisk(DiskDevice::of(&data).serial)).await.unwrap_err();
    assert!(refused.to_string().contains("has not let go of the disk"), "{refused}");
    libvirt.change(domain.vm, Change::DetachDisk("no such disk".into())).await.unwrap();
    domain.end(&libvirt).await;
}

#[tokio::test]
async fn a_running_domain_gets_an_iso_another_one_and_none_and_repeating_that_is_success() {
    let Some(libvirt) = libvirt().await else { return };
    let domain = Running::start(&libvirt, Accelerator::Kvm).await;
    let in_drive = async || libvirt.devices(domain.vm, vec![]).await.unwrap().cd;
    assert_eq!(in_drive().await, None);
    let [one, other] = ["one.iso", "other.iso"].map(|name| disk(domain.folder.path(), name, "raw"));

    for file in [one, other] {
        for _ in 0..2 {
            libvirt.change(domain.vm, Change::InsertCd(file.clone())).await.unwrap();
            assert_eq!(in_drive().await, Some(Cd { file: file.clone() }));
        }
    }
    for _ in 0..2 {
        libvirt.change(domain.vm, Change::EjectCd).await.unwrap();
        assert_eq!(in_drive().await, None);
    }

    // It is counted as before: a drive that is empty is a disk for libvirt.
    wait_counted(&libvirt, |usage| usage.get(&domain.vm).is_some_and(|usage| usage.cpu_nanos > 0)).await;
    domain.end(&libvirt).await;
}
