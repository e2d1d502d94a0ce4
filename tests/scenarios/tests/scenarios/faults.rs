//! What a VM needs goes away for a while: work waits, can be called off or tried again, and VMs that run are left alone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use podzol_lab::cloud::wait_for;
use podzol_lab::{Cloud, Console, Lab, Ssh, proof};
use podzol_scenarios::{account, console_of, lab, qemu_processes, wait_state, wait_until_well};
use serde_json::Value;

const CREATE: &str = "--offering tiny --template tiny --network net";

fn begin(cloud: &Cloud, name: &str) -> (String, String) {
    let made = cloud.podzol(&format!("vm create {name} {CREATE}")).unwrap();
    let id = |of: &str| made[of]["id"].as_str().unwrap().to_owned();
    (id("object"), id("operation"))
}

fn operation(cloud: &Cloud, id: &str) -> Value {
    cloud.podzol(&format!("operation show {id}")).unwrap()
}

/// Waits until a host is at it, so that what happens next happens to a start that is under way.
fn wait_until_on_its_host(cloud: &Cloud, id: &str) {
    wait_for("the start to reach its host", Duration::from_secs(180), || {
        let shown = operation(cloud, id);
        anyhow::ensure!(shown["finished_at"].is_null(), "it has ended: {shown}");
        Ok((shown["step"] == "starting on its host").then_some(()))
    })
    .unwrap();
}

/// The storage server does not serve NFS, until this is dropped.
struct NfsAway(Ssh);

impl NfsAway {
    fn from(lab: &Lab) -> Self {
        let server = lab.ssh(&lab.host("s1").unwrap());
        server.run("systemctl stop nfs-server").unwrap();
        Self(server)
    }
}

impl Drop for NfsAway {
    fn drop(&mut self) {
        self.0.run("systemctl start nfs-server").unwrap();
    }
}

/// Longer than an NFS client goes by what it last knew of a file (nfs(5): acregmax, 60 s). After that any look at a VM's
/// disk waits for the server.
const OUTLASTING: Duration = Duration::from_secs(75);

fn processes(lab: &Lab) -> BTreeSet<String> {
    ["h1", "h2"].iter().flat_map(|host| qemu_processes(lab, host).unwrap()).collect()
}

#[test]
fn while_the_storage_server_serves_no_nfs_starts_wait_or_are_called_off_and_running_vms_go_on_after_it() {
    let lab = lab().unwrap();
    let cloud = account(&lab, "acme").unwrap();
    let before = processes(&lab);
    let away = NfsAway::from(&lab);
    let began = Instant::now();

    let (waiting, waits_for) = begin(&cloud, "waits");
    wait_until_on_its_host(&cloud, &waits_for);
    let (called_off, ends) = begin(&cloud, "called-off");
    wait_until_on_its_host(&cloud, &ends);
    cloud.podzol(&format!("operation cancel {ends}")).unwrap();
    wait_for("the start to be called off", Duration::from_secs(60), || {
        Ok((operation(&cloud, &ends)["state"] == "cancelled").then_some(()))
    })
    .unwrap();
    // What needs no disk works on, and goes on working.
    let vms = proof::demo_vms(&lab).unwrap();
    while began.elapsed() < OUTLASTING {
        proof::reachability(&lab, &vms).unwrap();
    }
    proof::reachability(&lab, &vms).unwrap();

    drop(away);
    cloud.podzol(&format!("operation wait {waits_for} --timeout 600")).unwrap();
    wait_state(&cloud, &waiting, "running").unwrap();
    wait_for("the VM that was called off to be down", Duration::from_secs(300), || {
        let shown = cloud.podzol(&format!("vm show {called_off}"))?;
        let down = shown["state"] == "failed" || shown["state"] == "stopped";
        anyhow::ensure!(down && shown["host"].is_null(), "it is {}", shown["state"]);
        Ok(Some(()))
    })
    .unwrap();
    for vm in [waiting, called_off] {
        cloud.podzol(&format!("vm delete {vm} --wait")).unwrap();
    }
    assert_eq!(processes(&lab), before, "the VMs' processes are others than before");
    for vm in &vms {
        let mut console = Console::open(&lab.ssh(&lab.host(&vm.host).unwrap()), &vm.id).unwrap();
        assert_eq!(proof::who(&mut console, &vm.address).unwrap().as_deref(), Some(vm.name.as_str()));
    }
}

/// A file that fills a pool, until this is dropped.
struct Filled(Ssh);

impl Filled {
    const FILE: &str = "/srv/podzol/filler";

    /// Leaves so many MiB.
    fn leaving(lab: &Lab, mib: u64) -> Self {
        let server = lab.ssh(&lab.host("s1").unwrap());
        let line = format!(
            "free=$(df --output=avail -m /srv/podzol | tail -n 1) && fallocate -l $((free - {mib}))M {}",
            Self::FILE
        );
        server.run(&line).unwrap();
        Self(server)
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        self.0.run(&format!("rm -f {}", Self::FILE)).unwrap();
    }
}

#[test]
fn a_vm_whose_pool_is_full_stands_still_and_says_so_and_goes_on_with_all_it_wrote_when_there_is_room() {
    let lab = lab().unwrap();
    let (admin, cloud) = (lab.cloud().unwrap(), account(&lab, "acme").unwrap());
    let vm = cloud.podzol(&format!("vm create writes {CREATE} --wait")).unwrap();
    let id = vm["id"].as_str().unwrap();
    cloud.podzol("volume create written --size-gib 1 --zone z1 --wait").unwrap();
    cloud.podzol("volume attach written --vm writes --wait").unwrap();
    let volume = cloud.podzol("volume show written").unwrap()["id"].as_str().unwrap().to_owned();
    let serial: String = volume.chars().filter(|c| *c != '-').take(20).collect();
    wait_for("the VM to have booted", Duration::from_secs(900), || {
        let log = cloud.podzol("vm console-log writes")?;
        Ok(log["text"].as_str().unwrap_or_default().contains("tiny ready writes").then_some(()))
    })
    .unwrap();
    let in_vm = |line: &str| {
        let mut console = console_of(&lab, &admin, "writes").unwrap();
        console.ask(&format!("sh {line}"), Duration::from_secs(180)).unwrap()
    };
    let device = wait_for("the VM to see its volume", Duration::from_secs(300), || {
        let mut console = console_of(&lab, &admin, "writes")?;
        let found =
            console.ask(&format!("sh grep -l {serial} /sys/block/*/serial"), Duration::from_secs(180))?;
        Ok(found.first().and_then(|path| path.split('/').nth(3)).map(str::to_owned))
    })
    .unwrap();

    let filled = Filled::leaving(&lab, 16);
    // More than the VM has memory for: both are made anew each time.
    let data = format!("yes podzol | head -c {}", 24 << 20);
    let write = format!(
        "{data} | dd of=/dev/{device} bs=1M iflag=fullblock oflag=direct && sync && touch /run/written"
    );
    in_vm(&format!("({write}) > /dev/null 2>&1 &"));
    let stands = wait_for("the VM to stand still", Duration::from_secs(300), || {
        let shown = cloud.podzol(&format!("vm show {id}"))?;
        anyhow::ensure!(shown["error"].is_string(), "{}", shown["state"]);
        Ok(Some(shown))
    })
    .unwrap();
    assert!(stands["error"].as_str().unwrap().contains("its pool may be full"), "{stands}");
    let refused = cloud.podzol(&format!("vm create another {CREATE} --wait"));
    println!("meanwhile: {refused:?}");

    drop(filled);
    wait_for("the VM to go on", Duration::from_secs(300), || {
        let shown = cloud.podzol(&format!("vm show {id}"))?;
        anyhow::ensure!(shown["error"].is_null(), "{}", shown["error"]);
        Ok(Some(()))
    })
    .unwrap();
    wait_for("the VM to have written all", Duration::from_secs(300), || {
        Ok((!in_vm("ls /run/written 2> /dev/null || true").is_empty()).then_some(()))
    })
    .unwrap();
    let read = format!("dd if=/dev/{device} bs=1M count=24 iflag=direct 2> /dev/null | md5sum");
    assert_eq!(in_vm(&read), in_vm(&format!("{data} | md5sum")));
    for name in ["writes", "another"] {
        let _ = cloud.podzol(&format!("vm delete {name} --expunge --wait"));
    }
    cloud.podzol("volume delete written --wait").unwrap();
    wait_until_well(&lab, Duration::from_secs(300)).unwrap();
}

/// QEMU's program is in another place on the hosts, until this is dropped.
struct EmulatorAway<'a>(&'a Lab);

impl<'a> EmulatorAway<'a> {
    fn from_hosts(lab: &'a Lab) -> Self {
        let away = Self(lab);
        away.on_hosts("mv /usr/bin/qemu-system-x86_64 /usr/bin/qemu-system-x86_64.away");
        away
    }

    fn on_hosts(&self, line: &str) {
        for host in ["h1", "h2"] {
            self.0.ssh(&self.0.host(host).unwrap()).run(line).unwrap();
        }
    }
}

impl Drop for EmulatorAway<'_> {
    fn drop(&mut self) {
        self.on_hosts("mv /usr/bin/qemu-system-x86_64.away /usr/bin/qemu-system-x86_64");
    }
}

#[test]
fn a_start_that_failed_says_why_and_is_tried_again_when_asked() {
    let lab = lab().unwrap();
    let cloud = account(&lab, "acme").unwrap();
    let away = EmulatorAway::from_hosts(&lab);
    let (vm, start) = begin(&cloud, "tried-again");
    let failed = wait_state(&cloud, &vm, "failed").unwrap();
    let ended = operation(&cloud, &start);
    drop(away);

    assert!(failed["error"].as_str().unwrap().contains("cannot start the VM: "), "{failed}");
    assert_eq!((&ended["state"], &ended["error"]["code"]), (&"failed".into(), &"start_failed".into()));
    cloud.podzol(&format!("operation retry {start}")).unwrap();
    cloud.podzol(&format!("operation wait {start} --timeout 600")).unwrap();
    assert_eq!(cloud.podzol(&format!("vm show {vm}")).unwrap()["state"], "running");
    cloud.podzol(&format!("vm delete {vm} --wait")).unwrap();
}

/// A host's libvirtd stands still, until this is dropped.
struct Hung(Ssh);

impl Hung {
    fn on(lab: &Lab, host: &str) -> Self {
        let hung = Self(lab.ssh(&lab.host(host).unwrap()));
        hung.0.run("pkill -STOP -x libvirtd").unwrap();
        hung
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        self.0.run("pkill -CONT -x libvirtd").unwrap();
    }
}

/// How long it takes to pause a VM and have it run on, at the median of some times.
fn pause_and_resume(admin: &Cloud, vm: &str) -> Duration {
    let mut times: Vec<Duration> = (0..5)
        .map(|_| {
            let began = Instant::now();
            admin.podzol(&format!("vm pause {vm} --wait")).unwrap();
            admin.podzol(&format!("vm resume {vm} --wait")).unwrap();
            began.elapsed()
        })
        .collect();
    times.sort();
    times[2]
}

#[test]
fn while_a_hosts_libvirtd_hangs_other_hosts_take_no_longer_and_what_it_was_asked_is_done_after() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    let vms = proof::demo_vms(&lab).unwrap();
    let on = |host: &str| vms.iter().find(|vm| vm.host == host).unwrap().id.clone();
    let (hung_vm, other_vm) = (on("h1"), on("h2"));
    let before = pause_and_resume(&admin, &other_vm);

    let hung = Hung::on(&lab, "h1");
    let pause = admin.podzol(&format!("vm pause {hung_vm}")).unwrap();
    let pause = pause["operation"]["id"].as_str().unwrap().to_owned();
    let during = pause_and_resume(&admin, &other_vm);

    println!("{before:?} before, {during:?} while the other host hangs");
    // Waiting for the other host would take 15 s and more.
    assert!(during < before * 2 + Duration::from_secs(8), "{before:?} before, {during:?} during");
    let shown = operation(&admin, &pause);
    assert!(shown["finished_at"].is_null(), "{shown}");
    drop(hung);
    admin.podzol(&format!("operation wait {pause} --timeout 600")).unwrap();
    wait_state(&admin, &hung_vm, "paused").unwrap();
    admin.podzol(&format!("vm resume {hung_vm} --wait")).unwrap();
    wait_until_well(&lab, Duration::from_secs(300)).unwrap();
    proof::reachability(&lab, &vms).unwrap();
}
