//! `lab-host`: the root file system of a lab's emulated servers, for computing and for storage, with a kernel and an
//! initramfs for direct boot. Under emulation a log-in works 8 to 14 s after QEMU's start, depending on the machine's
//! other load.
//!
//! Each host starts from the same image with a throw-away overlay; what makes it itself comes in a second initramfs
//! archive ([`crate::seed`]). Nothing of Podzol is in it: the packages of the recipe `debs` are installed later, as an
//! operator would.
//!
//! # Design notes
//! The kernel is unpacked, not installed: its package would bring initramfs-tools and build an initramfs of its own.
//! As a binary's time of change is fixed, what libvirt caches about QEMU in one host is valid for every build of the image.

use std::path::Path;

use crate::BuildError;
use crate::apt::{self, Apt};
use crate::cpio::Archive;
use crate::files;
use crate::kernel::Modules;
use crate::manifest::Package;
use crate::recipe::system::{self, System};
use crate::recipe::{Inputs, Made, Place, Recipe, Shop};
use crate::steps::Steps;
use crate::tools::Tool;

mod layout;

const KERNEL: &str = "linux-image-cloud-amd64";
const SYSTEM: System = System {
    name: "lab-host",
    packages: include_str!("../../recipes/lab-host/packages"),
    excluded: include_str!("../../recipes/lab-host/excluded-files"),
    // A trigger of udev's package would build an initramfs that nobody uses.
    hooks: &["--essential-hook=ln -sf /bin/true \"$1/usr/sbin/update-initramfs\""],
};
const INIT: &str = include_str!("../../recipes/lab-host/init");
/// What costs time under emulation is left out. Timers go off with the tick only (`highres=off`): whenever a VM is left for its
/// host and entered again, an emulated processor looks up anew all that it runs, for about a millisecond, and a VM's timer is
/// then no reason of its own to leave it. Debian boots in two thirds of the time.
const COMMAND_LINE: &str = include_str!("../../recipes/lab-host/cmdline");
/// What the initramfs needs to see the root and to make the seed's links; ext4 is built in.
const BOOT_MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "virtio_net", "bridge"];

/// The recipe.
#[derive(Debug, Default)]
pub struct LabHost;

impl Recipe for LabHost {
    fn name(&self) -> &'static str {
        "lab-host"
    }

    fn tools(&self) -> Vec<Tool> {
        [&apt::TOOLS[..], &system::TOOLS, &[Tool::new("chroot", "coreutils")]].concat()
    }

    fn has_owners(&self) -> bool {
        true
    }

    fn steps(&self) -> usize {
        7
    }

    fn files(&mut self, _place: &Place, _steps: &mut Steps<'_>) -> Result<Vec<(String, String)>, BuildError> {
        Ok(Vec::new())
    }

    fn packages(&self, place: &Place, steps: &mut Steps<'_>) -> Result<Vec<Package>, BuildError> {
        steps.run("resolve packages", || {
            let apt = Apt::open(&place.cache)?;
            let mut packages = apt.resolve_system(&SYSTEM.packages())?;
            packages.extend(apt.resolve(&[&apt.dependency(KERNEL, "linux-image-")?])?);
            packages.sort();
            Ok(packages)
        })
    }

    fn make(&self, inputs: &Inputs, shop: &Shop<'_>, steps: &mut Steps<'_>) -> Result<Made, BuildError> {
        let (root, kernel) = (shop.path("root"), shop.path("kernel"));
        let epoch = shop.place.epoch;
        steps.run("unpack the kernel", || unpack_kernel(inputs, shop, &kernel))?;
        steps.run("install packages", || {
            let without_kernel: Vec<&Package> =
                inputs.packages.iter().filter(|package| !is_kernel(package)).collect();
            SYSTEM.install(&without_kernel, &root, shop)
        })?;
        let modules = Modules::open(&kernel)?;
        steps.run("pack the initramfs", || {
            files::write(&shop.output("initrd.img"), initramfs(&modules, &root)?.bytes(epoch))
                .map_err(BuildError::from)
        })?;
        steps.run("add the kernel's modules", || layout::add_modules(&root, &kernel, &modules.version))?;
        steps.run("configure", || layout::configure(&root))?;
        steps.run("make the file system", || {
            layout::FILE_SYSTEM.make(&root, &shop.output("root.img"), shop)
        })?;
        let vmlinuz = kernel.join(format!("boot/vmlinuz-{}", modules.version));
        files::write(&shop.output("vmlinuz"), files::read(&vmlinuz)?)?;
        files::write(&shop.output("cmdline"), COMMAND_LINE)?;
        Ok(Made::files(["cmdline", "initrd.img", "root.img", "vmlinuz"]).with_kernel(modules.version))
    }
}

fn is_kernel(package: &Package) -> bool {
    package.name.starts_with("linux-image-")
}

fn unpack_kernel(inputs: &Inputs, shop: &Shop<'_>, to: &Path) -> Result<(), BuildError> {
    let apt = Apt::opened(&shop.place.cache)?;
    for package in inputs.packages.iter().filter(|package| is_kernel(package)) {
        apt::unpack(&apt.fetch(package)?, to)?;
    }
    Ok(())
}

fn initramfs(modules: &Modules, root: &Path) -> Result<Archive, BuildError> {
    let mut archive = Archive::new();
    for folder in ["bin", "dev", "m", "proc", "r", "sys"] {
        archive.folder(folder);
    }
    archive.character_device("dev/console", 5, 1);
    archive.file("bin/busybox", 0o755, files::read(&root.join("bin/busybox"))?);
    archive.file("init", 0o755, INIT);
    let order = modules.load_order(&BOOT_MODULES)?;
    let list: String = order.iter().map(|module| format!("{}.ko\n", module.name)).collect();
    archive.file("m/order", 0o644, list);
    for module in &order {
        archive.file(&format!("m/{}.ko", module.name), 0o644, module.unsigned());
    }
    Ok(archive)
}
