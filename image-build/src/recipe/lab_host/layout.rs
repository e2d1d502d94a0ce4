//! The lab host's root after its packages are installed: the kernel's modules, the configuration, the file system.
//!
//! The configuration serves one end: a host that is ready in seconds under emulation, and on which Podzol finds what it
//! would find on an operator's server. Services that the lab does not want at start are masked, or only not enabled
//! where Podzol or a test starts them.

use std::path::Path;

use crate::BuildError;
use crate::files;
use crate::program::Program;
use crate::recipe::system::{self, FileSystem};

const MASKED_UNITS: &str = include_str!("../../../recipes/lab-host/masked-units");
const REMOVED_MODULES: &str = include_str!("../../../recipes/lab-host/removed-modules");

/// Configuration files, each with its place.
const CONFIGURATION: [(&str, &str); 10] = [
    ("etc/systemd/system.conf.d/lab.conf", include_str!("../../../recipes/lab-host/manager.conf")),
    ("etc/systemd/journald.conf.d/lab.conf", include_str!("../../../recipes/lab-host/journald.conf")),
    ("etc/systemd/system/ssh.service.d/lab.conf", include_str!("../../../recipes/lab-host/ssh-unit.conf")),
    (
        "etc/systemd/system/systemd-udev-trigger.service.d/lab.conf",
        include_str!("../../../recipes/lab-host/udev-trigger.conf"),
    ),
    ("etc/ssh/sshd_config.d/lab.conf", include_str!("../../../recipes/lab-host/sshd.conf")),
    ("etc/modules-load.d/lab.conf", include_str!("../../../recipes/lab-host/modules-load.conf")),
    ("etc/modprobe.d/lab.conf", include_str!("../../../recipes/lab-host/modprobe.conf")),
    ("etc/libvirt/qemu.conf", include_str!("../../../recipes/lab-host/qemu.conf")),
    ("etc/fstab", ""),
    ("etc/hosts", "127.0.0.1 localhost\n"),
];

/// Not started at boot, but there for who starts them: beginnings of the names of enabled units.
const NOT_ENABLED: [&str; 8] =
    ["nfs-server.", "rpcbind.", "nftables.", "nfs-client.", "libvirt", "virt", "iscsi", "open-iscsi."];
/// Started when somebody speaks to them.
const SOCKETS: [&str; 5] =
    ["iscsid.socket", "libvirtd.socket", "libvirtd-ro.socket", "virtlogd.socket", "virtlockd.socket"];
/// Nothing needs these in a lab; libvirt's default network would take an address range.
const REMOVED: [&str; 6] = [
    "etc/resolv.conf",
    "etc/libvirt/qemu/networks/autostart/default.xml",
    "usr/share/iso-codes",
    "usr/share/xml/iso-codes",
    "var/cache",
    "var/lib/apt/lists",
];

pub(super) const FILE_SYSTEM: FileSystem = FileSystem {
    // Room for what is installed later and for logs. The file is sparse.
    size: 2 << 30,
    label: "labroot",
    uuid: "6f4c7c1e-0000-4000-8000-000000000002",
    features: "^metadata_csum,^resize_inode",
};

/// Puts the kernel's modules in, without those that no lab host loads.
pub(super) fn add_modules(root: &Path, kernel: &Path, version: &str) -> Result<(), BuildError> {
    let folder = root.join("usr/lib/modules").join(version);
    let from = kernel.join("lib/modules").join(version);
    files::create_folder(&root.join("usr/lib/modules"))?;
    // The working folder is one file system, so this moves them.
    files::rename(&from, &folder)?;
    for name in REMOVED_MODULES.lines() {
        files::remove(&folder.join("kernel").join(name))?;
    }
    // Inside, with its own depmod: the file formats are then those of its own modprobe.
    Program::new("chroot").arg(root).args(["depmod", version]).run()?;
    Ok(())
}

/// Configures the root.
pub(super) fn configure(root: &Path) -> Result<(), BuildError> {
    let units = root.join("etc/systemd/system");
    for unit in MASKED_UNITS.lines() {
        files::link("/dev/null", &units.join(unit))?;
    }
    for path in files::walk(&units)? {
        let in_wants = path.parent().and_then(Path::extension).is_some_and(|extension| extension == "wants");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if in_wants && NOT_ENABLED.iter().any(|start| name.starts_with(start)) {
            files::remove(&path)?;
        }
    }
    for unit in SOCKETS {
        let target = format!("/lib/systemd/system/{unit}");
        files::link(&target, &units.join("sockets.target.wants").join(unit))?;
    }
    files::link("/lib/systemd/system/ssh.service", &units.join("sysinit.target.wants/ssh.service"))?;
    files::link("/lib/systemd/system/multi-user.target", &units.join("default.target"))?;
    for path in REMOVED {
        files::remove(&root.join(path))?;
    }
    system::remove_machine_state(root)?;
    files::remove(&root.join("etc/iscsi/initiatorname.iscsi"))?;
    for (path, text) in CONFIGURATION {
        files::write(&root.join(path), text)?;
    }
    files::write(&root.join("etc/hostname"), "lab\n")?;
    // A seed brings the real one. An empty file would make systemd treat each start as the first.
    files::write(&root.join("etc/machine-id"), "00000000000000000000000000000001\n")?;
    for folder in ["etc/lab", "var/cache/libvirt", "var/lib/apt/lists"] {
        files::create_folder(&root.join(folder))?;
    }
    files::create_folder(&root.join("root/.ssh"))?;
    Ok(files::set_mode(&root.join("root/.ssh"), 0o700)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_no_empty_lines_and_no_doubles() {
        for list in [MASKED_UNITS, REMOVED_MODULES] {
            let mut lines: Vec<&str> = list.lines().collect();
            let count = lines.len();
            lines.sort_unstable();
            lines.dedup();
            assert_eq!(lines.len(), count);
            assert!(lines.iter().all(|line| !line.trim().is_empty()));
        }
    }
}
