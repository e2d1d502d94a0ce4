//! What is used up.

use podzol_scenarios::{account, lab};

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
