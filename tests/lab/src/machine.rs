//! Booting emulated servers.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use podzol_image::seed::{HostSeed, Link};

use crate::kept::make_overlay;
use crate::program::{output, run};
use crate::state::{Host, Lab, Role};

/// QEMU's program.
pub const EMULATOR: &str = "qemu-system-x86_64";

/// Memory of a computing server in MiB: its own 300, room for a handful of tiny VMs, and for two routers of 200 each.
const COMPUTE_MEMORY: u32 = 2304;

/// Memory of a storage server in MiB.
const STORAGE_MEMORY: u32 = 640;

/// A computing server's bridges on the management network and on the one outside, into which routers are plugged.
pub const TRAFFIC_BRIDGES: [&str; 2] = ["br-management", "br-public"];

/// A server's disk: what differs from the image.
pub(crate) const DISK: &str = "root.qcow2";
/// The disk of a storage server, for its pools.
const DATA: &str = "data.img";
/// A server's initramfs: the image's, and what makes the server itself.
pub(crate) const INITRD: &str = "initrd.img";
/// The key that the server shows to those who log in.
pub(crate) const KNOWN_HOSTS: &str = "known_hosts";
/// The socket of QEMU's machine protocol.
pub(crate) const MONITOR: &str = "qmp";

/// How a server was started.
#[derive(Debug)]
pub struct Boot {
    /// All that decides what it is by the time it has booted.
    pub(crate) description: String,
    /// Whether it goes on as one that was kept.
    pub goes_on: bool,
    /// Whether its instructions are emulated, so that its boot is worth keeping.
    pub emulated: bool,
}

/// How the servers' instructions are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// In KVM, where it works on this machine and can be nested.
    Kvm,
    /// By software, with AMD's virtualisation emulated as well, so that there is KVM inside.
    Emulation,
}

impl Accelerator {
    /// What works on this machine, and if that is emulation, why.
    pub async fn of_this_machine() -> (Self, Option<String>) {
        match kvm_problem().await {
            None => (Self::Kvm, None),
            Some(problem) => (Self::Emulation, Some(problem)),
        }
    }

    /// How servers run with it, and why not otherwise, for people.
    pub fn told(self, why: Option<&str>) -> String {
        match (self, why) {
            (Self::Kvm, _) => "servers run in KVM".into(),
            (Self::Emulation, None) => "servers run by emulation".into(),
            (Self::Emulation, Some(why)) => format!("servers run by emulation: {why}"),
        }
    }

    fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Emulation => ["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "EPYC,+svm,+npt"],
        }
    }
}

/// Why the servers cannot run in KVM, with KVM inside; nothing if they can.
async fn kvm_problem() -> Option<String> {
    let nested = ["kvm_intel", "kvm_amd"].iter().any(|module| {
        let path = format!("/sys/module/{module}/parameters/nested");
        std::fs::read_to_string(path).is_ok_and(|value| matches!(value.trim(), "1" | "Y"))
    });
    if !nested {
        return Some("KVM is not nested, so there would be none in the servers".into());
    }
    podzol_hypervisor::probe::kvm_problem(&Path::new("/usr/bin").join(EMULATOR)).await
}

impl Lab {
    /// Makes the lab's SSH key, or takes the one that kept servers know.
    ///
    /// # Errors
    /// When ssh-keygen fails.
    pub fn make_key(&self) -> anyhow::Result<()> {
        let kept = self.images.join("booted/keys");
        if !kept.join("id.pub").exists() {
            std::fs::create_dir_all(&kept)?;
            // Half of one, if a lab was killed while it made it.
            let _ = std::fs::remove_file(kept.join("id"));
            let path = kept.join("id").display().to_string();
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "podzol-lab", "-f", &path])?;
        }
        std::fs::create_dir_all(self.path("keys"))?;
        for name in ["id", "id.pub"] {
            std::fs::copy(kept.join(name), self.path("keys").join(name))?;
        }
        Ok(())
    }

    /// The folder of a server.
    pub(crate) fn server(&self, host: &Host) -> PathBuf {
        self.path(&format!("servers/{}", host.name))
    }

    /// Starts a server: as it was kept when it had booted, or from the beginning.
    ///
    /// # Errors
    /// When a file cannot be made or QEMU does not start.
    pub fn boot(&self, host: &Host, accelerator: Accelerator) -> anyhow::Result<Boot> {
        let folder = self.server(host);
        std::fs::create_dir_all(&folder)?;
        let taps = self.make_taps(host)?;
        let arguments = self.arguments(host, &taps, accelerator)?;
        let image = std::fs::read_to_string(self.images.join("lab-host/manifest.json"))?;
        let key = std::fs::read_to_string(self.path("keys/id.pub"))?;
        let qemu = run(EMULATOR, &["--version"])?;
        let links: String = links(host).iter().map(|link| format!("{link}\n")).collect();
        let description = format!("{qemu}{}\n{links}{key}{image}", arguments.join("\n"));
        let mut boot = Boot { description, goes_on: false, emulated: accelerator == Accelerator::Emulation };
        let kept = if boot.emulated { self.kept_like(host, &boot) } else { None };
        let incoming = match kept {
            Some(kept) => {
                boot.goes_on = true;
                self.wake(host, &kept)?.to_vec()
            }
            None => {
                std::fs::write(folder.join(INITRD), self.seed(host, &folder)?)?;
                make_overlay(&self.images.join("lab-host/root.img"), "raw", &folder.join(DISK))?;
                Vec::new()
            }
        };
        if host.role == Role::Storage {
            make_disk(&folder.join(DATA))?;
        }
        let mut qemu = Command::new("ip");
        qemu.args(["netns", "exec", &self.namespace(), EMULATOR]).args(&arguments).args(incoming);
        output(qemu.stdout(Stdio::null())).with_context(|| format!("cannot boot {}", host.name))?;
        if boot.goes_on {
            self.go_on(host)?;
        }
        Ok(boot)
    }

    /// What QEMU is told about a server.
    fn arguments(
        &self,
        host: &Host,
        taps: &[String],
        accelerator: Accelerator,
    ) -> anyhow::Result<Vec<String>> {
        let image = self.images.join("lab-host");
        let command_line = std::fs::read_to_string(image.join("cmdline"))
            .with_context(|| format!("cannot read {}: are the images built?", image.display()))?;
        let folder = self.server(host);
        let at = |name: &str| folder.join(name).display().to_string();
        let memory = if host.role == Role::Compute { COMPUTE_MEMORY } else { STORAGE_MEMORY };
        let mut told: Vec<String> = Vec::new();
        let mut tell = |words: &[&str]| told.extend(words.iter().map(|word| (*word).to_owned()));
        tell(&["-name", &host.name, "-nodefaults", "-no-user-config", "-display", "none", "-smp", "1"]);
        tell(&["-machine", "q35,usb=off,sata=off,smbus=off,vmport=off,hpet=off,graphics=off"]);
        tell(&accelerator.arguments());
        tell(&["-m", &memory.to_string(), "-kernel", &image.join("vmlinuz").display().to_string()]);
        tell(&["-initrd", &at(INITRD), "-append", command_line.trim()]);
        tell(&[
            "-drive",
            &drive("root", &folder.join(DISK), "qcow2"),
            "-device",
            "virtio-blk-pci,drive=root",
        ]);
        tell(&["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"]);
        tell(&["-serial", &format!("file:{}", at("console.log")), "-pidfile", &at("pid"), "-daemonize"]);
        tell(&["-qmp", &format!("unix:{},server=on,wait=off", at(MONITOR))]);
        for (number, tap) in taps.iter().enumerate() {
            let mac = format!("52:54:00:77:{number:02x}:{:02x}", host.number);
            tell(&["-netdev", &format!("tap,id=n{number},ifname={tap},script=no,downscript=no")]);
            tell(&["-device", &format!("virtio-net-pci,netdev=n{number},mac={mac},romfile=")]);
        }
        if host.role == Role::Storage {
            tell(&["-drive", &drive("data", &folder.join(DATA), "raw")]);
            tell(&["-device", "virtio-blk-pci,drive=data"]);
        }
        Ok(told)
    }

    /// What makes a server itself, behind the image's initramfs.
    fn seed(&self, host: &Host, folder: &Path) -> anyhow::Result<Vec<u8>> {
        let key = folder.join("host_key").display().to_string();
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", &host.name, "-f", &key])?;
        let public = std::fs::read_to_string(format!("{key}.pub"))?;
        std::fs::write(folder.join(KNOWN_HOSTS), format!("{} {public}", host.address))?;
        let seed = HostSeed {
            hostname: &host.name,
            machine_id: &format!("{:032x}", 0x7077_0000_u128 + u128::from(host.number)),
            links: &links(host),
            host_key: &std::fs::read_to_string(&key)?,
            authorized_keys: &std::fs::read_to_string(self.path("keys/id.pub"))?,
            hosts: &format!("127.0.0.1 localhost\n{} {}\n", host.address, host.name),
        };
        let image = self.images.join("lab-host/initrd.img");
        let image = std::fs::read(&image).with_context(|| format!("cannot read {}", image.display()))?;
        Ok(seed.initrd(&image))
    }
}

/// A server's links, in the order of its taps: management, trunk, and those of routers that run on it.
fn links(host: &Host) -> Vec<Link> {
    let mut links = vec![Link::Address(IpAddr::V4(host.address), 24), Link::Up];
    if host.role == Role::Compute {
        links.extend(TRAFFIC_BRIDGES.map(Link::PortOf));
    }
    links
}

fn drive(id: &str, file: &Path, format: &str) -> String {
    format!("if=none,id={id},file={},format={format},cache=unsafe,aio=threads", file.display())
}

/// The disk of a storage server, for its pools.
fn make_disk(path: &Path) -> anyhow::Result<()> {
    let file = std::fs::File::create(path)?;
    file.set_len(4 << 30)?;
    let name = path.display().to_string();
    run(
        "mkfs.ext4",
        &["-q", "-F", "-E", "lazy_itable_init=1,nodiscard", "-O", "^has_journal", "-L", "data", &name],
    )?;
    Ok(())
}
