//! `router`: the template of the routing appliance. A Debian kernel and an initramfs with the appliance as PID 1 and nft(8)
//! with its libraries, in a qcow2 image that boots by BIOS, under KVM and under Xen's HVM. There is no disk to write to and
//! no shell.
//!
//! `router-l7`: the same with haproxy(1), for balancers of HTTP. It is a template of its own because what is in the image is
//! in the router's memory: it takes 160 MiB, where the other takes 96.
//!
//! `console-proxy`: the template of console proxies, which is the appliance too: it has a public address and lets browsers in to
//! the program `podzol-console-proxy`, which PID 1 keeps running. That has its page in it, which must have been built before.
//!
//! Kernel 6.1 and not 6.12, as that takes a second longer to boot under emulation; what the appliance needs is in both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::BuildError;
use crate::apt::{self, Apt};
use crate::cpio::Archive;
use crate::disk::{self, Boot};
use crate::files;
use crate::init::{self, Profile};
use crate::kernel::{Module, Modules};
use crate::libraries;
use crate::manifest::Package;
use crate::parts::{self, Part};
use crate::program::Program;
use crate::recipe::inputs::image_id;
use crate::recipe::{Inputs, Made, Place, Programs, Recipe, Shop};
use crate::steps::Steps;
use crate::tools::Tool;

const KERNEL: &str = "linux-image-cloud-amd64";
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
    // Connections are counted for a diagnosis by it.
    "nf_conntrack_netlink",
    "nf_tables",
    "nft_chain_nat",
    "nft_connlimit",
    "nft_ct",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_hash",
    "nft_limit",
    "nft_masq",
    "nft_nat",
    "nft_numgen",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
];

/// Loaded besides where the hypervisor is Xen. With them its devices are the guest's own, and what QEMU emulates beside them is taken
/// away by the kernel.
const XEN_MODULES: [&str; 2] = ["xen_blkfront", "xen_netfront"];

/// As for the tiny template: what costs time under emulation is left out. Memory is not cleared before its use, as there is
/// one program only; clearing it would take a third of what the router can forward. Waiting until no processor can see what is
/// replaced any more (RCU) is short where there is one, and modules and rules wait for it at each step.
const COMMAND_LINE: &str = "console=ttyS0,115200n8 quiet loglevel=1 panic=1 net.ifnames=0 cryptomgr.notests \
    init_on_alloc=0 mitigations=off nokaslr audit=0 random.trust_cpu=on tsc=reliable no_timer_check edd=off \
    8250.nr_uarts=1 vga=current pci=lastbus=0 rcupdate.rcu_expedited=1";

/// Which template of the appliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouterKind {
    /// With what every router needs.
    Plain,
    /// With haproxy besides.
    L7,
    /// With the console proxy besides.
    ConsoleProxy,
}

const NFT: &str = "usr/sbin/nft";

/// Where the console proxy goes.
const CONSOLE_PROXY: &str = "usr/sbin/podzol-console-proxy";

/// The page that is in the console proxy, from the workspace's folder on.
const PAGE: &str = "console-proxy/viewer/dist/index.html";

impl RouterKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "router",
            Self::L7 => "router-l7",
            Self::ConsoleProxy => "console-proxy",
        }
    }

    fn output(self) -> String {
        format!("{}.qcow2", self.name())
    }

    /// The packages whose programs go in.
    const fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Plain | Self::ConsoleProxy => &["nftables"],
            Self::L7 => &["nftables", "haproxy"],
        }
    }

    /// Their programs. The appliance finds out by them what it can do.
    const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Plain | Self::ConsoleProxy => &[NFT],
            Self::L7 => &[NFT, "usr/sbin/haproxy"],
        }
    }

    /// Podzol's own programs in it.
    const fn own(self) -> &'static [&'static str] {
        match self {
            Self::Plain | Self::L7 => &[init::APPLIANCE],
            Self::ConsoleProxy => &[init::APPLIANCE, init::CONSOLE_PROXY],
        }
    }
}

/// The recipe.
#[derive(Debug)]
pub struct Router {
    /// Which template.
    pub kind: RouterKind,
    /// Where the workspace is that has the appliance's source.
    pub source: PathBuf,
    /// An appliance compiled before, to be taken instead.
    pub init: Option<PathBuf>,
    /// A console proxy compiled before, to be taken instead. Only for templates that have one.
    pub proxy: Option<PathBuf>,
}

impl Recipe for Router {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn extensions(&self) -> &'static [&'static str] {
        match self.kind {
            RouterKind::Plain => &["ipv6"],
            RouterKind::L7 => &["ipv6", "l7"],
            RouterKind::ConsoleProxy => &[],
        }
    }

    fn tools(&self) -> Vec<Tool> {
        let mut tools = [&apt::TOOLS[..], &disk::TOOLS, &[Tool::new("lz4", "lz4")]].concat();
        if !self.is_given() {
            tools.extend(init::TOOLS);
        }
        tools
    }

    fn steps(&self) -> usize {
        7 + usize::from(self.kind == RouterKind::ConsoleProxy)
    }

    fn parts(&self) -> Result<Vec<Part>, BuildError> {
        let mut parts = vec![parts::boot_loader()];
        // What is in one that was compiled before is not known.
        if self.kind == RouterKind::ConsoleProxy && self.proxy.is_none() {
            parts.extend(parts::of_page(&self.source)?);
        }
        Ok(parts)
    }

    fn programs(&self) -> Programs {
        match self.is_given() {
            true => Programs::Given,
            false => Programs::Compiled { packages: self.kind.own(), source: self.source.clone() },
        }
    }

    fn files(&mut self, place: &Place, steps: &mut Steps<'_>) -> Result<Vec<(String, String)>, BuildError> {
        let boot_code = disk::boot_code()?;
        let init = steps.run("compile the appliance", || match &self.init {
            Some(path) => init::check(path).map(|()| path.clone()),
            None => init::compile(init::APPLIANCE, Profile::Init, &self.source, &place.cache),
        })?;
        let hash = |path: &Path| files::hash_file(path).map(|(hash, _)| hash);
        let mut hashes = vec![("init".to_owned(), hash(&init)?), ("mbr.bin".to_owned(), hash(&boot_code)?)];
        self.init = Some(init);
        if self.kind == RouterKind::ConsoleProxy {
            let proxy = steps.run("compile the console proxy", || match &self.proxy {
                Some(path) => init::check(path).map(|()| path.clone()),
                None => self.compile_proxy(&place.cache),
            })?;
            hashes.push(("podzol-console-proxy".to_owned(), hash(&proxy)?));
            self.proxy = Some(proxy);
        }
        Ok(hashes)
    }

    fn packages(&self, place: &Place, steps: &mut Steps<'_>) -> Result<Vec<Package>, BuildError> {
        steps.run("resolve packages", || {
            let apt = Apt::open(&place.cache)?;
            let kernel = apt.dependency(KERNEL, "linux-image-")?;
            let mut packages = apt.resolve(&[&kernel])?;
            packages.extend(apt.resolve_with_needs(self.kind.packages())?);
            packages.sort();
            Ok(packages)
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
        let initrd = steps.run("pack the initramfs", || self.pack(inputs, &modules, shop))?;
        let kernel = root.join(format!("boot/vmlinuz-{}", modules.version));
        let boot = Boot { kernel: &kernel, initrd: &initrd, command_line: COMMAND_LINE };
        let disk =
            steps.run("lay out the disk", || disk::lay_out(&boot, &shop.path("disk"), shop.place.epoch))?;
        steps.run("make the image", || disk::to_qcow2(&disk, &shop.output(&self.kind.output())))?;
        let made = Made::files([self.kind.output()]).with_kernel(modules.version);
        Ok(made.with_image(self.image_id(inputs, shop.place)))
    }
}

impl Router {
    /// Whether it compiles nothing.
    fn is_given(&self) -> bool {
        self.init.is_some() && (self.proxy.is_some() || self.kind != RouterKind::ConsoleProxy)
    }

    fn compile_proxy(&self, cache: &Path) -> Result<PathBuf, BuildError> {
        let page = init::workspace(&self.source)?.join(PAGE);
        if !page.exists() {
            return Err(BuildError::NoPage(page));
        }
        init::compile(init::CONSOLE_PROXY, Profile::Proxy, &self.source, cache)
    }

    /// The initramfs: an archive that is packed, and one as it is.
    ///
    /// The kernel unpacks LZ4 (in its older format, which is the one that it knows) in a sixth of the time that it takes for
    /// zstd, which is a quarter of a router's boot; the file is a tenth larger. Even so it takes several times as long as to copy.
    /// So as much as there is room for in the file is not packed at all: the libraries of nft(8).
    ///
    /// What is packed comes first: the kernel takes 8 MiB to unpack it, and has all that it has made before beside that; so this order
    /// saves as much memory as the libraries take.
    fn pack(&self, inputs: &Inputs, modules: &Modules, shop: &Shop<'_>) -> Result<PathBuf, BuildError> {
        let always = modules.load_order(&MODULES)?;
        let mut on_xen = modules.load_order(&XEN_MODULES)?;
        on_xen.retain(|module| always.iter().all(|other| other.name != module.name));
        let lists = [("list", always), ("list.xen", on_xen)];
        let [most, libraries] =
            self.archives(&shop.path("packages"), &self.image_id(inputs, shop.place), &lists)?;
        let (plain, packed) = (shop.path("initrd.cpio"), shop.path("initrd.lz4"));
        files::write(&plain, most.bytes(shop.place.epoch))?;
        Program::new("lz4").args(["-l", "-12", "-q"]).arg(&plain).arg(&packed).run()?;
        let mut bytes = files::read(&packed)?;
        // A block of no bytes ends what is packed, and an archive begins at a multiple of four.
        bytes.resize(bytes.len().next_multiple_of(4) + 4, 0);
        bytes.extend(libraries.bytes(shop.place.epoch));
        let initrd = shop.path("initrd.img");
        files::write(&initrd, bytes)?;
        Ok(initrd)
    }

    /// All that is in the initramfs, out of unpacked packages and with these lists of modules: what is packed, and what
    /// is not.
    fn archives(
        &self,
        root: &Path,
        identity: &str,
        lists: &[(&str, Vec<Module>)],
    ) -> Result<[Archive; 2], BuildError> {
        let (mut archive, mut plain) = (Archive::new(), Archive::new());
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
        for (path, content) in libraries::of(&root.join(NFT), root)? {
            plain.file(&path, 0o755, content);
        }
        if let Some(init) = &self.init {
            archive.file("init", 0o755, files::read(init)?);
        }
        for (path, content) in self.other_programs(root)? {
            // Programs have libraries in common.
            if !plain.has(&path) {
                archive.file(&path, 0o755, content);
            }
        }
        archive.file(IDENTITY, 0o444, format!("{identity}\n"));
        for (list, modules) in lists {
            let names: String = modules.iter().map(|module| format!("{}\n", module.name)).collect();
            archive.file(&format!("lib/modules/{list}"), 0o644, names);
            for module in modules {
                archive.file(&format!("lib/modules/{}.ko", module.name), 0o644, module.bare());
            }
        }
        Ok([archive, plain])
    }

    fn image_id(&self, inputs: &Inputs, place: &Place) -> String {
        image_id(self.name(), place.epoch, inputs)
    }

    /// The programs beside init, with what they need.
    fn other_programs(&self, root: &Path) -> Result<BTreeMap<String, Vec<u8>>, BuildError> {
        let mut programs = BTreeMap::new();
        for program in self.kind.programs() {
            let path = root.join(program);
            programs.extend(libraries::of(&path, root)?);
            programs.insert((*program).to_owned(), files::read(&path)?);
        }
        if let Some(proxy) = &self.proxy {
            programs.insert(CONSOLE_PROXY.to_owned(), files::read(proxy)?);
        }
        Ok(programs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What of the image is executed or loaded as a program's part, out of this machine's own packages.
    fn executables(kind: RouterKind) -> Vec<String> {
        let own = std::env::current_exe().ok();
        let proxy = own.clone().filter(|_| kind == RouterKind::ConsoleProxy);
        let router = Router { kind, source: PathBuf::new(), init: own, proxy };
        let archives = router.archives(Path::new("/"), "an identity", &[]).unwrap();
        archives.iter().flat_map(Archive::executables).map(str::to_owned).collect()
    }

    #[test]
    fn no_shell_and_nobody_who_lets_others_in_is_in_an_image_but_its_own_programs_and_their_libraries() {
        for (kind, programs) in [
            (RouterKind::Plain, &["usr/sbin/nft", "init"][..]),
            (RouterKind::L7, &["usr/sbin/nft", "init", "usr/sbin/haproxy"]),
            (RouterKind::ConsoleProxy, &["usr/sbin/nft", "init", CONSOLE_PROXY]),
        ] {
            let found = executables(kind);
            let mut others = found.clone();
            others.retain(|path| !programs.contains(&path.as_str()) && !is_library(path));
            assert_eq!(others, [""; 0], "{kind:?}");
            assert!(programs.iter().all(|program| found.iter().any(|path| path == program)), "{found:?}");
        }
    }

    /// The loader is one too.
    fn is_library(path: &str) -> bool {
        let name = path.strip_prefix("lib/x86_64-linux-gnu/").or_else(|| path.strip_prefix("lib64/"));
        name.is_some_and(|name| !name.contains('/') && name.contains(".so"))
    }
}
