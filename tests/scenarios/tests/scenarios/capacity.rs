//! Several VMs at once, and what is used up.

use std::collections::BTreeSet;

use podzol_lab::proof;
use podzol_scenarios::{account, lab};

#[test]
fn six_vms_created_in_parallel_all_run_with_addresses_of_their_own() {
    let lab = lab().unwrap();
    let cloud = account(&lab, "globex").unwrap();
    let names: Vec<String> = (1..=6).map(|number| format!("many-{number}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            let cloud = &cloud;
            scope.spawn(move || {
                let create = format!("vm create {name} --offering tiny --template tiny --network net --wait");
                cloud.podzol(&create).unwrap();
            });
        }
    });
    let vms = cloud.podzol("vm list").unwrap();
    let vms = vms.as_array().unwrap();
    assert_eq!(vms.len(), 8, "two of the lab and six new ones");
    assert!(vms.iter().all(|vm| vm["state"] == "running"), "{vms:#?}");
    for field in ["address", "mac", "id"] {
        let values: BTreeSet<&str> = vms.iter().map(|vm| vm["nics"][0][field].as_str().unwrap()).collect();
        assert_eq!(values.len(), vms.len(), "{field} is given twice");
    }
    let all = proof::demo_vms(&lab).unwrap();
    proof::wait_ready(&lab, &all).unwrap();
    std::thread::scope(|scope| {
        for name in &names {
            let cloud = &cloud;
            scope.spawn(move || cloud.podzol(&format!("vm delete {name} --wait")).unwrap());
        }
    });
}

#[test]
fn a_vm_that_fits_nowhere_is_refused_with_the_reason_for_each_host() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    admin.podzol("offering create giant --vcpus 1 --memory-mib 65536 --disk-gib 1").unwrap();
    let cloud = account(&lab, "acme").unwrap();
    let refused =
        cloud.podzol("vm create too-big --offering giant --template tiny --network net").unwrap_err();
    let text = format!("{refused:#}");
    assert!(text.contains("2 hosts: not enough memory (h1, h2)"), "{text}");
    assert!(text.contains("no_host_fits"), "{text}");
    assert!(cloud.podzol("vm list --filter name=too-big").unwrap().as_array().unwrap().is_empty());
    admin.podzol("offering delete giant").unwrap();
}
