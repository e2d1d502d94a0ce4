//! `debian`: the template of a Debian VM, with cloud-init as Debian packages it, and no configuration of ours but what
//! an image needs. It boots by BIOS with GRUB, on KVM and by emulation; its disk grows to the volume's size at the first
//! boot. It is kept up to date in the VM by apt, the kernel included.

use std::path::Path;

use crate::BuildError;
use crate::apt::{self, Apt};
use crate::disk;
use crate::files;
use crate::grub;
use crate::kernel;
use crate::manifest::Package;
use crate::recipe::system::{self, FileSystem, System};
use crate::recipe::{Inputs, Made, Place, Recipe, Shop};
use crate::steps::Steps;
use crate::tools::Tool;

const OUTPUT: &str = "debian.qcow2";
const SYSTEM: System = System {
    name: "debian",
    packages: include_str!("../../recipes/debian/packages"),
    excluded: include_str!("../../recipes/debian/excluded-files"),
    hooks: &[],
};
/// Not installed, only unpacked: what is taken of it stands in front of the file system.
const BOOT_LOADER: &str = "grub-pc-bin";
const FILE_SYSTEM: FileSystem = FileSystem {
    // Grown at the first boot.
    size: 1 << 30,
    label: "debian",
    uuid: "6f4c7c1e-0000-4000-8000-000000000003",
    features: "^metadata_csum",
};
/// Configuration files, each with its place. An empty machine id is filled at the first boot (machine-id(5)).
const CONFIGURATION: [(&str, &str); 8] = [
    (grub::CONFIGURATION, include_str!("../../recipes/debian/grub.cfg")),
    ("etc/cloud/cloud.cfg.d/10_locale.cfg", "# C.UTF-8, which needs no generating.\nlocale: false\n"),
    ("etc/default/locale", "LANG=C.UTF-8\n"),
    ("etc/fstab", "LABEL=debian / ext4 errors=remount-ro 0 1\n"),
    ("etc/hostname", "debian\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"),
    ("etc/machine-id", ""),
    // Whoever asks for a name that is not there, as cloud-init does to find out which cloud this is, would wait four seconds for
    // neighbours to answer.
    ("etc/systemd/resolved.conf.d/podzol.conf", "[Resolve]\nLLMNR=no\nMulticastDNS=no\n"),
];
/// cloud-init writes the list of mirrors at the first boot; that of the build machine is its own affair.
const REMOVED: [&str; 4] =
    ["etc/apt/sources.list", "etc/apt/sources.list.d", "var/cache", "var/lib/apt/lists"];

/// The recipe.
#[derive(Debug, Default)]
pub struct Debian;

impl Recipe for Debian {
    fn name(&self) -> &'static str {
        "debian"
    }

    fn tools(&self) -> Vec<Tool> {
        [&apt::TOOLS[..], &system::TOOLS, &grub::TOOLS, &[Tool::new("qemu-img", "qemu-utils")]].concat()
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
            packages.extend(apt.resolve(&[BOOT_LOADER])?);
            packages.sort();
            Ok(packages)
        })
    }

    fn make(&self, inputs: &Inputs, shop: &Shop<'_>, steps: &mut Steps<'_>) -> Result<Made, BuildError> {
        let (root, grub, raw) = (shop.path("root"), shop.path("grub"), shop.path("disk.raw"));
        let (boot_loader, packages): (Vec<&Package>, Vec<&Package>) =
            inputs.packages.iter().partition(|package| package.name == BOOT_LOADER);
        steps.run("unpack the boot loader", || {
            let apt = Apt::opened(&shop.place.cache)?;
            boot_loader.iter().try_for_each(|package| apt::unpack(&apt.fetch(package)?, &grub))
        })?;
        steps.run("install packages", || SYSTEM.install(&packages, &root, shop))?;
        steps.run("configure", || configure(&root))?;
        let file_system = shop.path("root.img");
        steps.run("make the file system", || FILE_SYSTEM.make(&root, &file_system, shop))?;
        steps.run("lay out the disk", || grub::lay_out(&grub, &file_system, &shop.path(""), &raw))?;
        steps.run("make the image", || disk::to_small_qcow2(&raw, &shop.output(OUTPUT)))?;
        Ok(Made::files([OUTPUT]).with_kernel(kernel::version(&root)?))
    }
}

fn configure(root: &Path) -> Result<(), BuildError> {
    for path in REMOVED {
        files::remove(&root.join(path))?;
    }
    system::remove_machine_state(root)?;
    files::create_folder(&root.join("etc/systemd/resolved.conf.d"))?;
    for (path, text) in CONFIGURATION {
        files::write(&root.join(path), text)?;
    }
    // cloud-init writes systemd-networkd's configuration where there is no ifupdown; its package leaves it disabled.
    let networkd = "/lib/systemd/system/systemd-networkd.service";
    files::link(networkd, &root.join("etc/systemd/system/multi-user.target.wants/systemd-networkd.service"))?;
    files::link("../run/systemd/resolve/stub-resolv.conf", &root.join("etc/resolv.conf"))?;
    for folder in ["etc/apt/sources.list.d", "var/cache/apt/archives/partial", "var/lib/apt/lists/partial"] {
        files::create_folder(&root.join(folder))?;
    }
    Ok(())
}
