//! What is made on need goes with the last need, and nothing else goes.

use std::collections::BTreeSet;

use podzol_lab::{Lab, proof};
use podzol_scenarios::{account, lab, links_of_podzol, vlan, wait_state};

#[test]
fn the_last_vm_of_a_network_takes_its_bridge_and_vlan_along_and_leaves_others_alone() {
    let lab = lab().unwrap();
    let vms = proof::demo_vms(&lab).unwrap();
    let vlan = vlan(&lab, "acme").unwrap();
    // The network is on its router's host for that too.
    let admin = lab.cloud().unwrap();
    let router = admin.podzol("router list --filter account=acme").unwrap()[0].clone();
    let router = admin.podzol(&format!("host show {}", router["host"].as_str().unwrap())).unwrap();
    let leaves = |vm: &&proof::DemoVm| vm.account == "acme" && router["name"] != *vm.host;
    let leaving = vms.iter().find(leaves).unwrap();
    let host = lab.ssh(&lab.host(&leaving.host).unwrap());
    host.run("ip link add byhand type bridge && ip link set byhand alias 'not yours' up").unwrap();
    let before = links_of_podzol(&lab, &leaving.host).unwrap();
    let going = BTreeSet::from(["pzb", "pzv"].map(|link| format!("{link}{vlan}")));
    assert!(before.is_superset(&going), "{before:?}");
    let cloud = account(&lab, "acme").unwrap();

    cloud.podzol(&format!("vm stop {} --grace 20 --wait", leaving.id)).unwrap();

    let after = links_of_podzol(&lab, &leaving.host).unwrap();
    assert_eq!(after, &before - &going);
    let byhand = host.run("ip -o link show byhand").unwrap();
    assert!(byhand.contains("not yours"), "{byhand}");
    cloud.podzol(&format!("vm start {} --wait", leaving.id)).unwrap();
    host.run("ip link delete byhand").unwrap();
    let vms = proof::demo_vms(&lab).unwrap();
    proof::wait_ready(&lab, &vms).unwrap();
    proof::reachability(&lab, &vms).unwrap();
}

#[test]
fn ten_starts_and_stops_leave_nothing_on_hosts_or_pool() {
    let lab = lab().unwrap();
    let cloud = account(&lab, "acme").unwrap();
    let before = leftovers(&lab);
    let names = ["cycle-1", "cycle-2"];
    std::thread::scope(|scope| {
        for name in names {
            let cloud = &cloud;
            scope.spawn(move || {
                let create = format!("vm create {name} --offering tiny --template tiny --network net --wait");
                cloud.podzol(&create).unwrap();
                for _ in 0..5 {
                    cloud.podzol(&format!("vm stop {name} --grace 0 --wait")).unwrap();
                    cloud.podzol(&format!("vm start {name} --wait")).unwrap();
                }
                cloud.podzol(&format!("vm delete {name} --wait")).unwrap();
            });
        }
    });
    assert_eq!(leftovers(&lab), before);
    for vm in proof::demo_vms(&lab).unwrap() {
        wait_state(&lab.cloud().unwrap(), &vm.id, "running").unwrap();
    }
}

/// All that VMs leave traces in: domains, links, files and mounts of hosts, and files of the pool.
fn leftovers(lab: &Lab) -> Vec<String> {
    let on_host = "virsh list --all --name | sort; ip -o link show | cut -d: -f2 | grep -v vnet | sort; \
                   ls /var/lib/podzol-agent/vms | sort; grep podzol /proc/mounts | cut -d' ' -f1,2 | sort";
    let mut found: Vec<String> =
        ["h1", "h2"].iter().map(|host| lab.ssh(&lab.host(host).unwrap()).run(on_host).unwrap()).collect();
    let on_pool = "cd /srv/podzol/nfs1 && find . -type f | sort";
    found.push(lab.ssh(&lab.host("s1").unwrap()).run(on_pool).unwrap());
    found
}
