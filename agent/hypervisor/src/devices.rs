//! The disks and network interfaces of a domain that runs, and the ISO in its CD drive, and what must change for them to be
//! as described: a pure function of what is there and what should be.
//!
//! What is there is asked of the hypervisor each time and never remembered, so a change that was cut off half-way is
//! finished by the next one, whatever description that one is for.
//!
//! # What a guest ejects
//! A guest that ejects its CD opens the drive's tray; the ISO lies in it, and libvirt tells it as the drive's all the same.
//! So the ISO is in the drive as described, and nothing is to be changed: what a guest has ejected stays out for it,
//! whatever else is changed meanwhile, until the guest closes the tray, or is reset: QEMU closes the tray then, as it does
//! at each start. Whoever has installed from an ISO, and boots from the drive first, detaches it. A drive that libvirt
//! tells as empty has no ISO, and gets it with the next description; nobody looks in between, so nothing goes in and out.
//!
//! Refused: to have an ejected ISO put back at each description, which guests would undo; and to take what a guest has
//! ejected for detached, as a guest that means to put it back, or is reset, has it again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use podzol_agent_api::host::Difference;
use podzol_agent_api::vm::{CdromPlan, DiskPlan, DiskSource, NicPlan, VmPlan};
use podzol_vocab::{ByteSize, InterfaceName, MacAddr, VolumeId};
use roxmltree::{Document, Node};

use crate::xml;

/// The disks and network interfaces that a domain has, and the ISO in its drive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// Its disks, without its seed.
    pub disks: Vec<DiskDevice>,
    /// Its network interfaces.
    pub nics: Vec<NicDevice>,
    /// What is in its CD drive.
    pub cd: Option<Cd>,
}

/// An ISO in the CD drive of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cd {
    /// Its file. Where the pool is mounted is left out if that is not known.
    pub file: PathBuf,
}

/// A disk that a domain has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskDevice {
    /// Its serial number, which tells the volume: see [`DiskDevice::is_of`].
    pub serial: String,
    /// The most I/O operations a second, or no limit.
    pub iops: Option<u64>,
    /// Its size, or what it was made with; nothing if it was not asked for.
    pub size: Option<ByteSize>,
}

/// A network interface that a domain has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NicDevice {
    /// Its MAC address.
    pub mac: MacAddr,
    /// The most traffic each way in KiB/s, as libvirt counts it, or no limit.
    pub average: Option<u64>,
}

/// A change of a domain that runs. What is so already is success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It gets a disk.
    AttachDisk(DiskPlan, PathBuf),
    /// It loses the disk with this serial number.
    DetachDisk(String),
    /// A disk gets another limit of I/O operations a second, or none.
    LimitDisk(VolumeId, Option<u64>),
    /// A disk gets a larger size.
    GrowDisk(VolumeId, ByteSize),
    /// It gets a network interface, plugged into this bridge.
    AttachNic(NicPlan, InterfaceName),
    /// It loses the network interface with this address.
    DetachNic(MacAddr),
    /// A network interface gets another limit in Mbit/s, or none.
    LimitNic(MacAddr, Option<u64>),
    /// It gets an ISO into its drive, whatever is in there.
    InsertCd(PathBuf),
    /// Its drive is emptied, whether its operating system lets go of the ISO or not.
    EjectCd,
}

impl Cd {
    /// The ISO of a description.
    pub fn of(cdrom: &CdromPlan) -> Self {
        let DiskSource::Nfs { file, .. } = &cdrom.source;
        Self { file: file.into() }
    }

    /// Whether it is the ISO of a description, wherever the pool is mounted.
    pub fn is_of(&self, cdrom: &CdromPlan) -> bool {
        self.file.ends_with(Self::of(cdrom).file)
    }
}

impl DiskDevice {
    /// The disk of a volume.
    pub fn of(disk: &DiskPlan) -> Self {
        Self { serial: xml::serial(disk.volume), iops: disk.iops, size: disk.size }
    }

    /// Whether it is the disk of this volume.
    pub fn is_of(&self, volume: VolumeId) -> bool {
        self.serial == xml::serial(volume)
    }
}

impl NicDevice {
    /// An interface as described.
    pub fn of(nic: &NicPlan) -> Self {
        Self { mac: nic.mac, average: nic.rate_mbps.map(xml::average) }
    }
}

impl Devices {
    /// The devices of a domain as it is described.
    pub fn of(plan: &VmPlan) -> Self {
        Self {
            disks: plan.disks.iter().map(DiskDevice::of).collect(),
            nics: plan.nics.iter().map(NicDevice::of).collect(),
            cd: plan.cdrom.as_ref().map(Cd::of),
        }
    }

    /// The disks of a description of which it matters how large they are.
    pub fn sized(plan: &VmPlan) -> Vec<VolumeId> {
        plan.disks.iter().filter(|disk| disk.size.is_some()).map(|disk| disk.volume).collect()
    }

    /// Whether these are the devices of a description, in its order. A disk may be larger than described.
    pub fn are_of(&self, plan: &VmPlan) -> bool {
        let wanted = Self::of(plan);
        let as_wanted = |(has, wanted): (&DiskDevice, &DiskDevice)| {
            has.serial == wanted.serial && has.iops == wanted.iops && has.size >= wanted.size
        };
        self.nics == wanted.nics
            && self.has_cd_of(plan)
            && self.disks.len() == wanted.disks.len()
            && self.disks.iter().zip(&wanted.disks).all(as_wanted)
    }

    /// Whether what is in the drive is what a description has there, be it nothing.
    fn has_cd_of(&self, plan: &VmPlan) -> bool {
        match (&self.cd, &plan.cdrom) {
            (Some(cd), Some(cdrom)) => cd.is_of(cdrom),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// In what those of these devices that a description has are other than in it.
    pub fn differences(&self, plan: &VmPlan) -> BTreeSet<Difference> {
        let mut differences = BTreeSet::new();
        for disk in &plan.disks {
            let Some(there) = self.disks.iter().find(|there| there.is_of(disk.volume)) else { continue };
            if there.iops != disk.iops {
                differences.insert(Difference::Limits);
            }
            if there.size < disk.size {
                differences.insert(Difference::DiskSize);
            }
        }
        for nic in plan.nics.iter().map(NicDevice::of) {
            if self.nics.iter().any(|there| there.mac == nic.mac && *there != nic) {
                differences.insert(Difference::Limits);
            }
        }
        if !self.has_cd_of(plan) {
            differences.insert(Difference::Iso);
        }
        differences
    }

    /// What must change for a domain with these devices to have those of a description; `files` and `bridges` are those
    /// of its disks and interfaces, in its order, and `iso` is that of its ISO. What goes comes first, to make room for
    /// what comes. The ISO comes last: a domain that was started before there were drives has no room for it.
    pub fn changes(
        &self,
        plan: &VmPlan,
        files: &[PathBuf],
        bridges: &[InterfaceName],
        iso: Option<&Path>,
    ) -> Vec<Change> {
        let unwanted_disks =
            self.disks.iter().filter(|disk| !plan.disks.iter().any(|w| disk.is_of(w.volume)));
        let unwanted_nics =
            self.nics.iter().filter(|nic| !plan.nics.iter().any(|wanted| wanted.mac == nic.mac));
        let mut changes: Vec<Change> = unwanted_disks
            .map(|disk| Change::DetachDisk(disk.serial.clone()))
            .chain(unwanted_nics.map(|nic| Change::DetachNic(nic.mac)))
            .collect();
        for (disk, file) in plan.disks.iter().zip(files) {
            match self.disks.iter().find(|there| there.is_of(disk.volume)) {
                None => changes.push(Change::AttachDisk(disk.clone(), file.clone())),
                Some(there) => {
                    if there.iops != disk.iops {
                        changes.push(Change::LimitDisk(disk.volume, disk.iops));
                    }
                    if let Some(size) = disk.size.filter(|size| there.size.is_none_or(|has| has < *size)) {
                        changes.push(Change::GrowDisk(disk.volume, size));
                    }
                }
            }
        }
        for (nic, bridge) in plan.nics.iter().zip(bridges) {
            match self.nics.iter().find(|there| there.mac == nic.mac) {
                None => changes.push(Change::AttachNic(nic.clone(), bridge.clone())),
                Some(there) if *there != NicDevice::of(nic) => {
                    changes.push(Change::LimitNic(nic.mac, nic.rate_mbps));
                }
                Some(_) => {}
            }
        }
        if !self.has_cd_of(plan) {
            changes.push(iso.map_or(Change::EjectCd, |iso| Change::InsertCd(iso.to_owned())));
        }
        changes
    }

    /// Makes a change, as a hypervisor in memory does.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::AttachDisk(disk, _) => {
                self.disks.retain(|there| !there.is_of(disk.volume));
                self.disks.push(DiskDevice::of(disk));
            }
            Change::DetachDisk(serial) => self.disks.retain(|there| there.serial != *serial),
            Change::LimitDisk(volume, iops) => {
                self.disks
                    .iter_mut()
                    .filter(|there| there.is_of(*volume))
                    .for_each(|there| there.iops = *iops);
            }
            Change::GrowDisk(volume, size) => {
                let grown = self.disks.iter_mut().filter(|there| there.is_of(*volume));
                grown.for_each(|there| there.size = Some(*size));
            }
            Change::AttachNic(nic, _) => {
                self.nics.retain(|there| there.mac != nic.mac);
                self.nics.push(NicDevice::of(nic));
            }
            Change::DetachNic(mac) => self.nics.retain(|there| there.mac != *mac),
            Change::LimitNic(mac, rate) => {
                let average = rate.map(xml::average);
                let limited = self.nics.iter_mut().filter(|there| there.mac == *mac);
                limited.for_each(|there| there.average = average);
            }
            Change::InsertCd(file) => self.cd = Some(Cd { file: file.clone() }),
            Change::EjectCd => self.cd = None,
        }
    }
}

/// A live domain's XML, in which devices are found.
pub(crate) struct LiveXml<'a>(Document<'a>);

impl<'a> LiveXml<'a> {
    /// # Errors
    /// When it is no XML: what is wrong.
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        Document::parse(text).map(Self).map_err(|error| format!("the domain's XML cannot be read: {error}"))
    }

    fn elements(&self, name: &'static str) -> impl Iterator<Item = Node<'_, 'a>> {
        let devices = self.0.root_element().children().find(|node| node.has_tag_name("devices"));
        devices.into_iter().flat_map(|devices| devices.children()).filter(move |node| node.has_tag_name(name))
    }

    /// The disks with a serial number, the network interfaces, and what is in the drive.
    pub(crate) fn devices(&self) -> Devices {
        let disk = |node: Node<'_, '_>| {
            let iops = child(node, "iotune").and_then(|tune| text(tune, "total_iops_sec"));
            Some(DiskDevice {
                serial: text(node, "serial")?.to_owned(),
                iops: iops.and_then(|iops| iops.parse().ok()).filter(|iops| *iops > 0),
                size: None,
            })
        };
        let nic = |node: Node<'_, '_>| {
            let limit = child(node, "bandwidth").and_then(|limit| child(limit, "inbound"));
            Some(NicDevice {
                mac: child(node, "mac")?.attribute("address")?.parse().ok()?,
                average: limit.and_then(|limit| limit.attribute("average")?.parse().ok()),
            })
        };
        Devices {
            disks: self.elements("disk").filter_map(disk).collect(),
            nics: self.elements("interface").filter_map(nic).collect(),
            cd: self.cd(),
        }
    }

    /// The UNIX socket of the display, which libvirt names when the domain starts.
    pub(crate) fn display(&self) -> Option<PathBuf> {
        let is_socket = |node: &Node<'_, '_>| node.attribute("type") == Some("socket");
        let vnc = self.elements("graphics").find(|node| node.attribute("type") == Some("vnc"))?;
        let listen = vnc.children().filter(|node| node.has_tag_name("listen")).find(is_socket)?;
        listen.attribute("socket").map(PathBuf::from)
    }

    /// Whether there is a CD drive.
    pub(crate) fn has_drive(&self) -> bool {
        self.drive().is_some()
    }

    /// What is in the CD drive.
    pub(crate) fn cd(&self) -> Option<Cd> {
        let file = child(self.drive()?, "source")?.attribute("file")?;
        Some(Cd { file: file.into() })
    }

    fn drive(&self) -> Option<Node<'_, 'a>> {
        self.elements("disk").find(|node| node.attribute("device") == Some("cdrom"))
    }

    /// The element of the disk with a serial number.
    pub(crate) fn disk(&self, serial: &str) -> Option<&str> {
        let found = self.elements("disk").find(|node| text(*node, "serial") == Some(serial))?;
        Some(&self.0.input_text()[found.range()])
    }

    /// The names of the disks with a serial number, each with it.
    pub(crate) fn disk_names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.elements("disk")
            .filter_map(|node| Some((text(node, "serial")?, child(node, "target")?.attribute("dev")?)))
    }

    /// The name of the disk with a serial number, such as `vdb`.
    pub(crate) fn disk_name(&self, serial: &str) -> Option<&str> {
        let found = self.elements("disk").find(|node| text(*node, "serial") == Some(serial))?;
        child(found, "target")?.attribute("dev")
    }

    /// The first slot whose name no disk has.
    pub(crate) fn free_slot(&self) -> usize {
        let names: Vec<&str> = self
            .elements("disk")
            .filter_map(|node| child(node, "target").and_then(|target| target.attribute("dev")))
            .collect();
        (0..).find(|slot| !names.contains(&xml::disk_name(*slot).as_str())).unwrap_or(names.len())
    }

    /// The element of the network interface with an address.
    pub(crate) fn nic(&self, mac: MacAddr) -> Option<&str> {
        let is = |node: &Node<'_, '_>| {
            let address = child(*node, "mac").and_then(|mac| mac.attribute("address"));
            address.and_then(|address| address.parse().ok()) == Some(mac)
        };
        let found = self.elements("interface").find(is)?;
        Some(&self.0.input_text()[found.range()])
    }
}

fn child<'a, 'b>(node: Node<'a, 'b>, name: &str) -> Option<Node<'a, 'b>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(node, name)?.text()
}

/// The element of a network interface with another limit, or none.
///
/// # Errors
/// When it is no such element.
pub(crate) fn limited(element: &str, rate_mbps: Option<u64>) -> Result<String, String> {
    let document = Document::parse(element).map_err(|error| error.to_string())?;
    let limit = child(document.root_element(), "bandwidth").map(|limit| limit.range());
    let mut changed = element.to_owned();
    if let Some(range) = limit {
        changed.replace_range(range, "");
    }
    let end = changed.rfind("</interface>").ok_or("the interface's element does not end")?;
    changed.insert_str(end, &rate_mbps.map(xml::bandwidth_xml).unwrap_or_default());
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::tests::{example, with_iso};

    fn described() -> (VmPlan, Vec<PathBuf>, Vec<InterfaceName>) {
        let domain = example();
        (domain.plan, domain.disks, domain.bridges)
    }

    #[test]
    fn a_domain_made_of_a_description_has_its_devices_and_nothing_to_change() {
        let text = xml::domain(&example());
        let live = LiveXml::parse(&text).unwrap();
        let (plan, files, bridges) = described();
        assert_eq!(live.devices(), Devices::of(&plan));
        assert_eq!(live.devices().changes(&plan, &files, &bridges, None), []);
        assert!(live.has_drive() && live.cd().is_none());
        assert_eq!(live.free_slot(), 2);
        assert_eq!(live.disk_name(&xml::serial(plan.disks[0].volume)), Some("vda"));
        assert!(live.nic(plan.nics[0].mac).unwrap().contains("pzb100"));
        assert!(live.disk(&xml::serial(plan.disks[0].volume)).unwrap().starts_with("<disk"));
    }

    #[test]
    fn a_display_has_a_socket_only_once_libvirt_has_named_it() {
        let described = xml::domain(&example());
        assert_eq!(LiveXml::parse(&described).unwrap().display(), None);
        let path = "/var/lib/libvirt/qemu/domain-1-a/vnc.sock";
        let running =
            described.replace("<listen type='socket'/>", &format!("<listen type='socket' socket='{path}'/>"));
        assert_eq!(LiveXml::parse(&running).unwrap().display(), Some(path.into()));
    }

    #[test]
    fn whatever_devices_there_are_the_changes_lead_to_those_described() {
        let (mut plan, files, bridges) = described();
        let (files, bridges) =
            ([files[0].clone(), "/other".into()], [bridges[0].clone(), bridges[0].clone()]);
        let mut all = plan.clone();
        all.disks.push(DiskPlan { volume: VolumeId::new(), iops: None, ..plan.disks[0].clone() });
        all.nics.push(NicPlan { mac: "02:00:5e:10:00:02".parse().unwrap(), ..plan.nics[0].clone() });
        (plan.disks[0].iops, plan.nics[0].rate_mbps) = (None, None);
        for from in [&all, &plan, &VmPlan { disks: vec![], nics: vec![], ..plan.clone() }] {
            for to in [&all, &plan] {
                let mut devices = Devices::of(from);
                let changes = devices.changes(to, &files, &bridges, None);
                assert_eq!(changes.is_empty(), from == to);
                changes.iter().for_each(|change| devices.apply(change));
                assert_eq!(devices.changes(to, &files, &bridges, None), []);
            }
        }
    }

    #[test]
    fn an_iso_goes_in_and_out_and_is_known_by_its_file_wherever_its_pool_is_mounted() {
        let (empty, files, bridges) = described();
        let (domain, other) = (with_iso(false), with_iso(true));
        let (plan, iso) = (&domain.plan, domain.cdrom.clone().unwrap());
        let mut devices = Devices::of(&empty);
        let changes = devices.changes(plan, &files, &bridges, Some(&iso));
        assert_eq!(changes, [Change::InsertCd(iso.clone())]);
        devices.apply(&changes[0]);
        let text = xml::domain(&domain);
        assert_eq!(LiveXml::parse(&text).unwrap().cd(), devices.cd);
        // Whether it boots is no matter of a domain that runs.
        for same in [plan, &other.plan] {
            assert!(devices.are_of(same) && Devices::of(plan).are_of(same));
        }
        let mut another = plan.clone();
        let DiskSource::Nfs { file, .. } = &mut another.cdrom.as_mut().unwrap().source;
        *file = "templates/c.iso".into();
        assert!(!devices.are_of(&another) && !devices.are_of(&empty) && !Devices::of(&empty).are_of(plan));
        let other = PathBuf::from("/m/templates/c.iso");
        assert_eq!(devices.changes(&another, &files, &bridges, Some(&other)), [Change::InsertCd(other)]);
        assert_eq!(devices.changes(&empty, &files, &bridges, None), [Change::EjectCd]);
        devices.apply(&Change::EjectCd);
        assert_eq!(devices, Devices::of(&empty));
    }

    #[test]
    fn what_a_guest_has_ejected_is_still_its_drives_and_a_domain_of_old_has_no_drive() {
        let drive = "<target dev='sda' bus='sata'/>";
        let ejected =
            xml::domain(&with_iso(false)).replace(drive, "<target dev='sda' bus='sata' tray='open'/>");
        let live = LiveXml::parse(&ejected).unwrap();
        assert!(ejected.contains("tray='open'") && live.devices().are_of(&with_iso(false).plan));
        let of_old = xml::domain(&example()).replace("device='cdrom'", "device='disk'");
        assert!(!LiveXml::parse(&of_old).unwrap().has_drive());
    }

    #[test]
    fn an_interface_gets_another_limit_or_none_and_keeps_the_rest() {
        let text = xml::domain(&example());
        let live = LiveXml::parse(&text).unwrap();
        let nic = live.nic(example().plan.nics[0].mac).unwrap();
        let none = limited(nic, None).unwrap();
        assert!(!none.contains("bandwidth") && none.contains("<mac address") && none.contains("<model"));
        let other = limited(&limited(nic, Some(8)).unwrap(), Some(80)).unwrap();
        assert_eq!(other.matches("average='9765'").count(), 2, "{other}");
        assert_eq!(other.matches("<bandwidth>").count(), 1, "{other}");
    }
}
