//! `router`: the template of the routing appliance. A Debian kernel and an initramfs with the appliance as PID 1 and nft(8)
//! with its libraries, in a qcow2 image that boots by BIOS, under KVM and under Xen's HVM. There is no disk to write to and
//! no shell.
//!
//! Kernel 6.1 and not 6.12, as that takes a second longer to boot under emulation; what the appliance needs is in both.

use std::path::{Path, PathBuf};

use crate::BuildError;
use crate::apt::{self, Apt};
use crate::cpio::Archive;
use crate::disk::{self, Boot};
use crate::files;
use crate::init;
use crate::kernel::Modules;
use crate::libraries;
use crate::manifest::Package;
use crate::program::Program;
use crate::recipe::{Inputs, Made, Place, Programs, Recipe, Shop};
use crate::steps::Steps;
use crate::tools::Tool;

const OUTPUT: &str = "router.qcow2";
const KERNEL: &str = "linux-image-cloud-amd64";
const NFT: &str = "usr/sbin/nft";
/// Where the image says which it is: the appliance tells it in its status.
const IDENTITY: &str = "etc/podzol-image";

/// Loaded at every start, in this order, each after what it needs.
const MODULES: [&str; 20] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "button",
    "evdev",
    // What libcrc32c asks the kernel for by name only.
    "crc32c_generic",
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_fib_inet",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_hash",
    "nft_limit",
    "nft_log",
    "nft_masq",
    "nft_nat",
    "nft_numgen",
    "nft_reject_inet",
    "nft_reject_ipv4",
];

/// As for the tiny template: what costs time under emulation is left out. Memory is not cleared before its use, as there is
/// one program only; clearing it would take a third of what the router can forward.
const COMMAND_LINE: &str = "console=ttyS0,115200n8 quiet loglevel=1 panic=1 net.ifnames=0 cryptomgr.notests \
    init_on_alloc=0 mitigations=off nokaslr audit=0 random.trust_cpu=on tsc=reliable no_timer_check edd=off \
    8250.nr_uarts=1 vga=current pci=lastbus=0";

/// The recipe.
#[derive(Debug)]
pub struct Router {
    /// Where the workspace is that has the appliance's source.
    pub source: PathBuf,
    /// An appliance compiled before, to be taken instead.
    pub init: Option<PathBuf>,
}

impl Recipe for Router {
    fn name(&self) -> &'static str {
        "router"
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

    fn programs(&self) -> Programs {
        match &self.init {
            Some(_) => Programs::Given,
            None => Programs::Compiled { package: init::APPLIANCE, source: self.source.clone() },
        }
    }

    fn files(&mut self, place: &Place, steps: &mut Steps<'_>) -> Result<Vec<(String, String)>, BuildError> {
        let boot_code = disk::boot_code()?;
        let init = steps.run("compile the appliance", || match &self.init {
            Some(path) => init::check(path).map(|()| path.clone()),
            None => init::compile(init::APPLIANCE, &self.source, &place.cache),
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
            let mut packages = apt.resolve(&[&kernel])?;
            packages.extend(apt.resolve_with_needs(&["nftables"])?);
            packages.sort();
            Ok(packages)
        })
    }

    fn make(&self, inputs: &Inputs, shop: &Shop<'_>, steps: &mut Steps<'_>) -> Result<Made, BuildError> {
        let root = shop.path("packages");
        let fetched = steps.run("fetch packages", || {
            let apt = Apt::opened(&shop.place.cache);
            inputs.packages.iter().map(|package| apt.fetch(package)).collect::<Result<Vec<_>, _>>()
        })?;
        steps
            .run("unpack packages", || fetched.iter().try_for_each(|package| apt::unpack(package, &root)))?;
        let modules = Modules::open(&root)?;
        let initrd = steps.run("pack the initramfs", || self.pack(inputs, &modules, shop))?;
        let kernel = root.join(format!("boot/vmlinuz-{}", modules.version));
        let boot = Boot { kernel: &kernel, initrd: &initrd, command_line: COMMAND_LINE };
        let disk =
            steps.run("lay out the disk", || disk::lay_out(&boot, &shop.path("disk"), shop.place.epoch))?;
        steps.run("make the image", || disk::to_qcow2(&disk, &shop.output(OUTPUT)))?;
        Ok(Made::files([OUTPUT]).with_kernel(modules.version))
    }
}

impl Router {
    fn pack(&self, inputs: &Inputs, modules: &Modules, shop: &Shop<'_>) -> Result<PathBuf, BuildError> {
        let root = shop.path("packages");
        let mut archive = Archive::new();
        for folder in
            ["dev", "etc", "lib", "lib/modules", "lib/x86_64-linux-gnu", "lib64", "proc", "run", "sys"]
        {
            archive.folder(folder);
        }
        for folder in ["usr", "usr/sbin"] {
            archive.folder(folder);
        }
        // The kernel opens it for init before devtmpfs is there.
        archive.character_device("dev/console", 5, 1);
        if let Some(init) = &self.init {
            archive.file("init", 0o755, files::read(init)?);
        }
        let nft = root.join(NFT);
        archive.file(NFT, 0o755, files::read(&nft)?);
        for (path, content) in libraries::of(&nft, &root)? {
            archive.file(&path, 0o755, content);
        }
        archive.file(IDENTITY, 0o444, format!("{}\n", identity(inputs)));
        let order = modules.load_order(&MODULES)?;
        let list: String = order.iter().map(|module| format!("{}\n", module.name)).collect();
        archive.file("lib/modules/list", 0o644, list);
        for module in &order {
            archive.file(&format!("lib/modules/{}.ko", module.name), 0o644, module.unsigned());
        }
        let (plain, packed) = (shop.path("initrd.cpio"), shop.path("initrd.img"));
        files::write(&plain, archive.bytes(shop.place.epoch))?;
        // One thread: with more, the bytes depend on their number.
        Program::new("zstd").args(["-19", "-T1", "-q", "-o"]).arg(&packed).arg(&plain).run()?;
        Ok(packed)
    }
}

/// Which image it is: SHA-256 of the appliance and the packages in it.
fn identity(inputs: &Inputs) -> String {
    let packages = inputs.packages.iter().map(|package| (package.file_name(), package.sha256.clone()));
    let parts = packages.chain(inputs.files.iter().cloned());
    files::hash(parts.map(|(name, sha256)| format!("{name} {sha256}\n")).collect::<String>())
}
