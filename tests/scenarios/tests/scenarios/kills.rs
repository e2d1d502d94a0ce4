//! Whatever is killed while things go on: all of it converges, and nothing differs in the end.
//!
//! What is done and killed, and when, comes from a seed, which is printed; `PODZOL_SEED` and `PODZOL_ROUNDS` set it and
//! the number of rounds: 20, of some 20 s each, and at least 8 on a slow machine.

use std::time::{Duration, Instant};

use podzol_lab::cloud::wait_for;
use podzol_lab::proof::{self, DemoVm};
use podzol_lab::{Cloud, Lab};
use podzol_scenarios::{account, console_of, lab, processes_of, wait_until_well};
use podzol_test_support::image;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;

/// How long everything may take to be as it should after a kill; a host that was reset boots in a minute.
const CONVERGES: Duration = Duration::from_secs(600);

/// How long to go on with it, after so many rounds.
const LONG_ENOUGH: Duration = Duration::from_secs(180);
const AT_LEAST: u64 = 8;

/// What is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Agent(&'static str),
    StorageAgent,
    Management,
    Libvirtd(&'static str),
    Qemu,
    Host(&'static str),
}

const VICTIMS: [Victim; 10] = [
    Victim::Agent("h1"),
    Victim::Agent("h2"),
    Victim::StorageAgent,
    Victim::Management,
    Victim::Management,
    Victim::Libvirtd("h1"),
    Victim::Libvirtd("h2"),
    Victim::Qemu,
    Victim::Host("h1"),
    Victim::Host("h2"),
];

fn kill(lab: &Lab, victim: Victim, vm: &str) {
    let on = |host: &str, command: &str| {
        drop(lab.ssh(&lab.host(host).unwrap()).run(&format!("{command} || true")).unwrap())
    };
    match victim {
        Victim::Agent(host) => on(host, "pkill -9 -x podzol-agent"),
        Victim::StorageAgent => on("s1", "pkill -9 -f '^/usr/sbin/podzol-storage-agent'"),
        Victim::Libvirtd(host) => on(host, "pkill -9 -x libvirtd"),
        Victim::Qemu => ["h1", "h2"]
            .iter()
            .for_each(|host| on(host, &format!("pkill -9 -f '^/usr/bin/qemu-system.*{vm}'"))),
        Victim::Management => {
            let pid = lab.management_pid().unwrap();
            podzol_lab::program::run("kill", &["-9", &pid.to_string()]).unwrap();
            lab.run_management().unwrap();
            lab.wait_for_management().unwrap();
        }
        Victim::Host(host) => {
            lab.ssh(&lab.host(host).unwrap()).reset(Duration::from_secs(400)).unwrap();
        }
    }
}

fn found(list: &Value, name: &str) -> Option<Value> {
    list.as_array().unwrap().iter().find(|one| one["name"] == name).cloned()
}

/// The VM, once everything is well and it is in a state that stays. Libvirt may know of the end of a process that was
/// killed only after everything has looked well, and then the VM is started again.
fn settled(lab: &Lab, admin: &Cloud) -> anyhow::Result<Option<Value>> {
    let until = Instant::now() + CONVERGES;
    loop {
        wait_until_well(lab, until.saturating_duration_since(Instant::now()))?;
        let Some(vm) = found(&admin.podzol("vm list")?, "victim") else { return Ok(None) };
        if ["running", "paused", "stopped", "failed"].iter().any(|state| vm["state"] == *state) {
            return Ok(Some(vm));
        }
        anyhow::ensure!(Instant::now() < until, "it is {} all the time: {vm}", vm["state"]);
    }
}

/// Waits until the VM answers: one that boots changes its memory about as fast as an emulated host sends it, and moves for
/// minutes.
fn wait_booted(lab: &Lab, admin: &Cloud) {
    wait_for("the VM to have booted", CONVERGES, || {
        Ok(Some(console_of(lab, admin, "victim")?.ask("uptime", Duration::from_secs(10))?))
    })
    .unwrap();
}

/// Moves the VM.
const MIGRATE: &str = "MIGRATE";

/// Empties its host.
const DRAIN: &str = "DRAIN";

/// Brings a template.
const IMPORT: &str = "IMPORT";

/// A template that is brought while something is killed. It is deleted again in the end, which says that it came.
struct Imported(String);

impl Imported {
    /// Begins to bring a template of that name, of so many bytes that it takes seconds.
    fn begin(admin: &Cloud, name: String) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = image::qcow2(64, &name);
        bytes.resize(48 << 20, 0);
        std::fs::write(file.path(), bytes).unwrap();
        admin.podzol(&format!("template create {name} --file {}", file.path().display())).unwrap();
        Self(name)
    }

    fn goes_once_it_is_there(self, admin: &Cloud) {
        let shown = admin.podzol(&format!("template show {}", self.0)).unwrap();
        assert_eq!(shown["state"], "ready", "{shown}");
        admin.podzol(&format!("template delete {}", self.0)).unwrap();
    }
}

/// A host that is being emptied while something is killed. It is empty before it may carry VMs again.
struct Drained(String);

impl Drained {
    fn begin(admin: &Cloud, host: &Value) -> Self {
        let hosts = admin.podzol("host list").unwrap();
        let name = hosts.as_array().unwrap().iter().find(|one| one["id"] == *host).expect("it is there");
        let name = name["name"].as_str().unwrap().to_owned();
        admin.podzol(&format!("host maintenance {name} on")).unwrap();
        Self(name)
    }

    fn comes_back_once_it_is_empty(self, admin: &Cloud) {
        wait_for("the host to be empty", CONVERGES, || {
            let shown = admin.podzol(&format!("host show {}", self.0))?;
            let is_empty = shown["state"] == "maintenance" && shown["vms"] == 0;
            anyhow::ensure!(is_empty, "it is {} and has {} VMs", shown["state"], shown["vms"]);
            Ok(Some(()))
        })
        .unwrap();
        admin.podzol(&format!("host maintenance {} off", self.0)).unwrap();
    }
}

/// What can be done with the VM and the volume as they are now.
fn choices(vm: Option<&Value>, acme: &Cloud) -> Vec<String> {
    let volume = found(&acme.podzol("volume list").unwrap(), "victims-data").expect("it is not deleted");
    let size = volume["size_bytes"].as_u64().expect("a size") >> 30;
    let resize = format!("volume resize victims-data --size-gib {}", size + 1);
    let Some(vm) = vm else {
        let create = "vm create victim --offering tiny --template tiny --network net";
        return vec![create.into(), create.into(), create.into(), resize, IMPORT.into()];
    };
    let mut choices = match vm["state"].as_str().unwrap() {
        "running" => {
            vec!["vm stop victim --grace 0", "vm reboot victim", "vm delete victim", "vm pause victim"]
        }
        "paused" => vec!["vm resume victim", "vm stop victim --grace 0"],
        _ => vec!["vm start victim", "vm start victim", "vm delete victim"],
    };
    if vm["state"] == "running" {
        // The more often, as these are the longest ways.
        choices.extend([MIGRATE, MIGRATE, DRAIN, DRAIN]);
    }
    let remove = format!("vm nic remove {}", vm["nics"][1]["id"].as_str().unwrap_or_default());
    choices.extend([&*resize, IMPORT]);
    match (vm["nics"].as_array().unwrap().len(), vm["state"].as_str().unwrap()) {
        (1, "running" | "stopped") => choices.push("vm nic add victim --network victims-net"),
        (2, "running" | "stopped") => choices.push(&remove),
        _ => {}
    }
    match (volume["vm"].is_null(), vm["state"] == "paused") {
        (true, _) => choices.push("volume attach victims-data --vm victim"),
        // A VM that stands still lets go of nothing.
        (false, true) => {}
        (false, false) => choices.push("volume detach victims-data"),
    }
    choices.into_iter().map(str::to_owned).collect()
}

#[test]
fn whatever_is_killed_while_things_go_on_all_of_it_converges() {
    let number = |name: &str, or: u64| std::env::var(name).ok().map_or(or, |text| text.parse().unwrap());
    let (seed, rounds) = (number("PODZOL_SEED", 3), number("PODZOL_ROUNDS", 20));
    let begun = Instant::now();
    println!("seed {seed}: PODZOL_SEED={seed} replays it");
    let mut random = StdRng::seed_from_u64(seed);
    let lab = lab().unwrap();
    let (admin, acme) = (lab.cloud().unwrap(), account(&lab, "acme").unwrap());
    let homes = proof::demo_vms(&lab).unwrap();
    acme.podzol("volume create victims-data --size-gib 1 --zone z1 --wait").unwrap();
    acme.podzol("network create victims-net --zone z1 --cidr 10.3.3.0/24 --router no").unwrap();
    let mut resets = 0;
    let mut vm = settled(&lab, &admin).unwrap();
    for round in 1..=rounds {
        if round > AT_LEAST && begun.elapsed() > LONG_ENOUGH {
            println!("{} rounds of {rounds}: this machine is slow", round - 1);
            break;
        }
        let does = choices(vm.as_ref(), &acme).choose(&mut random).unwrap().clone();
        let mut victim = *VICTIMS.choose(&mut random).unwrap();
        if matches!(victim, Victim::Host(_)) {
            resets += 1;
            // Each takes more than a minute.
            if resets > 2 {
                victim = Victim::Qemu;
            }
        }
        let pause = Duration::from_millis(random.random_range(0..4000));
        println!("round {round}: {does}, then {victim:?} after {} ms", pause.as_millis());
        let (mut imported, mut drained) = (None, None);
        match does.as_str() {
            MIGRATE => {
                wait_booted(&lab, &admin);
                admin.podzol("vm migrate victim").unwrap();
            }
            DRAIN => {
                wait_booted(&lab, &admin);
                drained = Some(Drained::begin(&admin, &vm.as_ref().expect("it runs")["host"]));
            }
            IMPORT => imported = Some(Imported::begin(&admin, format!("import-{round}"))),
            does => drop(acme.podzol(does).unwrap()),
        }
        std::thread::sleep(pause);
        let now = found(&admin.podzol("vm list").unwrap(), "victim");
        let id = now.as_ref().and_then(|vm| vm["id"].as_str()).unwrap_or("no such VM").to_owned();
        kill(&lab, victim, &id);
        if let Some(drained) = drained {
            drained.comes_back_once_it_is_empty(&admin);
        }

        vm = settled(&lab, &admin).unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error:#}"));

        if let Some(imported) = imported {
            imported.goes_once_it_is_there(&admin);
        }
        let running = processes_of(&lab, &id).unwrap();
        assert!(running.len() <= 1, "seed {seed}, round {round}: it runs on {running:?}");
    }
    if vm.is_some() {
        acme.podzol("vm delete victim --wait").unwrap();
    }
    wait_until_well(&lab, CONVERGES).unwrap();
    acme.podzol("volume delete victims-data --wait").unwrap();
    acme.podzol("network delete victims-net").unwrap();
    let vms = proof::demo_vms(&lab).unwrap();
    proof::wait_ready(&lab, &vms).unwrap();
    go_home(&admin, &homes, &vms);
    proof::reachability(&lab, &proof::demo_vms(&lab).unwrap()).unwrap();
    wait_until_well(&lab, CONVERGES).unwrap();
}

/// Moves VMs back to the hosts where they were, as other scenarios count on it: emptying a host has moved them.
fn go_home(admin: &Cloud, homes: &[DemoVm], vms: &[DemoVm]) {
    for home in homes {
        let vm = vms.iter().find(|vm| vm.id == home.id).expect("it runs again");
        if vm.host != home.host {
            admin.podzol(&format!("vm migrate {} --to {} --wait", home.id, home.host)).unwrap();
        }
    }
}
