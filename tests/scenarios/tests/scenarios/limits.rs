//! What a VM may do at most, as QEMU and the kernel have it.

use std::time::Duration;

use podzol_lab::cloud::wait_for;
use podzol_lab::{Cloud, Lab, Ssh};
use podzol_scenarios::{account, findings, lab, wait_until_well};
use serde_json::Value;

/// A running VM on its host.
struct OnHost {
    host: Ssh,
    id: String,
}

impl OnHost {
    fn of(lab: &Lab, admin: &Cloud, vm: &str) -> Self {
        let shown = admin.podzol(&format!("vm show {vm}")).unwrap();
        let host = admin.podzol(&format!("host show {}", shown["host"].as_str().unwrap())).unwrap();
        let host = lab.ssh(&lab.host(host["name"].as_str().unwrap()).unwrap());
        Self { host, id: shown["id"].as_str().unwrap().to_owned() }
    }

    fn virsh(&self, line: &str) -> String {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        self.host.run(&format!("virsh {verb} {} {rest}", self.id)).unwrap()
    }

    /// Disk operations a second, and KiB/s of network traffic to the VM; 0 without a limit.
    fn limits(&self) -> (u64, u64) {
        let number = |text: String, what: &str| {
            let line = text.lines().find(|line| line.split(':').next().unwrap_or("").trim() == what).unwrap();
            line.split(':').nth(1).unwrap().trim().parse().unwrap()
        };
        let ports = self.virsh("domiflist");
        let port = ports.split_whitespace().find(|word| word.starts_with("pzt")).unwrap();
        (
            number(self.virsh("blkdeviotune vda"), "total_iops_sec"),
            number(self.virsh(&format!("domiftune {port}")), "inbound.average"),
        )
    }

    fn wait(&self, limits: (u64, u64)) {
        wait_for("the VM to have its limits", Duration::from_secs(120), || {
            let found = self.limits();
            anyhow::ensure!(found == limits, "{found:?}");
            Ok(Some(()))
        })
        .unwrap();
    }
}

#[test]
fn an_offerings_limits_change_at_a_running_vm_and_what_was_changed_by_hand_is_found_and_repaired() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    let acme = account(&lab, "acme").unwrap();
    let create =
        "offering create limited --vcpus 1 --memory-mib 96 --disk-gib 1 --network-mbps 80 --iops 300";
    admin.podzol(create).unwrap();
    acme.podzol("vm create limited --offering limited --template tiny --network net --wait").unwrap();
    let vm = OnHost::of(&lab, &admin, "limited");
    assert_eq!(vm.limits(), (300, 9765));
    let process = vm.virsh("domid");

    admin.podzol("offering limit limited iops=150 network_mbps=40").unwrap();
    vm.wait((150, 4882));
    let shown = acme.podzol("vm show limited").unwrap();
    assert_eq!(shown["limits"]["iops"], serde_json::json!({ "value": 150, "from": "offering" }));

    wait_until_well(&lab, Duration::from_secs(240)).unwrap();
    vm.virsh("blkdeviotune vda --total-iops-sec 77 --live");
    let found = findings(&admin).unwrap();
    let of_it = |finding: &Value| finding["code"] == "vm_limits" && finding["subject"] == vm.id.as_str();
    assert!(found.iter().any(of_it), "{found:?}");
    admin.command().args(["doctor", "--repair"]).output().unwrap();
    vm.wait((150, 4882));
    wait_until_well(&lab, Duration::from_secs(240)).unwrap();

    // It is the same run of the VM that has had them all.
    assert_eq!(vm.virsh("domid"), process);
    acme.podzol("vm delete limited --expunge --wait").unwrap();
    admin.podzol("offering delete limited").unwrap();
}
