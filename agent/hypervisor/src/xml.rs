//! The domain XML of a VM, as libvirt takes it (<https://libvirt.org/formatdomain.html>): a pure function.

use std::fmt::Write;
use std::path::Path;

use podzol_agent_api::report::Accelerator;
use podzol_agent_api::vm::{DiskPlan, NicPlan};
use podzol_vocab::{InterfaceName, MacAddr, VolumeId, VxlanId};

use crate::record::RecordError;
use crate::{Domain, Record};

/// The XML namespace of the metadata.
pub const NAMESPACE: &str = "https://podzol.internal/vm/1";

/// The slots of devices that every VM has and none loses. libvirt gives low slots to others.
const USB_SLOT: u8 = 0x11;
const RNG_SLOT: u8 = 0x12;

/// The name of the CD drive. All disks are virtio disks, so none has one like it.
const CD_NAME: &str = "sda";

/// The domain XML of a VM.
///
/// Devices have fixed places where libvirt gives a choice that matters: virtio throughout, the seed as a read-only
/// virtio disk (Debian's cloud kernel has no SATA), VNC on a UNIX socket that libvirt places, no memory balloon and no
/// USB controller but the one for the tablet, without which a console's pointer drifts. The one exception is the CD drive,
/// which every VM has, with an ISO in it or empty, as libvirt adds no drive while a VM runs: it hangs on a SATA
/// controller, for which every installer has a driver, Windows' too.
///
/// The machine is `pc`, as QEMU is for Xen: each of its 31 slots takes a disk or an interface while the VM runs. A `q35`
/// needs a bridge for each such place, and firmware and kernel look into all of them: with 8 of them free, a VM leaves KVM
/// 34,900 times until it has booted, and 25,100 times on a `pc` (counted with the template `tiny`). What `q35` is better
/// for, PCI Express devices of the host and guarded firmware, no VM has.
///
/// There is no system management mode, which is for firmware that guards its variables from the system: SeaBIOS would pass
/// through it, back and forth, for each sector run that a boot loader reads.
///
/// Firmware tries the first disk and then the drive, or the other way round. It is told by device, as `<boot dev>` would
/// have it try all disks before the drive.
pub fn domain(domain: &Domain) -> String {
    let plan = &domain.plan;
    let mut xml = String::new();
    let kind = match domain.accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Emulation => "qemu",
    };
    let _ = write!(
        xml,
        "<domain type='{kind}'>\n  <name>{name}</name>\n  <uuid>{uuid}</uuid>\n  <metadata>\n{metadata}  </metadata>\n  \
         <memory unit='MiB'>{memory}</memory>\n  <vcpu>{vcpus}</vcpu>\n  \
         <cputune>\n    <shares>{share}</shares>\n  </cputune>\n  \
         <os>\n    <type arch='x86_64' machine='pc'>hvm</type>\n  </os>\n  \
         <features>\n    <acpi/>\n    <smm state='off'/>\n  </features>\n{cpu}  <clock offset='utc'/>\n  \
         <on_poweroff>destroy</on_poweroff>\n  <on_reboot>restart</on_reboot>\n  <on_crash>destroy</on_crash>\n  \
         <devices>\n",
        name = domain_name(domain),
        uuid = plan.vm,
        metadata = metadata(&Record::of(plan)),
        memory = plan.memory_mib,
        vcpus = plan.vcpus,
        share = plan.cpu_share,
        cpu = cpu(domain.accelerator),
    );
    let (disk_order, cd_order) =
        if plan.cdrom.as_ref().is_some_and(|cdrom| cdrom.boots) { (2, 1) } else { (1, 2) };
    for (slot, (disk, file)) in plan.disks.iter().zip(&domain.disks).enumerate() {
        xml.push_str(&disk_xml(slot, disk, file, (slot == 0).then_some(disk_order)));
    }
    xml.push_str(&seed_xml(plan.disks.len(), &domain.seed));
    xml.push_str(&cd_xml(domain.cdrom.as_deref(), Some(cd_order)));
    for (nic, bridge) in plan.nics.iter().zip(&domain.bridges) {
        xml.push_str(&nic_xml(nic, bridge.as_str()));
    }
    let _ = write!(
        xml,
        "    <serial type='unix'>\n      <source mode='bind' path='{socket}'/>\n      \
         <log file='{log}' append='on'/>\n      <target port='0'/>\n    </serial>\n    \
         <controller type='usb' model='qemu-xhci'>\n{usb}    </controller>\n    <input type='tablet' bus='usb'/>\n    \
         <graphics type='vnc'>\n      <listen type='socket'/>\n    </graphics>\n    \
         <video>\n      <model type='vga'/>\n    </video>\n    <memballoon model='none'/>\n    \
         <rng model='virtio'>\n      <backend model='random'>/dev/urandom</backend>\n{rng}    </rng>\n  </devices>\n</domain>\n",
        socket = escape(&domain.serial_socket.display().to_string()),
        log = escape(&domain.serial_log.display().to_string()),
        usb = in_slot(USB_SLOT),
        rng = in_slot(RNG_SLOT),
    );
    xml
}

/// A domain's name: unique on the host whatever customers call their VMs, and still telling.
fn domain_name(domain: &Domain) -> String {
    format!("{}-{}", domain.plan.name, domain.plan.vm)
}

/// The element that holds a record.
pub fn metadata(record: &Record) -> String {
    let text = serde_json::to_string(record).expect("a record has a JSON form");
    format!("    <podzol:vm xmlns:podzol='{NAMESPACE}'>{}</podzol:vm>\n", escape(&text))
}

/// The record in such an element.
///
/// # Errors
/// When it is no record.
pub fn read_metadata(element: &str) -> Result<Record, RecordError> {
    let inside = element.find('>').zip(element.rfind("</")).and_then(|(tag, end)| element.get(tag + 1..end));
    let text = inside.ok_or_else(|| RecordError("the element is empty".into()))?;
    Record::from_json(&unescape(text))
}

fn cpu(accelerator: Accelerator) -> String {
    match accelerator {
        Accelerator::Kvm => "  <cpu mode='host-passthrough'/>\n".into(),
        // `maximum` has features whose emulation inside an emulated host makes guests panic.
        Accelerator::Emulation => {
            "  <cpu mode='custom' match='exact'>\n    <model fallback='allow'>qemu64</model>\n  </cpu>\n"
                .into()
        }
    }
}

/// The name of a virtio disk in its slot: `vda`, `vdb`, …
pub(crate) fn disk_name(slot: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(slot % 26).unwrap_or(0));
    if slot < 26 {
        format!("vd{letter}")
    } else {
        format!("vd{}{letter}", char::from(b'a' + (slot / 26 - 1) as u8))
    }
}

/// The element of a disk, in the slot that gives it its name. One without an order is not booted from.
pub(crate) fn disk_xml(slot: usize, disk: &DiskPlan, file: &Path, order: Option<u32>) -> String {
    let iops = disk
        .iops
        .map(|iops| {
            format!("      <iotune>\n        <total_iops_sec>{iops}</total_iops_sec>\n      </iotune>\n")
        })
        .unwrap_or_default();
    format!(
        "    <disk type='file' device='disk'>\n      <driver name='qemu' type='qcow2' cache='none' io='native' \
         discard='unmap'/>\n      <source file='{file}'>\n        <seclabel model='dac' relabel='no'/>\n      </source>\n      \
         <target dev='{name}' bus='virtio'/>\n      <serial>{volume}</serial>\n{boot}{iops}    </disk>\n",
        file = escape(&file.display().to_string()),
        name = disk_name(slot),
        boot = boot_xml(order),
        volume = serial(disk.volume),
    )
}

fn seed_xml(slot: usize, file: &Path) -> String {
    format!(
        "    <disk type='file' device='disk'>\n      <driver name='qemu' type='raw'/>\n      <source file='{file}'/>\n      \
         <target dev='{name}' bus='virtio'/>\n      <readonly/>\n    </disk>\n",
        file = escape(&file.display().to_string()),
        name = disk_name(slot),
    )
}

/// The element that puts a device into a slot.
fn in_slot(slot: u8) -> String {
    format!("      <address type='pci' domain='0x0000' bus='0x00' slot='0x{slot:02x}' function='0x0'/>\n")
}

/// The element of the CD drive, with an ISO in it or empty. The file stays whose it is: it is on NFS, and every host reads
/// it.
pub(crate) fn cd_xml(file: Option<&Path>, order: Option<u32>) -> String {
    let source = file.map(|file| {
        let file = escape(&file.display().to_string());
        format!(
            "      <source file='{file}'>\n        <seclabel model='dac' relabel='no'/>\n      </source>\n"
        )
    });
    format!(
        "    <disk type='file' device='cdrom'>\n      <driver name='qemu' type='raw'/>\n{source}      \
         <target dev='{CD_NAME}' bus='sata'/>\n{boot}      <readonly/>\n    </disk>\n",
        source = source.unwrap_or_default(),
        boot = boot_xml(order),
    )
}

fn boot_xml(order: Option<u32>) -> String {
    order.map(|order| format!("      <boot order='{order}'/>\n")).unwrap_or_default()
}

/// The serial number by which a volume is known in a domain: virtio disks have room for 20 characters, so the first 20
/// digits of its id, of which the last ones are random.
pub(crate) fn serial(volume: VolumeId) -> String {
    volume.to_string().replace('-', "").chars().take(20).collect()
}

/// A rate in KiB/s, as libvirt counts it.
pub(crate) fn average(mbps: u64) -> u64 {
    (mbps * 1_000_000 / 8 / 1024).max(1)
}

/// The element that limits a network interface both ways.
pub(crate) fn bandwidth_xml(mbps: u64) -> String {
    let average = average(mbps);
    format!(
        "      <bandwidth>\n        <inbound average='{average}'/>\n        <outbound average='{average}'/>\n      \
         </bandwidth>\n"
    )
}

/// The name of the link by which a network interface is plugged into its bridge: the same on every host, and known before
/// there is one, so that its rules can be in force by then. Of the MAC address the first byte is left out, which says no
/// more than that it is a local one.
///
/// # Panics
/// Never: the name is short and plain.
pub fn port_name(mac: MacAddr) -> InterfaceName {
    let [_, rest @ ..] = mac.octets();
    let digits: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("pzt{digits}").parse().expect("13 letters and digits are an interface name")
}

/// The element of a network interface.
pub(crate) fn nic_xml(nic: &NicPlan, bridge: &str) -> String {
    let rate = nic.rate_mbps.map(bandwidth_xml);
    let mtu = nic.tag.vxlan().map(|_| format!("      <mtu size='{}'/>\n", VxlanId::MTU)).unwrap_or_default();
    format!(
        "    <interface type='bridge'>\n      <source bridge='{bridge}'/>\n      <mac address='{mac}'/>\n      \
         <target dev='{port}'/>\n      <model type='virtio'/>\n      <rom enabled='no'/>\n{rate}{mtu}    </interface>\n",
        mac = nic.mac,
        port = port_name(nic.mac),
        rate = rate.unwrap_or_default(),
    )
}

/// Text with what means something in XML written out.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&apos;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&apos;", "'")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

#[cfg(test)]
pub(crate) mod tests {
    use podzol_agent_api::vm::{CdromPlan, DiskSource, Seed, VmPlan};
    use podzol_vocab::{Generation, NetworkId, NicId, Secret, Tag, TrafficType, VmId, VolumeId};

    use super::*;

    pub(crate) fn example() -> Domain {
        let id = |last: u8| {
            let mut bytes = [0; 16];
            bytes[15] = last;
            bytes
        };
        let plan = VmPlan {
            vm: VmId::from_bytes(id(1)),
            generation: Generation(3),
            name: "web-1".parse().unwrap(),
            vcpus: 2,
            cpu_share: 200,
            memory_mib: 512,
            disks: vec![DiskPlan {
                volume: VolumeId::from_bytes(id(2)),
                source: DiskSource::Nfs {
                    server: "10.0.0.3".into(),
                    export: "/srv/p".into(),
                    file: "v/x&y.qcow2".into(),
                },
                iops: Some(500),
                size: None,
            }],
            nics: vec![NicPlan {
                nic: NicId::from_bytes(id(3)),
                network: NetworkId::from_bytes(id(4)),
                tag: Tag::try_from(100).unwrap(),
                mac: "02:00:5e:10:00:01".parse().unwrap(),
                address: "10.1.1.2".parse().unwrap(),
                address6: None,
                rate_mbps: Some(100),
                may_route: false,
            }],
            seed: Seed {
                meta_data: "m".into(),
                user_data: Secret::new("password: hunter2".into()),
                network_config: "n".into(),
            },
            reboots: 0,
            paused: false,
            cdrom: None,
        };
        Domain {
            plan,
            accelerator: Accelerator::Kvm,
            disks: vec!["/run/podzol/pools/p/v/x&y.qcow2".into()],
            cdrom: None,
            bridges: vec!["pzb100".parse().unwrap()],
            seed: "/run/podzol/vms/1/seed.iso".into(),
            serial_log: "/run/podzol/vms/1/serial.log".into(),
            serial_socket: "/run/podzol/vms/1/serial.sock".into(),
        }
    }

    /// The example with an ISO in its drive.
    pub(crate) fn with_iso(boots: bool) -> Domain {
        let mut domain = example();
        let source = DiskSource::Nfs {
            server: "10.0.0.3".into(),
            export: "/srv/p".into(),
            file: "templates/a&b.iso".into(),
        };
        domain.plan.cdrom = Some(CdromPlan { source, boots });
        domain.cdrom = Some("/run/podzol/pools/p/templates/a&b.iso".into());
        domain
    }

    #[test]
    fn an_iso_is_in_the_drive_and_is_tried_first_if_it_should_boot() {
        let empty = domain(&example());
        let [tried_last, tried_first] = [false, true].map(|boots| domain(&with_iso(boots)));
        let element = |xml: &str, name: &str| {
            let at = xml.find(name).unwrap();
            let (from, to) = (xml[..at].rfind("<disk").unwrap(), at + xml[at..].find("</disk>").unwrap());
            xml[from..to].to_owned()
        };
        let file = "<source file='/run/podzol/pools/p/templates/a&amp;b.iso'>";
        for (xml, disk, cd, has_iso) in
            [(&empty, 1, 2, false), (&tried_last, 1, 2, true), (&tried_first, 2, 1, true)]
        {
            assert!(element(xml, "dev='vda'").contains(&format!("<boot order='{disk}'/>")), "{xml}");
            let drive = element(xml, "dev='sda'");
            assert!(
                drive.contains(&format!("<boot order='{cd}'/>")) && drive.contains("<readonly/>"),
                "{drive}"
            );
            assert_eq!(drive.contains(file), has_iso, "{drive}");
            assert_eq!(xml.matches("<boot ").count(), 2, "{xml}");
        }
    }

    #[test]
    fn the_xml_of_a_vm_is_as_agreed() {
        let golden = include_str!("../tests/web-1.xml");
        let made = domain(&example());
        assert!(made == golden, "tests/web-1.xml differs; made:\n{made}");
    }

    #[test]
    fn the_description_is_read_from_the_xml_again_without_its_secrets() {
        let made = domain(&example());
        let start = made.find("    <podzol:vm").unwrap();
        let end = made.find("  </metadata>").unwrap();
        let record = read_metadata(&made[start..end]).unwrap();
        assert_eq!(record, Record::of(&example().plan));
        assert!(!made.contains("hunter2"));
    }

    #[test]
    fn an_element_without_a_record_is_an_error() {
        for element in ["", "<podzol:vm/>", "<podzol:vm></podzol:vm>", "<podzol:vm>{}</podzol:vm>"] {
            assert!(read_metadata(element).is_err(), "{element}");
        }
    }

    #[test]
    fn a_vm_on_a_vxlan_is_told_how_large_its_packets_may_be() {
        let mut nic = example().plan.nics.remove(0);
        assert!(!nic_xml(&nic, "pzb100").contains("<mtu"));
        nic.tag = Tag::try_from(5000).unwrap();
        assert!(nic_xml(&nic, "pzb5000").contains("<mtu size='1430'/>"));
    }

    #[test]
    fn the_xml_of_an_interface_on_the_hosts_public_network_is_as_agreed() {
        let mut nic = example().plan.nics.remove(0);
        (nic.tag, nic.may_route) = (Tag::Traffic(TrafficType::Public), true);
        let golden = include_str!("../tests/nic-public.xml");
        let made = nic_xml(&nic, "br-public");
        assert!(made == golden, "tests/nic-public.xml differs; made:\n{made}");
    }

    #[test]
    fn disks_are_named_in_order() {
        assert_eq!(
            [disk_name(0), disk_name(25), disk_name(26), disk_name(27)],
            ["vda", "vdz", "vdaa", "vdab"]
        );
    }
}
