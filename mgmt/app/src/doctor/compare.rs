//! What differs on a host from what its VMs' rows say.

use std::collections::{BTreeMap, BTreeSet};

use podzol_agent_api::host::{Difference, HostInventory};
use podzol_mgmt_api::doctor::Finding;
use podzol_vocab::{Generation, MacAddr, Tag, VmId};

use crate::report::STANDS_STILL;

/// In what a VM can be other than described, with the code of the finding and in words.
pub(super) const DIFFERENCES: [(Difference, &str, &str); 5] = [
    (Difference::Pause, "vm_pause", "stands still and should run, or the other way round"),
    (Difference::Limits, "vm_limits", "has other limits of traffic or I/O than it should"),
    (Difference::DiskSize, "vm_disk_size", "has a smaller disk than it should"),
    (Difference::Iso, "vm_iso", "has in its CD drive what should not be there, or not what should"),
    (
        Difference::ConfigDrive,
        "config_drive_missing",
        "has no config drive that it could read when it next boots",
    ),
];

/// A VM on a host, as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) name: String,
    pub(super) generation: Generation,
    /// Whether it must be there as described: nothing is being done with it.
    pub(super) settled: bool,
    /// Whether it is known to stand still because it could not go on.
    pub(super) stands_still: bool,
    pub(super) disks: BTreeSet<String>,
    pub(super) nics: BTreeSet<MacAddr>,
    /// In which network's bridge each of its ports is.
    pub(super) ports: BTreeMap<MacAddr, Tag>,
    pub(super) networks: BTreeSet<Tag>,
    pub(super) mounts: BTreeSet<String>,
}

/// What differs on a host from what its VMs' rows say.
pub(super) fn compare(place: &str, vms: &BTreeMap<VmId, Placed>, has: &HostInventory) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |code: &str, subject: String, detail: String, cause: Option<&str>| {
        let (place, code, cause) = (place.to_owned(), code.to_owned(), cause.map(str::to_owned));
        findings.push(Finding { place, code, subject, detail, cause });
    };
    let domains: BTreeMap<VmId, _> = has.domains.iter().map(|domain| (domain.vm, domain)).collect();
    let behind = "somebody else has changed it; a repair puts it right";
    for (id, vm) in vms.iter().filter(|(_, vm)| vm.settled) {
        let Some(domain) = domains.get(id).filter(|domain| domain.runs) else {
            let cause = "its host reports that within seconds; then it is started again, or taken as stopped, or replaced as a console proxy is";
            add("vm_missing", id.to_string(), format!("VM {} should run and does not", vm.name), Some(cause));
            continue;
        };
        if domain.generation != Some(vm.generation) {
            let known = domain.generation.map_or("one that cannot be read".into(), |known| known.to_string());
            let detail = format!("VM {} runs with description {known}, not {}", vm.name, vm.generation);
            add("vm_outdated", id.to_string(), detail, Some("its host is told again when it next reports"));
        }
        if domain.unanswered {
            let cause = "it hangs, as one does whose storage is away";
            add(
                "vm_no_answer",
                id.to_string(),
                format!("QEMU of VM {} does not answer", vm.name),
                Some(cause),
            );
            continue;
        }
        let (disks, nics) = (domain.disks.iter().cloned().collect(), domain.nics.iter().copied().collect());
        if vm.disks != disks {
            let detail = format!("VM {} has the disks {disks:?}, not {:?}", vm.name, vm.disks);
            add("vm_disks", id.to_string(), detail, Some(behind));
        }
        if vm.nics != nics {
            let detail = format!("VM {} has the interfaces {nics:?}, not {:?}", vm.name, vm.nics);
            add("vm_nics", id.to_string(), detail, Some(behind));
        }
    }
    for (id, domain) in &domains {
        let Some(vm) = vms.get(id).filter(|vm| vm.settled && domain.generation == Some(vm.generation)) else {
            continue;
        };
        for (which, code, what) in DIFFERENCES.iter().filter(|(which, ..)| domain.differs.contains(which)) {
            if *which == Difference::Pause && vm.stands_still {
                // Its host has it go on as soon as it can; a new description would change nothing.
                add("vm_stands_still", id.to_string(), format!("VM {}: {STANDS_STILL}", vm.name), None);
            } else {
                add(code, id.to_string(), format!("VM {} {what}", vm.name), Some(behind));
            }
        }
        let Some(ports) = &has.ports else { continue };
        // Of a network that is not whole, that is the finding.
        let to_look_at = |mac: &MacAddr, tag: &Tag| domain.nics.contains(mac) && has.networks.contains(tag);
        for (mac, tag) in vm.ports.iter().filter(|(mac, tag)| to_look_at(mac, tag)) {
            match ports.get(mac) {
                None => {
                    let cause = "somebody else has removed it; the VM gets another when it is next started";
                    let detail = format!("the link of the port of {mac} is gone");
                    add("port_missing", mac.to_string(), detail, Some(cause));
                }
                Some(found) if *found == Some(*tag) => {}
                Some(_) => {
                    let cause =
                        "the agent plugs it in when it next looks, unless it is in an operator's bridge";
                    let detail = format!("the port of {mac} is not in the bridge of {tag}");
                    add("port_unplugged", mac.to_string(), detail, Some(cause));
                }
            }
        }
    }
    let stray = "it should not be here; it is removed when its host next reports";
    for vm in domains.keys().filter(|vm| !vms.contains_key(vm)) {
        add("vm_stray", vm.to_string(), "a domain without a VM here".into(), Some(stray));
    }
    for vm in has.files.iter().filter(|vm| !vms.contains_key(vm)) {
        let cause = "the agent removes it when it next looks, unless a domain needs it";
        add("files_left_over", vm.to_string(), "files without a VM here".into(), Some(cause));
    }
    let all = |settled: bool| vms.values().filter(move |vm| vm.settled || !settled);
    let agent = "the agent puts it right when it next looks";
    let needed: BTreeSet<Tag> = all(true).flat_map(|vm| vm.networks.clone()).collect();
    let allowed: BTreeSet<Tag> = all(false).flat_map(|vm| vm.networks.clone()).collect();
    let there: BTreeSet<Tag> = has.networks.iter().copied().collect();
    for tag in needed.difference(&there) {
        let detail = format!("no bridge of {tag}, or no interface by which it leaves the host");
        add("network_missing", u32::from(*tag).to_string(), detail, Some(agent));
    }
    for tag in there.difference(&allowed) {
        let detail = format!("{tag} is there for no VM");
        add("network_left_over", u32::from(*tag).to_string(), detail, Some(agent));
    }
    for link in &has.odd_links {
        let half = |tag: &Tag| {
            let number = u32::from(*tag);
            ["pzb", "pzv", "pzx"].iter().any(|half| *link.as_str() == format!("{half}{number}"))
        };
        if !allowed.iter().any(half) {
            add("link_left_over", link.to_string(), format!("{link} is half of a network"), Some(agent));
        }
    }
    if has.rules_changed {
        let detail = "the rules about VMs' ports are not as they were made".to_owned();
        add("rules_changed", "podzol".into(), detail, Some(agent));
    }
    let needed: BTreeSet<MacAddr> = all(true).flat_map(|vm| vm.nics.clone()).collect();
    let allowed: BTreeSet<MacAddr> = all(false).flat_map(|vm| vm.nics.clone()).collect();
    let there: BTreeSet<MacAddr> = has.guarded.iter().copied().collect();
    for mac in needed.difference(&there) {
        add("port_unguarded", mac.to_string(), format!("the port of {mac} has no rules"), Some(agent));
    }
    for mac in there.difference(&allowed) {
        add(
            "rules_left_over",
            mac.to_string(),
            format!("rules for {mac}, which no VM here has"),
            Some(agent),
        );
    }
    let needed: BTreeSet<String> = all(true).flat_map(|vm| vm.mounts.clone()).collect();
    let allowed: BTreeSet<String> = all(false).flat_map(|vm| vm.mounts.clone()).collect();
    let there: BTreeSet<String> = has.mounts.iter().cloned().collect();
    for mount in needed.difference(&there) {
        add(
            "mount_missing",
            mount.clone(),
            format!("{mount} is not mounted"),
            Some("its VMs cannot read or write"),
        );
    }
    for mount in there.difference(&allowed) {
        add("mount_left_over", mount.clone(), format!("{mount} is mounted for no VM"), Some(agent));
    }
    findings
}

#[cfg(test)]
mod tests {
    use podzol_agent_api::host::DomainFound;

    use super::*;

    fn placed() -> BTreeMap<VmId, Placed> {
        let vm = Placed {
            name: "web".into(),
            generation: Generation(3),
            settled: true,
            stands_still: false,
            disks: ["d1".to_owned()].into(),
            nics: ["02:00:5e:10:00:01".parse().unwrap()].into(),
            ports: [("02:00:5e:10:00:01".parse().unwrap(), 100.try_into().unwrap())].into(),
            networks: [100.try_into().unwrap()].into(),
            mounts: ["s:/p".to_owned()].into(),
        };
        [(VmId::from_bytes([1; 16]), vm)].into()
    }

    fn there() -> HostInventory {
        let vm = VmId::from_bytes([1; 16]);
        let mac = "02:00:5e:10:00:01".parse().unwrap();
        let (generation, disks, nics) = (Some(Generation(3)), vec!["d1".into()], vec![mac]);
        HostInventory {
            domains: vec![DomainFound {
                vm,
                runs: true,
                generation,
                disks,
                nics,
                differs: vec![],
                unanswered: false,
            }],
            networks: vec![100.try_into().unwrap()],
            vxlans: vec![],
            odd_links: vec![],
            guarded: vec![mac],
            rules_changed: false,
            ports: Some([(mac, Some(100.try_into().unwrap()))].into()),
            mounts: vec!["s:/p".into()],
            files: vec![vm],
        }
    }

    fn codes(vms: &BTreeMap<VmId, Placed>, has: &HostInventory) -> Vec<String> {
        compare("host h1", vms, has).into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn a_host_that_is_as_it_should_be_has_no_findings() {
        assert_eq!(codes(&placed(), &there()), Vec::<String>::new());
        assert_eq!(codes(&BTreeMap::new(), &HostInventory::default()), Vec::<String>::new());
    }

    #[test]
    fn all_that_is_missing_is_found_and_all_that_is_left_over() {
        let missing = ["vm_missing", "network_missing", "port_unguarded", "mount_missing"];
        assert_eq!(codes(&placed(), &HostInventory::default()), missing);
        let left = ["vm_stray", "files_left_over", "network_left_over", "rules_left_over", "mount_left_over"];
        assert_eq!(codes(&BTreeMap::new(), &there()), left);
    }

    #[test]
    fn a_port_in_another_bridge_or_without_its_link_is_found_and_so_are_other_rules() {
        let mac = "02:00:5e:10:00:01".parse().unwrap();
        for elsewhere in [None, Some(101.try_into().unwrap())] {
            let ports = Some([(mac, elsewhere)].into());
            assert_eq!(codes(&placed(), &HostInventory { ports, ..there() }), ["port_unplugged"]);
        }
        let gone = HostInventory { ports: Some(BTreeMap::new()), ..there() };
        assert_eq!(codes(&placed(), &gone), ["port_missing"]);
        assert_eq!(codes(&placed(), &HostInventory { ports: None, ..there() }), Vec::<String>::new());
        assert_eq!(codes(&placed(), &HostInventory { rules_changed: true, ..there() }), ["rules_changed"]);
    }

    #[test]
    fn what_is_being_worked_on_may_be_there_or_not() {
        let mut vms = placed();
        vms.values_mut().for_each(|vm| vm.settled = false);
        for has in [there(), HostInventory::default()] {
            assert_eq!(codes(&vms, &has), Vec::<String>::new());
        }
    }

    #[test]
    fn what_a_vm_has_otherwise_than_its_description_is_found_if_that_is_the_newest() {
        let mut has = there();
        has.domains[0].differs = vec![Difference::Pause, Difference::Limits, Difference::ConfigDrive];
        assert_eq!(codes(&placed(), &has), ["vm_pause", "vm_limits", "config_drive_missing"]);
        let mut vms = placed();
        vms.values_mut().for_each(|vm| vm.stands_still = true);
        assert_eq!(codes(&vms, &has), ["vm_stands_still", "vm_limits", "config_drive_missing"]);
        has.domains[0].generation = Some(Generation(2));
        assert_eq!(codes(&placed(), &has), ["vm_outdated"]);
    }

    #[test]
    fn of_a_vm_that_does_not_answer_nothing_else_is_said() {
        let mut has = there();
        let domain = &mut has.domains[0];
        (domain.unanswered, domain.disks, domain.nics) = (true, vec![], vec![]);
        has.ports = Some(BTreeMap::new());
        assert_eq!(codes(&placed(), &has), ["vm_no_answer"]);
    }

    #[test]
    fn a_vm_that_runs_otherwise_than_described_is_found() {
        let mut has = there();
        has.domains[0].generation = Some(Generation(2));
        has.domains[0].disks.push("d2".into());
        has.domains[0].nics.clear();
        has.odd_links.push("pzb200".parse().unwrap());
        assert_eq!(codes(&placed(), &has), ["vm_outdated", "vm_disks", "vm_nics", "link_left_over"]);
    }
}
