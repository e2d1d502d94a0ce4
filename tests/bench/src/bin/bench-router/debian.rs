//! What the router would be if it were a Debian system: the debian template with systemd as it boots, and with Debian's own
//! nftables and dnsmasq, which serve a network and rules like a router's when it is ready. cloud-init stays out.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use podzol_image::program::Program;

use crate::need;

/// What it says on its console.
pub(crate) const READY: &str = "systemd has started nftables and dnsmasq";

pub(crate) const MEMORY_MIB: u32 = 512;

/// Where the partition begins in the template's disk.
const PARTITION: u64 = 1 << 20;

/// Files of its own, each with its place. The service says that it is ready when what a router needs has been started.
const FILES: [(&str, &str); 5] = [
    ("etc/cloud/cloud-init.disabled", ""),
    (
        "etc/systemd/network/10-guest.network",
        "[Match]\nName=eth0\n[Network]\nAddress=10.1.1.1/24\nConfigureWithoutCarrier=yes\nLinkLocalAddressing=no\n",
    ),
    (
        "etc/nftables.conf",
        "flush ruleset\ntable ip filter {\n chain input {\n  type filter hook input priority 0; policy drop;\n  \
         ct state established,related accept\n  iifname \"eth0\" udp dport { 53, 67 } accept\n }\n chain forward {\n  \
         type filter hook forward priority 0; policy drop;\n  ct state established,related accept\n  iifname \"eth0\" accept\n }\n \
         chain postrouting {\n  type nat hook postrouting priority 100;\n  oifname \"eth2\" masquerade\n }\n}\n",
    ),
    (
        "etc/dnsmasq.d/router.conf",
        "interface=eth0\nbind-dynamic\nno-resolv\ndhcp-range=10.1.1.10,static\ndhcp-host=02:00:00:00:01:0a,10.1.1.10,web-1\n",
    ),
    (
        "etc/systemd/system/said.service",
        "[Unit]\nAfter=dnsmasq.service nftables.service systemd-networkd.service\nRequires=dnsmasq.service nftables.service\n\
         [Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo systemd has started nftables and dnsmasq > /dev/ttyS0'\n",
    ),
];

/// Services that are started, by their units' places.
const STARTED: [(&str, &str); 3] = [
    ("dnsmasq.service", "/lib/systemd/system/dnsmasq.service"),
    ("nftables.service", "/lib/systemd/system/nftables.service"),
    ("said.service", "/etc/systemd/system/said.service"),
];

/// Makes its image in a folder, of the debian template. What is missing in that comes from the mirrors that apt knows.
pub(crate) fn make(template: &Path, folder: &Path) -> Result<PathBuf> {
    for (program, package) in [("apt-get", "apt"), ("dpkg-deb", "dpkg"), ("mount", "mount")] {
        need(program, package)?;
    }
    let raw = folder.join("debian.raw");
    Program::new("qemu-img").args(["convert", "-O", "raw"]).arg(template).arg(&raw).run()?;
    let root = folder.join("root");
    std::fs::create_dir(&root)?;
    let mounted = Mounted::mount(&raw, root)?;
    change(&mounted.0, &folder.join("archives"))?;
    drop(mounted);
    let image = folder.join("debian-dnsmasq.qcow2");
    Program::new("qemu-img").args(["convert", "-O", "qcow2"]).arg(&raw).arg(&image).run()?;
    Ok(image)
}

fn change(root: &Path, archives: &Path) -> Result<()> {
    std::fs::create_dir_all(archives.join("partial"))?;
    let status = format!("Dir::State::status={}", root.join("var/lib/dpkg/status").display());
    let kept = format!("Dir::Cache::archives={}", archives.display());
    Program::new("apt-get")
        .args(["-o", &status, "-o", &kept, "--download-only", "--no-install-recommends", "--yes"])
        .args(["install", "dnsmasq", "nftables"])
        .run()?;
    let (contents, tar) = (archives.join("contents"), archives.join("contents.tar"));
    let mut unpacked = 0;
    for entry in std::fs::read_dir(archives)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            Program::new("dpkg-deb").arg("--extract").arg(&path).arg(&contents).run()?;
            unpacked += 1;
        }
    }
    ensure!(unpacked > 1, "apt-get fetched {unpacked} packages");
    // Into `/lib`, which is a link, as dpkg does it: dpkg-deb by itself would put a folder in its place.
    Program::new("tar").arg("-C").arg(&contents).arg("-cf").arg(&tar).arg(".").run()?;
    Program::new("tar").arg("-C").arg(root).arg("--keep-directory-symlink").arg("-xf").arg(&tar).run()?;
    for (path, text) in FILES {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(path, text)?;
    }
    // What its package's script does.
    append(&root.join("etc/passwd"), "dnsmasq:x:990:65534::/var/lib/misc:/usr/sbin/nologin\n")?;
    let wanted = root.join("etc/systemd/system/multi-user.target.wants");
    for (name, unit) in STARTED {
        let link = wanted.join(name);
        let _ = std::fs::remove_file(&link);
        symlink(unit, link)?;
    }
    Ok(())
}

fn append(path: &Path, line: &str) -> Result<()> {
    Ok(OpenOptions::new().append(true).open(path)?.write_all(line.as_bytes())?)
}

/// A mounted file system, until this goes.
struct Mounted(PathBuf);

impl Mounted {
    fn mount(raw: &Path, root: PathBuf) -> Result<Self> {
        let options = format!("loop,offset={PARTITION}");
        Program::new("mount").args(["-o", &options]).arg(raw).arg(&root).run()?;
        Ok(Self(root))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = Program::new("umount").arg(&self.0).run() {
            eprintln!("{} stays mounted: {error}", self.0.display());
        }
    }
}
