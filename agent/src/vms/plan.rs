//! A VM's description: what it needs of the host, the rules it must keep, and what of it a running VM can take.

use std::collections::{BTreeSet, HashSet};

use podzol_agent_api::vm::{DiskPlan, DiskSource, NicPlan, VmPlan};
use podzol_hostnet::Segment;
use podzol_vocab::{ErrorCode, VmId, WireError};

use crate::guards::Port;
use crate::mounts::Export;

/// The most virtual CPUs: KVM numbers them with 8 bits, of which one number means all of them.
const MAX_VCPUS: u32 = 254;

/// The highest limit of a network interface in Mbit/s: a Tbit/s.
const MAX_RATE_MBPS: u64 = 1_000_000;

/// The networks that must be made for a VM: all of its own but those of the host, which has them or not.
pub(super) fn segments_of(plan: Option<&VmPlan>) -> BTreeSet<Segment> {
    let nics = plan.map(|plan| plan.nics.as_slice()).unwrap_or_default();
    let to_make = nics.iter().filter(|nic| nic.tag.traffic().is_none());
    to_make.map(|nic| Segment { tag: nic.tag, network: nic.network }).collect()
}

/// The ports that a VM has.
pub(super) fn ports_of(plan: Option<&VmPlan>) -> BTreeSet<Port> {
    let nics = plan.map(|plan| plan.nics.as_slice()).unwrap_or_default();
    nics.iter().map(Port::of).collect()
}

/// The exports that a VM needs.
pub(super) fn exports_of(plan: Option<&VmPlan>) -> HashSet<Export> {
    let disks = plan.map(|plan| plan.disks.as_slice()).unwrap_or_default().iter().map(|disk| &disk.source);
    let cdrom = plan.and_then(|plan| plan.cdrom.as_ref()).map(|cdrom| &cdrom.source);
    disks.chain(cdrom).map(|source| export_of(source).0).collect()
}

/// The export that a file is in, and its path below that.
pub(super) fn export_of(source: &DiskSource) -> (Export, &str) {
    let DiskSource::Nfs { server, export, file } = source;
    (Export { server: server.clone(), path: export.clone() }, file)
}

/// What differs between two descriptions that a VM can only take while it does not run. Disks and network interfaces come
/// and go while it runs, and so do their limits; what else they are stays. The disk that it booted from stays, too. The
/// seed is read at boot, and so is the name in it; reboots and pauses are of a VM that runs. An ISO comes and goes, and
/// whether it is booted from matters at the next start.
pub(super) fn differences(one: &VmPlan, other: &VmPlan) -> Vec<&'static str> {
    let VmPlan { name, vcpus, cpu_share, memory_mib, disks, nics, .. } = one;
    let other_disk = |disk: &DiskPlan| {
        let same = other.disks.iter().find(|other| other.volume == disk.volume);
        same.is_some_and(|same| same.source != disk.source)
    };
    let other_nic = |nic: &NicPlan| {
        let same = other.nics.iter().find(|other| other.nic == nic.nic || other.mac == nic.mac);
        same.is_some_and(|same| {
            let NicPlan { rate_mbps, may_route, address6, .. } = *nic;
            NicPlan { rate_mbps, may_route, address6, ..same.clone() } != *nic
        })
    };
    let boots_from = |plan: &VmPlan| plan.disks.first().map(|disk| disk.volume);
    [
        ("name", *name != other.name),
        ("vcpus", *vcpus != other.vcpus),
        ("cpu_share", *cpu_share != other.cpu_share),
        ("memory_mib", *memory_mib != other.memory_mib),
        ("disks", boots_from(one) != boots_from(other) || disks.iter().any(other_disk)),
        ("nics", nics.iter().any(other_nic)),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

/// The rules that a description must keep beyond its types.
pub(super) fn check_plan(vm: VmId, plan: &VmPlan) -> Result<(), WireError> {
    let rules = [
        (plan.vm == vm, "plan.vm: must be the VM in the path"),
        ((1..=MAX_VCPUS).contains(&plan.vcpus), "plan.vcpus: must be 1 to 254"),
        ((1..=10_000).contains(&plan.cpu_share), "plan.cpu_share: must be 1 to 10000"),
        (plan.memory_mib > 0, "plan.memory_mib: must not be 0"),
        ((1..=24).contains(&plan.disks.len()), "plan.disks: must be 1 to 24 disks"),
        (all_differ(plan.disks.iter().map(|disk| disk.volume)), "plan.disks: must name a volume only once"),
        (all_differ(plan.nics.iter().map(|nic| nic.mac)), "plan.nics: must have addresses of their own"),
        (
            plan.disks.iter().all(|disk| names_a_file(&disk.source)),
            "plan.disks: must name a file below an exported folder",
        ),
        (
            plan.cdrom.iter().all(|cdrom| names_a_file(&cdrom.source)),
            "plan.cdrom: must name a file below an exported folder",
        ),
        // libvirt takes 0 for no limit.
        (plan.disks.iter().all(|disk| disk.iops != Some(0)), "plan.disks: iops must not be 0"),
        (plan.nics.iter().all(has_sensible_rate), "plan.nics: rate_mbps must be 1 to 1000000"),
    ];
    match rules.into_iter().find(|(holds, _)| !holds) {
        Some((_, rule)) => Err(WireError::new(ErrorCode::Invalid, rule)),
        None => Ok(()),
    }
}

fn all_differ<T: Eq + std::hash::Hash>(mut items: impl Iterator<Item = T>) -> bool {
    let mut seen = HashSet::new();
    items.all(|item| seen.insert(item))
}

fn names_a_file(source: &DiskSource) -> bool {
    let DiskSource::Nfs { server, export, file } = source;
    let plain = |text: &str| !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    let inside = file.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    [server, export, file].into_iter().all(|text| plain(text))
        && !server.starts_with('-')
        && export.starts_with('/')
        && inside
}

fn has_sensible_rate(nic: &NicPlan) -> bool {
    nic.rate_mbps.is_none_or(|rate| (1..=MAX_RATE_MBPS).contains(&rate))
}

#[cfg(test)]
pub(super) mod tests {
    use podzol_agent_api::vm::{CdromPlan, Seed};
    use podzol_vocab::{Generation, NetworkId, NicId, Secret, VolumeId};

    use super::*;

    pub(in crate::vms) fn example() -> VmPlan {
        let source =
            DiskSource::Nfs { server: "10.0.0.3".into(), export: "/srv/p".into(), file: "a/b".into() };
        VmPlan {
            vm: VmId::from_bytes([1; 16]),
            generation: Generation(1),
            name: "web".parse().unwrap(),
            vcpus: 1,
            cpu_share: 100,
            memory_mib: 64,
            disks: vec![DiskPlan { volume: VolumeId::from_bytes([2; 16]), source, iops: None, size: None }],
            nics: vec![NicPlan {
                nic: NicId::from_bytes([3; 16]),
                network: NetworkId::from_bytes([4; 16]),
                tag: 100.try_into().unwrap(),
                mac: "02:00:5e:10:00:01".parse().unwrap(),
                address: "10.1.1.2".parse().unwrap(),
                address6: None,
                rate_mbps: None,
                may_route: false,
            }],
            seed: Seed {
                meta_data: String::new(),
                user_data: Secret::new(String::new()),
                network_config: String::new(),
            },
            reboots: 0,
            paused: false,
            cdrom: None,
        }
    }

    /// An ISO in the pool of the example's disk.
    pub(in crate::vms) fn iso(file: &str) -> CdromPlan {
        let (server, export) = ("10.0.0.3".into(), "/srv/p".into());
        CdromPlan { source: DiskSource::Nfs { server, export, file: file.into() }, boots: false }
    }

    fn check(change: impl Fn(&mut VmPlan), expected: Option<&str>) {
        let mut plan = example();
        change(&mut plan);
        let broken = check_plan(example().vm, &plan).err().map(|error| error.message.into_owned());
        assert_eq!(broken.as_deref(), expected);
    }

    #[test]
    fn every_rule_has_its_error() {
        check(|_| {}, None);
        check(|plan| plan.vm = VmId::from_bytes([9; 16]), Some("plan.vm: must be the VM in the path"));
        check(|plan| plan.vcpus = 254, None);
        check(|plan| plan.vcpus = 255, Some("plan.vcpus: must be 1 to 254"));
        check(|plan| plan.cpu_share = 0, Some("plan.cpu_share: must be 1 to 10000"));
        check(|plan| plan.memory_mib = 0, Some("plan.memory_mib: must not be 0"));
        check(|plan| plan.disks.clear(), Some("plan.disks: must be 1 to 24 disks"));
        let twice = "plan.disks: must name a volume only once";
        check(|plan| plan.disks.push(plan.disks[0].clone()), Some(twice));
        let twice = "plan.nics: must have addresses of their own";
        check(|plan| plan.nics.push(plan.nics[0].clone()), Some(twice));
        check(|plan| plan.disks[0].iops = Some(0), Some("plan.disks: iops must not be 0"));
        check(|plan| plan.nics[0].rate_mbps = Some(1_000_000), None);
        for rate in [0, 1_000_001, u64::MAX] {
            let rule = "plan.nics: rate_mbps must be 1 to 1000000";
            check(|plan| plan.nics[0].rate_mbps = Some(rate), Some(rule));
        }
    }

    #[test]
    fn a_disk_is_a_file_below_an_exported_folder() {
        let source = |server: &str, export: &str, file: &str| DiskSource::Nfs {
            server: server.into(),
            export: export.into(),
            file: file.into(),
        };
        check(|plan| plan.disks[0].source = source("fd00::3", "/srv/p", "x.qcow2"), None);
        check(|plan| plan.cdrom = Some(iso("templates/x.iso")), None);
        for (server, export, file) in
            [("-o", "/e", "f"), ("s", "e", "f"), ("s", "/e", "../f"), ("s", "/e", "/f"), ("s", "/e x", "f")]
        {
            let rule = "plan.disks: must name a file below an exported folder";
            check(|plan| plan.disks[0].source = source(server, export, file), Some(rule));
            let cdrom = CdromPlan { source: source(server, export, file), boots: false };
            let rule = "plan.cdrom: must name a file below an exported folder";
            check(|plan| plan.cdrom = Some(cdrom.clone()), Some(rule));
        }
    }

    #[test]
    fn an_iso_needs_its_pool() {
        let mut plan = example();
        let mut cdrom = iso("templates/x.iso");
        let DiskSource::Nfs { export, .. } = &mut cdrom.source;
        *export = "/srv/q".into();
        plan.cdrom = Some(cdrom);
        let paths: BTreeSet<String> = exports_of(Some(&plan)).into_iter().map(|export| export.path).collect();
        assert_eq!(paths, ["/srv/p".to_owned(), "/srv/q".to_owned()].into());
    }

    #[test]
    fn a_running_vm_takes_reboots_seeds_limits_and_further_devices_and_nothing_else() {
        let mut other = example();
        other.cdrom = Some(iso("templates/x.iso"));
        (other.generation, other.reboots) = (Generation(2), 1);
        other.seed.meta_data = "m".into();
        (other.disks[0].iops, other.nics[0].rate_mbps) = (Some(10), Some(10));
        other.disks.push(DiskPlan { volume: VolumeId::new(), ..other.disks[0].clone() });
        let mac = "02:00:5e:10:00:02".parse().unwrap();
        other.nics.push(NicPlan { nic: NicId::new(), mac, ..other.nics[0].clone() });
        for (one, two) in [(&example(), &other), (&other, &example())] {
            assert_eq!(differences(one, two), Vec::<&str>::new());
        }
        other.memory_mib += 1;
        other.nics[0].tag = 101.try_into().unwrap();
        other.disks.remove(0);
        assert_eq!(differences(&example(), &other), ["memory_mib", "disks", "nics"]);
    }
}
