//! A part that restarts, or dies, takes no VM with it, and knows everything again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use podzol_lab::cloud::{Cloud, wait_for};
use podzol_lab::{Lab, proof};
use podzol_scenarios::{account, hosts_of, lab, qemu_processes};

/// The QEMU processes of all hosts: a VM that was started anew has another process.
fn processes(lab: &Lab) -> BTreeSet<(String, String)> {
    let vms = proof::demo_vms(lab).unwrap();
    let mut found = BTreeSet::new();
    for host in hosts_of(&vms) {
        for process in qemu_processes(lab, &host).unwrap() {
            found.insert((host.clone(), process));
        }
    }
    found
}

/// When each server has reported last, if all of them are up.
fn reports(cloud: &Cloud) -> anyhow::Result<Option<Vec<String>>> {
    let mut reports = Vec::new();
    for servers in ["host list", "storage-server list"] {
        for server in cloud.podzol(servers)?.as_array().into_iter().flatten() {
            if server["state"] != "up" {
                return Ok(None);
            }
            reports.push(server["reported_at"].as_str().unwrap_or_default().to_owned());
        }
    }
    Ok(Some(reports))
}

/// Everything is known again: all servers report anew, all VMs run where they did, and a VM can be started.
fn all_is_known(lab: &Lab, before: &BTreeSet<(String, String)>) {
    let cloud = lab.cloud().unwrap();
    let begun = Instant::now();
    let mut first = None;
    wait_for("all servers to report again", Duration::from_secs(180), || {
        let Some(now) = reports(&cloud)? else { return Ok(None) };
        let first = first.get_or_insert_with(|| now.clone());
        let all_anew = now.len() == first.len() && now.iter().zip(&*first).all(|(now, first)| now != first);
        Ok(all_anew.then_some(()))
    })
    .unwrap();
    println!("known again after {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(proof::demo_vms(lab).unwrap().len(), 4);
    assert_eq!(&processes(lab), before, "the VMs' processes are others than before");
    let acme = account(lab, "acme").unwrap();
    acme.podzol("vm create after-restart --offering tiny --template tiny --network net --wait").unwrap();
    acme.podzol("vm delete after-restart --wait").unwrap();
    assert_eq!(&processes(lab), before, "the VMs' processes are others than before");
}

#[test]
fn vms_outlive_a_killed_agent() {
    let lab = lab().unwrap();
    let before = processes(&lab);
    for host in ["h1", "h2"] {
        lab.ssh(&lab.host(host).unwrap()).run("pkill -9 -x podzol-agent").unwrap();
    }
    all_is_known(&lab, &before);
}

#[test]
fn vms_outlive_a_killed_storage_agent() {
    let lab = lab().unwrap();
    let before = processes(&lab);
    lab.ssh(&lab.host("s1").unwrap()).run("pkill -9 -f '^/usr/sbin/podzol-storage-agent'").unwrap();
    all_is_known(&lab, &before);
}

#[test]
fn vms_outlive_a_killed_management_service() {
    let lab = lab().unwrap();
    let before = processes(&lab);
    let pid = lab.management_pid().unwrap();
    podzol_lab::program::run("kill", &["-9", &pid.to_string()]).unwrap();
    lab.run_management().unwrap();
    lab.wait_for_management().unwrap();
    all_is_known(&lab, &before);
}

#[test]
fn vms_outlive_a_restarted_libvirtd() {
    let lab = lab().unwrap();
    let before = processes(&lab);
    for host in ["h1", "h2"] {
        lab.ssh(&lab.host(host).unwrap()).run("systemctl restart libvirtd").unwrap();
    }
    all_is_known(&lab, &before);
}

/// Leaves what a libvirtd leaves that dies after it noted a domain that arrives, and before it started a process for it:
/// the status of a VM that runs, under another name.
const LEAVE_UNBORN: &str = r#"
set -e
cd /run/libvirt/qemu
status=$(ls acme-1-*.xml)
name=${status%.xml}
id=${name#acme-1-}
sed -e "s#<domstatus .*>#<domstatus state='paused' reason='starting up' pid='0'>#" \
    -e "s#<domain type='kvm' id='[0-9]*'#<domain type='kvm' id='99'#" \
    -e "s#domain-[0-9]*-acme-1-[0-9a-f-]*#domain-99-unborn#" \
    -e "s#$name#unborn#g;s#$id#00000000-0000-7000-8000-000000000099#g" \
    -e "s#  <libDir#  <job type='none' async='migration in' phase='prepare' flags='0x100009'/>\n&#" \
    "$status" > unborn.xml
grep -q "async='migration in'" unborn.xml
mkdir -p /var/lib/libvirt/qemu/domain-99-unborn
"#;

#[test]
fn a_vm_that_libvirtd_was_about_to_start_when_it_died_does_not_come_back() {
    let lab = lab().unwrap();
    let before = processes(&lab);
    let vms = proof::demo_vms(&lab).unwrap();
    let acme = vms.iter().find(|vm| vm.name == "acme-1").unwrap();
    let ssh = lab.ssh(&lab.host(&acme.host).unwrap());
    ssh.run(LEAVE_UNBORN).unwrap();

    ssh.run("pkill -9 -x libvirtd").unwrap();

    let listed = wait_for("libvirtd to answer", Duration::from_secs(120), || {
        Ok(ssh.run("timeout 20 virsh -q list --all").ok().filter(|listed| listed.contains("acme-1")))
    });
    let listed = listed.unwrap();
    assert!(!listed.contains("unborn"), "{listed}");
    let left = ssh.run("ls -d /run/libvirt/qemu/*unborn* /var/lib/libvirt/qemu/*unborn* || true").unwrap();
    assert_eq!(left.trim(), "");
    all_is_known(&lab, &before);
}

#[test]
fn a_vm_that_shuts_itself_down_is_stopped_and_gives_its_host_back() {
    let lab = lab().unwrap();
    let vms = proof::demo_vms(&lab).unwrap();
    let vm = vms.iter().find(|vm| vm.account == "globex").unwrap();
    let mut console = podzol_lab::Console::open(&lab.ssh(&lab.host(&vm.host).unwrap()), &vm.id).unwrap();
    let _ = console.ask("poweroff", Duration::from_secs(5));
    let cloud = lab.cloud().unwrap();
    let stopped = podzol_scenarios::wait_state(&cloud, &vm.id, "stopped").unwrap();
    assert!(stopped["host"].is_null(), "{stopped}");
    account(&lab, "globex").unwrap().podzol(&format!("vm start {} --wait", vm.id)).unwrap();
    let vms = proof::demo_vms(&lab).unwrap();
    proof::wait_ready(&lab, &vms).unwrap();
}
