//! `lab-host`: the root file system of a lab's emulated servers, for computing and for storage, with a kernel and an
//! initramfs for direct boot. Under emulation a log-in
//! works 8 to 14 s after QEMU's start, depending on the machine's other load.
//!
//! Each host starts from the same image with a throw-away overlay; what makes it itself comes in a second initramfs
//! archive ([`crate::seed`]). Nothing of Podzol is in it: the packages of the recipe `debs` are installed later, as an
//! operator would.
//!
//! # Design notes
//! The kernel is unpacked, not installed: its package would bring initramfs-tools and build an initramfs of its own.
//! mke2fs 1.47.0 copies each file's time of change from the build machine and takes its own time for others, so all
//! of them are set afterwards with debugfs; then the image is the same in every folder (tried on ext4 and on tmpfs). As a
//! binary's time of change is fixed too, what libvirt caches about QEMU in one host is valid for every build of the image.

use std::path::Path;
use std::time::Duration;

use crate::BuildError;
use crate::apt::{self, Apt};
use crate::cpio::Archive;
use crate::files;
use crate::kernel::Modules;
use crate::manifest::Package;
use crate::program::Program;
use crate::recipe::{Inputs, Place, Recipe, Shop};
use crate::steps::Steps;
use crate::tools::Tool;

mod layout;

const KERNEL: &str = "linux-image-cloud-amd64";
const PACKAGES: &str = include_str!("../../recipes/lab-host/packages");
const EXCLUDED: &str = include_str!("../../recipes/lab-host/excluded-files");
const INIT: &str = include_str!("../../recipes/lab-host/init");
const COMMAND_LINE: &str = include_str!("../../recipes/lab-host/cmdline");
/// What the initramfs needs to see the root; ext4 is built in.
const BOOT_MODULES: [&str; 3] = ["virtio_pci", "virtio_blk", "virtio_net"];
/// Installing took 35-85 s on two cores; a far mirror or a loaded machine takes longer.
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(1800);

/// The recipe.
#[derive(Debug, Default)]
pub struct LabHost;

impl Recipe for LabHost {
    fn name(&self) -> &'static str {
        "lab-host"
    }

    fn tools(&self) -> Vec<Tool> {
        let own = [
            Tool::new("mmdebstrap", "mmdebstrap"),
            Tool::new("chroot", "coreutils"),
            Tool::new("dpkg-query", "dpkg"),
            Tool::new("mkfs.ext4", "e2fsprogs"),
            Tool::new("debugfs", "e2fsprogs"),
        ];
        [&apt::TOOLS[..], &own].concat()
    }

    fn steps(&self) -> usize {
        7
    }

    fn files(&mut self, _place: &Place, _steps: &mut Steps<'_>) -> Result<Vec<(String, String)>, BuildError> {
        if nix::unistd::geteuid().is_root() {
            Ok(Vec::new())
        } else {
            Err(BuildError::NotRoot { recipe: self.name() })
        }
    }

    fn packages(&self, place: &Place, steps: &mut Steps<'_>) -> Result<Vec<Package>, BuildError> {
        steps.run("resolve packages", || {
            let apt = Apt::open(&place.cache)?;
            let mut packages = apt.resolve_system(&PACKAGES.lines().collect::<Vec<_>>())?;
            packages.extend(apt.resolve(&[&apt.dependency(KERNEL, "linux-image-")?])?);
            packages.sort();
            Ok(packages)
        })
    }

    fn make(
        &self,
        inputs: &Inputs,
        shop: &Shop<'_>,
        steps: &mut Steps<'_>,
    ) -> Result<Vec<String>, BuildError> {
        let (root, kernel) = (shop.path("root"), shop.path("kernel"));
        let epoch = shop.place.epoch;
        steps.run("unpack the kernel", || unpack_kernel(inputs, shop, &kernel))?;
        steps.run("install packages", || {
            bootstrap(&shop.place.cache, &root, epoch)?;
            check_installed(&inputs.packages, &root)
        })?;
        let modules = Modules::open(&kernel)?;
        steps.run("pack the initramfs", || {
            files::write(&shop.output("initrd.img"), initramfs(&modules, &root)?.bytes(epoch))
                .map_err(BuildError::from)
        })?;
        steps.run("add the kernel's modules", || layout::add_modules(&root, &kernel, &modules.version))?;
        steps.run("configure", || layout::configure(&root))?;
        steps.run("make the file system", || {
            layout::make_file_system(&root, &shop.output("root.img"), shop)
        })?;
        let vmlinuz = kernel.join(format!("boot/vmlinuz-{}", modules.version));
        files::write(&shop.output("vmlinuz"), files::read(&vmlinuz)?)?;
        files::write(&shop.output("cmdline"), COMMAND_LINE)?;
        Ok(["cmdline", "initrd.img", "root.img", "vmlinuz"].map(str::to_owned).to_vec())
    }
}

fn unpack_kernel(inputs: &Inputs, shop: &Shop<'_>, to: &Path) -> Result<(), BuildError> {
    let apt = Apt::opened(&shop.place.cache);
    let is_kernel = |package: &&Package| package.name.starts_with("linux-image-");
    for package in inputs.packages.iter().filter(is_kernel) {
        apt::unpack(&apt.fetch(package)?, to)?;
    }
    Ok(())
}

fn bootstrap(cache: &Path, root: &Path, epoch: u64) -> Result<(), BuildError> {
    let excluded = EXCLUDED.lines().map(|pattern| format!("--dpkgopt=path-exclude={pattern}"));
    Program::new("mmdebstrap")
        .args(["--mode=root", "--variant=essential", "--format=directory", "--arch=amd64"])
        .arg(format!("--include={}", PACKAGES.lines().collect::<Vec<_>>().join(",")))
        .args(excluded)
        // A trigger of udev's package would build an initramfs that nobody uses.
        .arg("--essential-hook=ln -sf /bin/true \"$1/usr/sbin/update-initramfs\"")
        .arg(apt::RELEASE)
        .arg(root)
        .arg(Apt::opened(cache).sources_file())
        .epoch(epoch)
        .deadline(BOOTSTRAP_DEADLINE)
        .run()?;
    Ok(())
}

/// What was installed must be what was resolved, or the manifest would lie.
fn check_installed(resolved: &[Package], root: &Path) -> Result<(), BuildError> {
    let query = Program::new("dpkg-query").arg("--admindir").arg(root.join("var/lib/dpkg"));
    let text = query.args(["--show", "--showformat=${Package} ${Version}\\n"]).run()?;
    let installed: Vec<&str> = text.lines().collect();
    let expected: Vec<String> = (resolved.iter())
        .filter(|package| !package.name.starts_with("linux-image-"))
        .map(|package| format!("{} {}", package.name, package.version))
        .collect();
    let missing =
        expected.iter().filter(|line| !installed.contains(&line.as_str())).map(|line| format!("-{line}"));
    let surplus = installed.iter().filter(|line| !expected.iter().any(|other| other == *line));
    let differences: Vec<String> = missing.chain(surplus.map(|line| format!("+{line}"))).collect();
    if differences.is_empty() { Ok(()) } else { Err(BuildError::Moved { differences }) }
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
