//! What a router is: a process in a namespace, or a VM.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use podzol_appliance_api::{RouterSeed, SEED_FILE};
use podzol_vocab::MacAddr;

use crate::namespace::{Namespace, Running};

/// The variable that names the template.
const TEMPLATE: &str = "PODZOL_ROUTER";

/// The memory of a VM in MiB: what offerings for routers have at least.
const MEMORY_MIB: u32 = 96;

/// The same of a template with haproxy, by its name: what is in the template is in the memory.
const MEMORY_WITH_L7_MIB: u32 = 160;

/// What the offering for routers has that is there from the beginning.
const USUAL_MEMORY_MIB: u32 = 128;

/// What the router is.
#[derive(Debug)]
pub(crate) enum Body {
    /// A process in its namespace.
    Process,
    /// A VM of this template, whose links are taps in its namespace.
    Vm {
        /// The template's image.
        template: PathBuf,
        /// Its memory in MiB.
        memory_mib: u32,
    },
}

impl Body {
    /// As the variable says.
    pub(crate) fn chosen() -> Self {
        let Some(template) = std::env::var_os(TEMPLATE).map(PathBuf::from) else { return Self::Process };
        let has_l7 = template.file_stem().is_some_and(|name| name.as_encoded_bytes().ends_with(b"-l7"));
        Self::Vm { template, memory_mib: if has_l7 { MEMORY_WITH_L7_MIB } else { MEMORY_MIB } }
    }

    /// The same with the memory that routers usually have, if it is a VM and has less.
    pub(crate) fn with_usual_memory(self) -> Self {
        match self {
            Self::Process => Self::Process,
            Self::Vm { template, memory_mib } => {
                Self::Vm { template, memory_mib: memory_mib.max(USUAL_MEMORY_MIB) }
            }
        }
    }

    /// The seed, as the router reads it.
    pub(crate) fn seed(&self, seed: &RouterSeed) -> Vec<u8> {
        let text = serde_json::to_vec(seed).expect("it is JSON");
        match self {
            Self::Process => text,
            Self::Vm { .. } => seed_drive(&text),
        }
    }

    /// Gives the router its link with that number, to another namespace.
    pub(crate) fn connect(&self, router: &Namespace, number: u8, mac: MacAddr, to: &Namespace, name: &str) {
        match self {
            Self::Process => connect(router, &format!("x{number}"), mac, to, name),
            Self::Vm { .. } => {
                let cable = format!("to{number}");
                connect(router, &cable, MacAddr::local([4, 0, 0, 0, 0, number]), to, name);
                connect_tap(router, number, &cable);
            }
        }
    }

    /// Starts it.
    pub(crate) fn start(&self, router: &Namespace, seed: &Path, macs: &[MacAddr]) -> Running {
        match self {
            Self::Process => {
                let program = program();
                router.start(&format!("{} router --seed {}", program.display(), seed.display()))
            }
            Self::Vm { template, memory_mib } => router.start(&qemu(template, *memory_mib, seed, macs)),
        }
    }
}

/// A drive with a seed.
pub(crate) fn seed_drive(text: &[u8]) -> Vec<u8> {
    podzol_cidata::image(&[(SEED_FILE, text)]).expect("it is small")
}

/// The router's program, of the same build as this one: beside it, or if this is a test, above it.
pub(crate) fn program() -> PathBuf {
    let own = std::env::current_exe().expect("it has a path");
    let folders = own.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join("podzol-appliance")).find(|program| program.exists());
    found.expect("podzol-appliance is built")
}

/// Where QEMU listens for what is done to a VM with this seed.
fn monitor(seed: &Path) -> PathBuf {
    seed.with_extension("monitor")
}

/// Presses the power button of a VM.
pub(crate) fn press_power_button(seed: &Path) {
    let mut monitor = UnixStream::connect(monitor(seed)).expect("the VM runs");
    monitor.write_all(b"system_powerdown\n").expect("QEMU reads");
}

/// The command line of a VM with the same devices as a host's agent gives one.
fn qemu(template: &Path, memory_mib: u32, seed: &Path, macs: &[MacAddr]) -> String {
    let mut line = format!(
        "qemu-system-x86_64 -nodefaults -no-user-config -display none -machine pc -accel tcg -cpu max -m {memory_mib} \
         -serial file:{serial} -monitor unix:{monitor},server,nowait -drive file={template},format=qcow2,if=virtio,snapshot=on \
         -drive file={seed},format=raw,if=virtio,readonly=on",
        serial = seed.with_extension("serial").display(),
        monitor = monitor(seed).display(),
        template = template.display(),
        seed = seed.display(),
    );
    for (number, mac) in (1..).zip(macs) {
        line += &format!(
            " -netdev tap,id=n{number},ifname=tap{number},script=no,downscript=no \
             -device virtio-net-pci,netdev=n{number},mac={mac},romfile="
        );
    }
    line
}

/// Makes the tap of that number, and joins it with the end of a cable.
pub(crate) fn connect_tap(space: &Namespace, number: u8, cable: &str) {
    space.ip(&format!("tuntap add dev tap{number} mode tap"));
    space.ip(&format!("link add br{number} type bridge"));
    for link in [&format!("tap{number}"), cable] {
        space.ip(&format!("link set {link} master br{number}"));
        space.ip(&format!("link set {link} up"));
    }
    space.ip(&format!("link set br{number} up"));
}

/// Joins two namespaces by a cable.
pub(crate) fn connect(one: &Namespace, name: &str, mac: MacAddr, other: &Namespace, other_name: &str) {
    plug_in(one, name, mac, other, other_name);
    one.ip(&format!("link set {name} up"));
}

/// The same, where whoever is in the one sees to its link, and may give it another name at once.
pub(crate) fn plug_in(one: &Namespace, name: &str, mac: MacAddr, other: &Namespace, other_name: &str) {
    let peer = format!("peer name {other_name} netns {}", other.name());
    one.ip(&format!("link add name {name} address {mac} type veth {peer}"));
    other.ip(&format!("link set {other_name} up"));
}
