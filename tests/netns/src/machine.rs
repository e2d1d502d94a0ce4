//! A customer's VM, under emulation.

use std::path::{Path, PathBuf};

use podzol_vocab::MacAddr;

use crate::body::connect_tap;
use crate::namespace::{Namespace, Running};
use crate::wait::wait_long_for;

/// What a Debian system needs to boot.
const MEMORY_MIB: u32 = 512;

/// What a VM's firmware says of who made it, by which cloud-init knows whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// Where the metadata is, for the source NoCloud.
    NoCloud,
    /// That it is CloudStack's.
    CloudStack,
    /// That it is Amazon's.
    Ec2,
}

impl Firmware {
    /// The options of QEMU.
    fn options(self) -> &'static str {
        match self {
            Self::NoCloud => "-smbios type=1,serial=ds=nocloud-net;s=http://169.254.169.254/nocloud/",
            Self::CloudStack => "-smbios type=1,manufacturer=Podzol,product=CloudStack",
            Self::Ec2 => {
                "-uuid ec2ab101-4a5e-4f0c-9d2b-6f1f0c3b7a11 \
                 -smbios type=1,serial=ec2ab101-4a5e-4f0c-9d2b-6f1f0c3b7a11"
            }
        }
    }
}

/// A VM that runs until this is dropped.
#[derive(Debug)]
pub struct Machine {
    console: PathBuf,
    _process: Running,
}

impl Machine {
    pub(crate) fn boot(
        space: &Namespace,
        mac: MacAddr,
        template: &Path,
        firmware: Firmware,
        console: PathBuf,
    ) -> Self {
        // The cable goes into a bridge, which would keep what is for a MAC address of its own ports.
        space.ip("link set eth0 address 06:00:00:00:00:09");
        connect_tap(space, 9, "eth0");
        let process = space.start(&format!(
            "qemu-system-x86_64 -nodefaults -no-user-config -display none -machine pc -accel tcg -cpu max \
             -m {MEMORY_MIB} -serial file:{console} -drive file={template},format=qcow2,if=virtio,snapshot=on \
             -device virtio-rng-pci {firmware} \
             -netdev tap,id=n1,ifname=tap9,script=no,downscript=no \
             -device virtio-net-pci,netdev=n1,mac={mac},romfile=",
            console = console.display(),
            firmware = firmware.options(),
            template = template.display(),
        ));
        Self { console, _process: process }
    }

    /// Waits until the console shows a line that begins so, and gives the rest of it.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn says(&self, beginning: &str) -> String {
        wait_long_for(&format!("a line {beginning}"), || {
            let text = std::fs::read(&self.console).map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&text).into_owned();
            // A line may not be there whole yet.
            let text = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let found = text.lines().find_map(|line| line.split_once(beginning));
            let last = || text.lines().rev().take(5).collect::<Vec<_>>().join(" / ");
            found.map(|(_, rest)| rest.trim().to_owned()).ok_or_else(last)
        })
    }
}
