//! Changing the devices of a domain that runs. What is so already is success, so each change looks first.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use podzol_vocab::{ByteSize, VolumeId};
use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

use super::threads::Abandoned;
use crate::Change;
use crate::devices::{self, Devices, LiveXml};
use crate::xml;

/// How long the VM's operating system has to let go of a device. One that is busy or still booting never may.
const LETS_GO: Duration = Duration::from_secs(20);

/// How often to look whether it has.
const LOOK: Duration = Duration::from_millis(100);

/// Why a device was not changed.
pub(super) enum Refused {
    /// libvirt says so.
    Libvirt(Error),
    /// For another reason.
    Other(String),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Libvirt(error)
    }
}

impl From<String> for Refused {
    fn from(reason: String) -> Self {
        Self::Other(reason)
    }
}

/// The devices of a domain, with the sizes of these of its disks.
pub(super) fn devices(domain: &Domain, sized: &[VolumeId]) -> Result<Devices, Refused> {
    let text = live(domain)?;
    let there = LiveXml::parse(&text)?;
    let mut devices = there.devices();
    for (serial, name) in there.disk_names() {
        let disk = devices.disks.iter_mut().find(|disk| disk.serial == serial);
        if let Some(disk) = disk.filter(|disk| sized.iter().any(|volume| disk.is_of(*volume))) {
            disk.size = Some(ByteSize(domain.get_block_info(name, 0)?.capacity));
        }
    }
    Ok(devices)
}

/// The UNIX socket of a domain's display.
pub(super) fn display(domain: &Domain) -> Result<Option<PathBuf>, Refused> {
    let text = live(domain)?;
    Ok(LiveXml::parse(&text)?.display())
}

/// Makes a change.
pub(super) fn make(domain: &Domain, change: &Change, abandoned: &Abandoned) -> Result<(), Refused> {
    let text = live(domain)?;
    let there = LiveXml::parse(&text)?;
    match change {
        Change::AttachDisk(disk, file) => {
            let missing = there.disk(&xml::serial(disk.volume)).is_none();
            if missing { attach(domain, &xml::disk_xml(there.free_slot(), disk, file, None)) } else { Ok(()) }
        }
        Change::AttachNic(nic, bridge) => {
            let missing = there.nic(nic.mac).is_none();
            if missing { attach(domain, &xml::nic_xml(nic, bridge.as_str())) } else { Ok(()) }
        }
        Change::DetachDisk(serial) => {
            detach(domain, there.disk(serial), abandoned, "disk", |there| there.disk(serial).is_none())
        }
        Change::DetachNic(mac) => {
            let gone = |there: &LiveXml<'_>| there.nic(*mac).is_none();
            detach(domain, there.nic(*mac), abandoned, "network interface", gone)
        }
        Change::LimitDisk(volume, iops) => {
            let name = there.disk_name(&xml::serial(*volume)).ok_or("it has no such disk".to_owned())?;
            Ok(limit_disk(domain, name, iops.unwrap_or(0))?)
        }
        Change::GrowDisk(volume, size) => {
            let name = there.disk_name(&xml::serial(*volume)).ok_or("it has no such disk".to_owned())?;
            if domain.get_block_info(name, 0)?.capacity < size.0 {
                domain.block_resize(name, size.0, sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES)?;
            }
            Ok(())
        }
        Change::LimitNic(mac, rate) => {
            let element = there.nic(*mac).ok_or("it has no such network interface".to_owned())?;
            domain.update_device_flags(&devices::limited(element, *rate)?, sys::VIR_DOMAIN_AFFECT_LIVE)?;
            Ok(())
        }
        Change::InsertCd(file) => {
            if !there.has_drive() {
                let reason =
                    "it has no CD drive, as it was started before VMs had one; stop it and start it again";
                return Err(Refused::Other(reason.into()));
            }
            if there.cd().is_some_and(|cd| cd.file == *file) {
                Ok(())
            } else {
                fill_drive(domain, Some(file))
            }
        }
        Change::EjectCd => {
            if there.cd().is_some() {
                fill_drive(domain, None)
            } else {
                Ok(())
            }
        }
    }
}

/// Puts an ISO into the drive, or empties it. By force: a guest can lock the tray, and keeps nothing in it all the same.
fn fill_drive(domain: &Domain, file: Option<&Path>) -> Result<(), Refused> {
    let flags = sys::VIR_DOMAIN_DEVICE_MODIFY_LIVE | sys::VIR_DOMAIN_DEVICE_MODIFY_FORCE;
    domain.update_device_flags(&xml::cd_xml(file, None), flags)?;
    Ok(())
}

fn live(domain: &Domain) -> Result<String, Error> {
    domain.get_xml_desc(0)
}

fn attach(domain: &Domain, element: &str) -> Result<(), Refused> {
    domain.attach_device_flags(element, sys::VIR_DOMAIN_AFFECT_LIVE)?;
    Ok(())
}

/// Has a device go, if it is there, and waits until the VM's operating system has let go of it. Asking again while it
/// has not yet is refused by QEMU and no error here.
fn detach(
    domain: &Domain,
    element: Option<&str>,
    abandoned: &Abandoned,
    what: &str,
    is_gone: impl Fn(&LiveXml<'_>) -> bool,
) -> Result<(), Refused> {
    let Some(element) = element else { return Ok(()) };
    let asked = domain.detach_device_flags(element, sys::VIR_DOMAIN_AFFECT_LIVE);
    let deadline = Instant::now() + LETS_GO;
    loop {
        if is_gone(&LiveXml::parse(&live(domain)?)?) {
            return Ok(());
        }
        if Instant::now() > deadline || abandoned.is_so() {
            let why = asked.err().map(|error| format!(": {}", error.message())).unwrap_or_default();
            return Err(Refused::Other(format!("its operating system has not let go of the {what}{why}")));
        }
        std::thread::sleep(LOOK);
    }
}

#[allow(unsafe_code)]
fn limit_disk(domain: &Domain, name: &str, iops: u64) -> Result<(), Error> {
    let Ok(name) = std::ffi::CString::new(name) else { return Ok(()) };
    let mut parameters = std::ptr::null_mut();
    let (mut count, mut room) = (0, 0);
    // SAFETY: libvirt makes the list and notes its length; the name of the parameter is a constant of libvirt's. The list
    // is freed once, after its only use.
    let done = unsafe {
        let field = sys::VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC.as_ptr();
        let added = sys::virTypedParamsAddULLong(&mut parameters, &mut count, &mut room, field, iops);
        let flags = sys::VIR_DOMAIN_AFFECT_LIVE;
        let done = if added < 0 {
            added
        } else {
            sys::virDomainSetBlockIoTune(domain.as_ptr(), name.as_ptr(), parameters, count, flags)
        };
        sys::virTypedParamsFree(parameters, count);
        done
    };
    if done < 0 { Err(Error::last_error()) } else { Ok(()) }
}
