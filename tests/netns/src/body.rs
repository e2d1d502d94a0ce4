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

/// What the router is.
#[derive(Debug)]
pub(crate) enum Body {
    /// A process in its namespace.
    Process,
    /// A VM of this template, whose links are taps in its namespace.
    Vm(PathBuf),
}

impl Body {
    /// As the variable says.
    pub(crate) fn chosen() -> Self {
        std::env::var_os(TEMPLATE).map_or(Self::Process, |path| Self::Vm(path.into()))
    }

    /// The seed, as the router reads it.
    pub(crate) fn seed(&self, seed: &RouterSeed) -> Vec<u8> {
        let text = serde_json::to_vec(seed).expect("it is JSON");
        match self {
            Self::Process => text,
            Self::Vm(_) => podzol_cidata::image(&[(SEED_FILE, &text)]).expect("it is small"),
        }
    }

    /// Gives the router its link with that number, to another namespace.
    pub(crate) fn connect(&self, router: &Namespace, number: u8, mac: MacAddr, to: &Namespace, name: &str) {
        match self {
            Self::Process => connect(router, &format!("x{number}"), mac, to, name),
            Self::Vm(_) => {
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
                let test = std::env::current_exe().expect("it has a path");
                let folder = test.parent().and_then(Path::parent).expect("it is in target/…/deps");
                let program = folder.join("podzol-appliance");
                assert!(program.exists(), "{} is not built", program.display());
                router.start(&format!("{} router --seed {}", program.display(), seed.display()))
            }
            Self::Vm(template) => router.start(&qemu(template, seed, macs)),
        }
    }
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
fn qemu(template: &Path, seed: &Path, macs: &[MacAddr]) -> String {
    let mut line = format!(
        "qemu-system-x86_64 -nodefaults -no-user-config -display none -machine pc -accel tcg -cpu max -m {MEMORY_MIB} \
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
    let peer = format!("peer name {other_name} netns {}", other.name());
    one.ip(&format!("link add name {name} address {mac} type veth {peer}"));
    for (space, link) in [(one, name), (other, other_name)] {
        space.ip(&format!("link set {link} up"));
    }
}
