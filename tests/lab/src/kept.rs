//! Servers that have booted once are kept: memory, disk and keys of each, as they were when Podzol's package had been
//! installed and before they joined. A later lab goes on from there, which an emulated server does in a second; its boot
//! and the package take three quarters of a minute.
//!
//! Kept servers are in the folder of the images, as they belong to one of `lab-host`: with another image, another QEMU
//! or another command line they are booted anew. With another package they are not: it is installed over the one there.
//! `make lab-down` leaves them, as it leaves the images.
//!
//! # Design notes
//! A server goes on as an incoming migration of QEMU's does, on a disk with the kept one behind it. Two things in it are
//! of the past: its clock, which is set, and the state of its random numbers, which would be the same in each lab; a
//! device that tells the kernel of its new life (vmgenid) is of no use, as Debian's kernels for clouds have no driver.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use serde_json::json;

use crate::cloud::wait_for;
use crate::machine::{Boot, DISK, INITRD, KNOWN_HOSTS, MONITOR};
use crate::program::{output, run};
use crate::qmp::Qmp;
use crate::ssh::Ssh;
use crate::state::{Host, Lab, Role};

/// The memory of a kept server.
const MEMORY: &str = "memory";
/// What a kept server was started as.
const STARTED_AS: &str = "started-as";
/// The package that is installed on a kept server.
const PACKAGE: &str = "package.deb";
/// How long a server's memory may take to be written, or read.
const PASSED: Duration = Duration::from_secs(120);
/// How long a log-in takes to end on the server.
const LEAVES: Duration = Duration::from_secs(2);

/// What a server has done by the time it is kept, besides booting: what it would do at its first VM anyway.
const fn prepares(role: Role) -> &'static str {
    match role {
        // libvirt asks QEMU what it can do once, and keeps the answer.
        Role::Compute => {
            "virsh -c qemu:///system domcapabilities --virttype kvm > /dev/null; modprobe -a nfsv4 kvm_amd"
        }
        Role::Storage => "modprobe nfsd",
    }
}

impl Lab {
    fn kept(&self, host: &Host) -> PathBuf {
        self.images.join("booted").join(&host.name)
    }

    /// The kept server that was started as this one would be, if there is one.
    pub(crate) fn kept_like(&self, host: &Host, boot: &Boot) -> Option<PathBuf> {
        let folder = self.kept(host);
        let started_as = std::fs::read_to_string(folder.join(STARTED_AS)).ok()?;
        (started_as == boot.description).then_some(folder)
    }

    /// Whether a package is the one that the kept server has.
    ///
    /// # Errors
    /// When the package cannot be read.
    pub fn is_kept_with(&self, host: &Host, package: &Path) -> anyhow::Result<bool> {
        let wanted = std::fs::read(package).with_context(|| format!("cannot read {}", package.display()))?;
        Ok(std::fs::read(self.kept(host).join(PACKAGE)).is_ok_and(|kept| kept == wanted))
    }

    /// Keeps a server that has booted, and on which the package was installed. It stands still for the time of it.
    ///
    /// # Errors
    /// When its memory or disk cannot be written; then it runs on, and nothing is kept.
    pub fn keep(&self, host: &Host, boot: &Boot, package: &Path) -> anyhow::Result<()> {
        let folder = self.kept(host);
        let new = folder.with_extension("new");
        for old in [&folder, &new] {
            match std::fs::remove_dir_all(old) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    bail!("cannot remove {}: {error}", old.display())
                }
                _ => {}
            }
        }
        std::fs::create_dir_all(&new)?;
        let ssh = self.ssh(host);
        // "degraded" is an answer too.
        ssh.run(&format!("systemctl is-system-running --wait > /dev/null; {}; sync", prepares(host.role)))?;
        // A log-in that the server remembers would never end there.
        ssh.hang_up()?;
        std::thread::sleep(LEAVES);
        let own = self.server(host);
        let mut qmp = Qmp::connect(&own.join(MONITOR))?;
        qmp.execute("stop", &json!({}))?;
        let kept = write_down(&mut qmp, &own, &new);
        qmp.execute("cont", &json!({}))?;
        kept.with_context(|| format!("cannot keep {} as it has booted", host.name))?;
        std::fs::copy(package, new.join(PACKAGE))?;
        std::fs::write(new.join(STARTED_AS), &boot.description)?;
        Ok(std::fs::rename(&new, &folder)?)
    }

    /// Makes a kept server ready to go on, and gives what QEMU is to be told for it.
    pub(crate) fn wake(&self, host: &Host, kept: &Path) -> anyhow::Result<[String; 2]> {
        let own = self.server(host);
        for file in [INITRD, KNOWN_HOSTS] {
            std::fs::copy(kept.join(file), own.join(file))?;
        }
        make_overlay(&kept.join(DISK), "qcow2", &own.join(DISK))?;
        Ok(["-incoming".into(), format!("exec:cat {}", quoted(&kept.join(MEMORY)))])
    }

    /// Has a kept server go on, once QEMU has its memory: it stood still when it was written down.
    pub(crate) fn go_on(&self, host: &Host) -> anyhow::Result<()> {
        let mut qmp = Qmp::connect(&self.server(host).join(MONITOR))?;
        wait_for_memory(&mut qmp, "read")?;
        qmp.execute("cont", &json!({}))?;
        Ok(())
    }
}

impl Lab {
    /// Has a server stand still, with all that runs on it: nobody hears of it any more.
    ///
    /// # Errors
    /// When its emulator does not answer.
    pub fn freeze(&self, host: &Host) -> anyhow::Result<()> {
        Qmp::connect(&self.server(host).join(MONITOR))?.execute("stop", &json!({})).map(drop)
    }

    /// Has a server that stands still go on.
    ///
    /// # Errors
    /// When its emulator does not answer.
    pub fn thaw(&self, host: &Host) -> anyhow::Result<()> {
        Qmp::connect(&self.server(host).join(MONITOR))?.execute("cont", &json!({})).map(drop)
    }
}

/// Writes memory and disk of a server that stands still, and copies what it was started with.
fn write_down(qmp: &mut Qmp, own: &Path, to: &Path) -> anyhow::Result<()> {
    qmp.execute("migrate-set-parameters", &json!({ "max-bandwidth": 1_u64 << 34 }))?;
    let uri = format!("exec:cat > {}", quoted(&to.join(MEMORY)));
    qmp.execute("migrate", &json!({ "uri": uri }))?;
    wait_for_memory(qmp, "written")?;
    for file in [INITRD, KNOWN_HOSTS] {
        std::fs::copy(own.join(file), to.join(file))?;
    }
    let (disk, copy) = (own.join(DISK).display().to_string(), to.join(DISK).display().to_string());
    run("cp", &["--sparse=always", &disk, &copy])?;
    Ok(())
}

/// A path as QEMU's shell takes it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Waits until QEMU has passed all of a server's memory.
fn wait_for_memory(qmp: &mut Qmp, passed: &str) -> anyhow::Result<()> {
    let complete = wait_for(&format!("a server's memory to be {passed}"), PASSED, || {
        Ok(match qmp.execute("query-migrate", &json!({}))?["status"].as_str() {
            Some("completed") => Some(true),
            Some("failed" | "cancelled") => Some(false),
            _ => None,
        })
    })?;
    ensure!(complete, "a server's memory cannot be {passed}");
    Ok(())
}

/// Makes a disk of what differs from another one.
pub(crate) fn make_overlay(of: &Path, format: &str, path: &Path) -> anyhow::Result<()> {
    output(
        Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", "-F", format, "-b"]).args([of, path]),
    )?;
    Ok(())
}

/// Tells a server that goes on what time it is, and gives it random numbers of its own.
///
/// # Errors
/// When it cannot be told.
pub fn bring_up_to_date(ssh: &Ssh) -> anyhow::Result<()> {
    let mut random = [0; 64];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut random)?;
    // RNDRESEEDCRNG (linux/random.h): what was just written counts from now on.
    let reseed = "open(R, '+<', '/dev/urandom') && ioctl(R, 0x5207, 0) or die $!";
    ssh.feed(&format!("cat > /dev/urandom && perl -e \"{}\"", reseed.replace('$', "\\$")), &random)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    ssh.run(&format!("date -s @{:.3} > /dev/null", now.as_secs_f64()))?;
    Ok(())
}
