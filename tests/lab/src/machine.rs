//! Booting emulated servers.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;
use podzol_image::seed::HostSeed;

use crate::program::{output, run};
use crate::state::{Host, Lab, Role};

/// QEMU's program.
pub const EMULATOR: &str = "qemu-system-x86_64";

/// Memory of a computing server in MiB: its own 300 and room for a handful of tiny VMs.
const COMPUTE_MEMORY: u32 = 1792;

/// Memory of a storage server in MiB.
const STORAGE_MEMORY: u32 = 640;

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
    /// Makes the lab's SSH key.
    ///
    /// # Errors
    /// When ssh-keygen fails.
    pub fn make_key(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(self.path("keys"))?;
        let path = self.path("keys/id").display().to_string();
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "podzol-lab", "-f", &path])?;
        Ok(())
    }

    /// Starts a server.
    ///
    /// # Errors
    /// When a file cannot be made or QEMU does not start.
    pub fn boot(&self, host: &Host, accelerator: Accelerator) -> anyhow::Result<()> {
        let folder = self.path(&format!("servers/{}", host.name));
        std::fs::create_dir_all(&folder)?;
        let taps = self.make_taps(host)?;
        let initrd = folder.join("initrd.img");
        std::fs::write(&initrd, self.seed(host, &folder)?)?;
        let image = self.images.join("lab-host");
        let command_line = std::fs::read_to_string(image.join("cmdline"))
            .with_context(|| format!("cannot read {}: are the images built?", image.display()))?;
        let at = |name: &str| folder.join(name).display().to_string();
        let memory = if host.role == Role::Compute { COMPUTE_MEMORY } else { STORAGE_MEMORY };
        let mut qemu = Command::new("ip");
        qemu.args(["netns", "exec", &self.namespace(), EMULATOR, "-name", &host.name])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-smp", "1"])
            .args(["-machine", "q35,usb=off,sata=off,smbus=off,vmport=off,hpet=off,graphics=off"])
            .args(accelerator.arguments())
            .args(["-m", &memory.to_string(), "-kernel", &image.join("vmlinuz").display().to_string()])
            .args(["-initrd", &initrd.display().to_string(), "-append", command_line.trim()])
            .args(["-drive", &drive("root", &image.join("root.img"), "snapshot=on,")])
            .args(["-device", "virtio-blk-pci,drive=root"])
            .args(["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"])
            .args(["-serial", &format!("file:{}", at("console.log")), "-pidfile", &at("pid"), "-daemonize"])
            // The throw-away overlay is kept with the lab's other files.
            .env("TMPDIR", &folder);
        for (number, tap) in taps.iter().enumerate() {
            let mac = format!("52:54:00:77:{number:02x}:{:02x}", host.number);
            qemu.args(["-netdev", &format!("tap,id=n{number},ifname={tap},script=no,downscript=no")]);
            qemu.args(["-device", &format!("virtio-net-pci,netdev=n{number},mac={mac},romfile=")]);
        }
        if host.role == Role::Storage {
            let data = folder.join("data.img");
            make_disk(&data)?;
            qemu.args(["-drive", &drive("data", &data, "")]).args(["-device", "virtio-blk-pci,drive=data"]);
        }
        output(qemu.stdout(Stdio::null())).with_context(|| format!("cannot boot {}", host.name))?;
        Ok(())
    }

    /// What makes a server itself, behind the image's initramfs.
    fn seed(&self, host: &Host, folder: &Path) -> anyhow::Result<Vec<u8>> {
        let key = folder.join("host_key").display().to_string();
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", &host.name, "-f", &key])?;
        let public = std::fs::read_to_string(format!("{key}.pub"))?;
        std::fs::write(folder.join("known_hosts"), format!("{} {public}", host.address))?;
        let seed = HostSeed {
            hostname: &host.name,
            machine_id: &format!("{:032x}", 0x7077_0000_u128 + u128::from(host.number)),
            links: &[Some((IpAddr::V4(host.address), 24)), None],
            host_key: &std::fs::read_to_string(&key)?,
            authorized_keys: &std::fs::read_to_string(self.path("keys/id.pub"))?,
            hosts: &format!("127.0.0.1 localhost\n{} {}\n", host.address, host.name),
        };
        let image = self.images.join("lab-host/initrd.img");
        let image = std::fs::read(&image).with_context(|| format!("cannot read {}", image.display()))?;
        Ok(seed.initrd(&image))
    }
}

fn drive(id: &str, file: &Path, options: &str) -> String {
    format!("if=none,id={id},file={},format=raw,{options}cache=unsafe,aio=threads", file.display())
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
