//! Running VMs go to another host and back: their memory, their networks and who reaches whom.

use std::collections::BTreeSet;
use std::time::Duration;

use podzol_lab::cloud::wait_for;
use podzol_lab::proof::{self, DemoVm};
use podzol_lab::{Cloud, Lab};
use podzol_scenarios::pings::Pings;
use podzol_scenarios::{console_of, lab, links_of_podzol, processes_of, vlan, wait_until_well};

const SHORT: Duration = Duration::from_secs(180);

fn demo_vm(lab: &Lab, name: &str) -> DemoVm {
    proof::demo_vms(lab).unwrap().into_iter().find(|vm| vm.name == name).unwrap()
}

fn uptime(lab: &Lab, admin: &Cloud, vm: &str) -> f64 {
    let mut console = console_of(lab, admin, vm).unwrap();
    let told =
        wait_for("the VM to tell its uptime", SHORT, || Ok(Some(console.ask("uptime", SHORT)?))).unwrap();
    told[0].trim().parse().unwrap()
}

/// The networks' links on a host, by the accounts whose they are.
fn networks_on(lab: &Lab, host: &str) -> BTreeSet<String> {
    let links = links_of_podzol(lab, host).unwrap();
    let has = |account: &String| links.contains(&format!("pzb{}", vlan(lab, account).unwrap()));
    ["acme", "globex"].map(str::to_owned).into_iter().filter(has).collect()
}

fn is_settled(admin: &Cloud, vm: &str) -> anyhow::Result<Option<String>> {
    let shown = admin.podzol(&format!("vm show {vm}"))?;
    anyhow::ensure!(shown["state"] == "running" && shown["moving_to"].is_null(), "{shown}");
    let host = admin.podzol(&format!("host show {}", shown["host"].as_str().unwrap_or_default()))?;
    Ok(host["name"].as_str().map(str::to_owned))
}

#[test]
fn a_vm_goes_to_another_host_and_back_and_hardly_a_ping_is_lost() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    let (stays, moves) = (demo_vm(&lab, "acme-1"), demo_vm(&lab, "acme-2"));
    assert_ne!(stays.host, moves.host);
    let both: BTreeSet<String> = ["acme".to_owned(), "globex".to_owned()].into();
    for (to, left) in [(&stays.host, Some(&moves.host)), (&moves.host, None)] {
        let before = uptime(&lab, &admin, &moves.name);
        let mut console = console_of(&lab, &admin, &stays.name).unwrap();
        let pings = Pings::begin(&mut console, &moves.address).unwrap();

        let answer = admin.podzol(&format!("vm migrate {} --to {to} --wait", moves.id)).unwrap();

        assert_eq!(answer["state"], "running", "{answer}");
        assert_eq!(processes_of(&lab, &moves.id).unwrap(), std::slice::from_ref(to));
        assert!(uptime(&lab, &admin, &moves.name) > before, "it was started anew");
        let log = admin.podzol(&format!("vm console-log {}", moves.id)).unwrap();
        assert!(log["text"].as_str().unwrap().contains("tiny ready acme-2"), "{log}");
        pings.hardly_one_is_lost(&mut console).unwrap();
        // The network goes from the host with its last VM there, the account's router among them.
        assert_eq!(networks_on(&lab, to), both);
        let routers = admin.podzol("router list --filter account=acme").unwrap();
        let of_router = admin.podzol(&format!("host show {}", routers[0]["host"].as_str().unwrap())).unwrap();
        let goes = left.is_some_and(|left| of_router["name"] != *left);
        let expected = if goes { ["globex".to_owned()].into() } else { both.clone() };
        assert_eq!(networks_on(&lab, left.unwrap_or(&stays.host)), expected);
        drop(console);
        proof::reachability(&lab, &proof::demo_vms(&lab).unwrap()).unwrap();
    }
}

#[test]
fn whatever_is_killed_during_a_move_one_copy_runs_and_nothing_is_left() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    for (at_source, kill) in [
        (true, "pkill -9 -x podzol-agent"),
        (false, "pkill -9 -x podzol-agent"),
        (false, "pkill -9 -x libvirtd"),
        // Others that came to the host by a move have been told to wait for one, too.
        (false, "pkill -9 -f '^/usr/bin/qemu-system.*VM.*-incoming'"),
    ] {
        let vm = demo_vm(&lab, "acme-2");
        let other = if vm.host == "h1" { "h2" } else { "h1" };
        let before = uptime(&lab, &admin, &vm.name);
        admin.podzol(&format!("vm migrate {}", vm.id)).unwrap();
        wait_for("the VM to be made on the other host", SHORT, || {
            let there = processes_of(&lab, &vm.id)?.iter().any(|host| host == other);
            Ok(there.then_some(()))
        })
        .unwrap();
        let victim = if at_source { vm.host.as_str() } else { other };
        let kill = kill.replace("VM", &vm.id);
        lab.ssh(&lab.host(victim).unwrap()).run(&format!("{kill} || true")).unwrap();

        let host =
            wait_for("the VM to have settled", Duration::from_secs(400), || is_settled(&admin, &vm.id))
                .unwrap();

        assert_eq!(processes_of(&lab, &vm.id).unwrap(), [host], "{kill} at {victim}");
        assert!(uptime(&lab, &admin, &vm.name) > before, "{kill} at {victim}: it was started anew");
        wait_until_well(&lab, Duration::from_secs(300)).unwrap();
    }
    let vm = demo_vm(&lab, "acme-2");
    if vm.host == demo_vm(&lab, "acme-1").host {
        admin.podzol(&format!("vm migrate {} --wait", vm.id)).unwrap();
    }
    proof::reachability(&lab, &proof::demo_vms(&lab).unwrap()).unwrap();
}

/// Leaves a VM as libvirt leaves it when a move's last step is not answered: standing still, for a move, without a job. The agent would
/// have it go on in between.
fn as_if_sent(lab: &Lab, vm: &DemoVm) {
    let sockets = "libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket";
    let domain = format!("{}-{}", vm.name, vm.id);
    let state = "<domstatus state='paused' reason=";
    let script = format!(
        "set -e; pkill -STOP -x podzol-agent; virsh suspend {domain}; systemctl stop {sockets} libvirtd; \
         sed -i \"s/{state}'[a-z]*'/{state}'migration'/\" /run/libvirt/qemu/{domain}.xml; \
         systemctl start {sockets} libvirtd; virsh domstate --reason {domain}; pkill -CONT -x podzol-agent"
    );
    let told = lab.ssh(&lab.host(&vm.host).unwrap()).run(&script).unwrap();
    assert!(told.contains("paused (migrating)"), "{told}");
}

#[test]
fn a_vm_that_was_sent_goes_on_once_the_other_host_has_said_that_it_has_not_come() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    let vm = demo_vm(&lab, "acme-1");
    let before = uptime(&lab, &admin, &vm.name);
    as_if_sent(&lab, &vm);

    let told = admin.podzol(&format!("vm migrate {} --wait", vm.id)).unwrap_err().to_string();

    assert!(told.contains("it was sent, and nothing was heard of it since"), "{told}");
    let on = wait_for("the VM to be somewhere", SHORT, || is_settled(&admin, &vm.id).or(Ok(None))).unwrap();
    assert_eq!(on, vm.host);
    assert!(uptime(&lab, &admin, &vm.name) > before, "it was started anew");
    assert_eq!(processes_of(&lab, &vm.id).unwrap(), [on]);
    wait_until_well(&lab, SHORT).unwrap();
}

#[test]
fn a_host_is_emptied_for_maintenance_while_its_vms_run() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    let leaving: Vec<DemoVm> =
        proof::demo_vms(&lab).unwrap().into_iter().filter(|vm| vm.host == "h2").collect();
    assert!(!leaving.is_empty());
    let before: Vec<f64> = leaving.iter().map(|vm| uptime(&lab, &admin, &vm.id)).collect();

    let emptied = admin.podzol("host maintenance h2 on --wait").unwrap();

    assert_eq!((&emptied["state"], &emptied["vms"]), (&"maintenance".into(), &0.into()), "{emptied}");
    assert_eq!(links_of_podzol(&lab, "h2").unwrap(), BTreeSet::new());
    for (vm, before) in leaving.iter().zip(before) {
        assert_eq!(processes_of(&lab, &vm.id).unwrap(), ["h1"]);
        assert!(uptime(&lab, &admin, &vm.id) > before, "{} was started anew", vm.name);
    }
    admin.podzol("host maintenance h2 off").unwrap();
    for vm in &leaving {
        admin.podzol(&format!("vm migrate {} --to h2 --wait", vm.id)).unwrap();
    }
    proof::reachability(&lab, &proof::demo_vms(&lab).unwrap()).unwrap();
}
