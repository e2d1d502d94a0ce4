//! `tiny`: the template of the test VM. A Debian kernel and an initramfs with our init and busybox, in a qcow2 image of
//! some 16 MB that boots by BIOS and is ready in three seconds even under emulation.
//!
//! It is for tests of everything around a VM, and knows nothing of what tests want: see the crate `podzol-tiny-init` for
//! what it answers. Kernel 6.1 and not 6.12, as that takes a second longer to boot under emulation.

use std::path::{Path, PathBuf};

use crate::BuildError;
use crate::apt::{self, Apt};
use crate::cpio::Archive;
use crate::disk::{self, Boot};
use crate::files;
use crate::init::{self, Profile};
use crate::kernel::Modules;
use crate::manifest::Package;
use crate::parts::{self, Part};
use crate::program::Program;
use crate::recipe::{Inputs, Made, Place, Programs, Recipe, Shop};
use crate::steps::Steps;
use crate::tools::Tool;

const OUTPUT: &str = "tiny.qcow2";
const KERNEL: &str = "linux-image-cloud-amd64";
/// Loaded at every start, in this order.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "virtio_net", "button", "evdev"];
/// Loaded by init when it meets a config drive of their kind.
const DRIVE_MODULES: [&str; 6] = ["cdrom", "isofs", "nls_cp437", "nls_ascii", "fat", "vfat"];
/// What costs time under emulation is left out: self-tests of ciphers, clearing of pages, defences against other programs
/// (there are none), tests of the timer, another setting of the video mode, which clears the screen word by word, and above
/// all a look at each of 8,000 places of a PCI bus that is not there.
const COMMAND_LINE: &str = "console=ttyS0,115200n8 quiet loglevel=1 panic=10 net.ifnames=0 cryptomgr.notests \
    init_on_alloc=0 mitigations=off nokaslr audit=0 random.trust_cpu=on tsc=reliable no_timer_check edd=off \
    8250.nr_uarts=1 vga=current pci=lastbus=0";

/// The recipe.
#[derive(Debug)]
pub struct Tiny {
    /// Where the workspace is that has the init's source.
    pub source: PathBuf,
    /// An init compiled before, to be taken instead.
    pub init: Option<PathBuf>,
}

impl Recipe for Tiny {
    fn name(&self) -> &'static str {
        "tiny"
    }

    fn tools(&self) -> Vec<Tool> {
        let mut tools = [&apt::TOOLS[..], &disk::TOOLS, &[Tool::new("zstd", "zstd")]].concat();
        if self.init.is_none() {
            tools.extend(init::TOOLS);
        }
        tools
    }

    fn steps(&self) -> usize {
        7
    }

    fn parts(&self) -> Result<Vec<Part>, BuildError> {
        Ok(vec![parts::boot_loader()])
    }

    fn programs(&self) -> Programs {
        match &self.init {
            Some(_) => Programs::Given,
            None => Programs::Compiled { packages: &[init::TINY], source: self.source.clone() },
        }
    }

    fn files(&mut self, place: &Place, steps: &mut Steps<'_>) -> Result<Vec<(String, String)>, BuildError> {
        let boot_code = disk::boot_code()?;
        let init = steps.run("compile the init", || match &self.init {
            Some(path) => init::check(path).map(|()| path.clone()),
            None => init::compile(init::TINY, Profile::Init, &self.source, &place.cache),
        })?;
        let hash = |path: &Path| files::hash_file(path).map(|(hash, _)| hash);
        let hashes = vec![("init".to_owned(), hash(&init)?), ("mbr.bin".to_owned(), hash(&boot_code)?)];
        self.init = Some(init);
        Ok(hashes)
    }

    fn packages(&self, place: &Place, steps: &mut Steps<'_>) -> Result<Vec<Package>, BuildError> {
        steps.run("resolve packages", || {
            let apt = Apt::open(&place.cache)?;
            let kernel = apt.dependency(KERNEL, "linux-image-")?;
            apt.resolve(&[&kernel, "busybox-static"])
        })
    }

    fn make(&self, inputs: &Inputs, shop: &Shop<'_>, steps: &mut Steps<'_>) -> Result<Made, BuildError> {
        let root = shop.path("packages");
        let fetched = steps.run("fetch packages", || {
            let apt = Apt::opened(&shop.place.cache)?;
            inputs.packages.iter().map(|package| apt.fetch(package)).collect::<Result<Vec<_>, _>>()
        })?;
        steps
            .run("unpack packages", || fetched.iter().try_for_each(|package| apt::unpack(package, &root)))?;
        let modules = Modules::open(&root)?;
        let initrd = steps.run("pack the initramfs", || self.pack(&modules, shop))?;
        let kernel = root.join(format!("boot/vmlinuz-{}", modules.version));
        let boot = Boot { kernel: &kernel, initrd: &initrd, command_line: COMMAND_LINE };
        let disk =
            steps.run("lay out the disk", || disk::lay_out(&boot, &shop.path("disk"), shop.place.epoch))?;
        steps.run("make the image", || disk::to_qcow2(&disk, &shop.output(OUTPUT)))?;
        Ok(Made::files([OUTPUT]).with_kernel(modules.version))
    }
}

impl Tiny {
    fn pack(&self, modules: &Modules, shop: &Shop<'_>) -> Result<PathBuf, BuildError> {
        let mut archive = Archive::new();
        for folder in ["bin", "dev", "etc", "lib", "lib/modules", "proc", "run", "sys", "tmp"] {
            archive.folder(folder);
        }
        // The kernel opens it for init before devtmpfs is there.
        archive.character_device("dev/console", 5, 1);
        if let Some(init) = &self.init {
            archive.file("init", 0o755, files::read(init)?);
        }
        archive.file("bin/busybox", 0o755, files::read(&shop.path("packages/bin/busybox"))?);
        archive.link("bin/sh", "busybox");
        let at_start = modules.load_order(&MODULES)?;
        let list: String = at_start.iter().map(|module| format!("{}\n", module.name)).collect();
        archive.file("lib/modules/list", 0o644, list);
        for module in at_start.iter().chain(&modules.load_order(&DRIVE_MODULES)?) {
            archive.file(&format!("lib/modules/{}.ko", module.name), 0o644, module.unsigned());
        }
        let (plain, packed) = (shop.path("initrd.cpio"), shop.path("initrd.img"));
        files::write(&plain, archive.bytes(shop.place.epoch))?;
        // One thread: with more, the bytes depend on their number.
        Program::new("zstd").args(["-19", "-T1", "-q", "-o"]).arg(&packed).arg(&plain).run()?;
        Ok(packed)
    }
}
