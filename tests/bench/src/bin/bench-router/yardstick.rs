//! The least that boots: the router's own kernel, loader and command line, with busybox as all there is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use podzol_image::cpio::Archive;
use podzol_image::disk::{self, Boot};
use podzol_image::elf;
use podzol_image::program::Program;

use crate::need;

/// What its init says.
pub(crate) const READY: &str = "a bare kernel with busybox alone is ready";

/// Where the partition begins in a template's disk.
const PARTITION: u64 = 1 << 20;

/// Makes its image in a folder, of the router's template.
pub(crate) fn make(template: &Path, folder: &Path) -> Result<PathBuf> {
    let raw = folder.join("router.raw");
    let convert = Program::new("qemu-img").args(["convert", "-O", "raw"]);
    convert.arg(template).arg(&raw).run()?;
    let inside = format!("{}@@{PARTITION}", raw.display());
    let copy = Program::new("mcopy").args(["-i", &inside, "::/vmlinuz", "::/syslinux.cfg"]);
    copy.arg(folder).run()?;
    let menu = std::fs::read_to_string(folder.join("syslinux.cfg"))?;
    let line = menu.lines().find_map(|line| line.trim().strip_prefix("APPEND ")).context("a command line")?;

    let plain = folder.join("initrd.cpio");
    std::fs::write(&plain, initramfs()?)?;
    let packed = folder.join("initrd.img");
    Program::new("zstd").args(["-19", "-T1", "-q", "-o"]).arg(&packed).arg(&plain).run()?;
    let boot = Boot { kernel: &folder.join("vmlinuz"), initrd: &packed, command_line: line };
    let disk = disk::lay_out(&boot, &folder.join("disk"), 0)?;
    let image = folder.join("yardstick.qcow2");
    disk::to_qcow2(&disk, &image)?;
    Ok(image)
}

fn initramfs() -> Result<Vec<u8>> {
    let busybox = std::fs::read(need("busybox", "busybox-static")?)?;
    elf::require_static("busybox", &busybox).context("install it with: apt install busybox-static")?;
    let mut archive = Archive::new();
    for folder in ["bin", "dev"] {
        archive.folder(folder);
    }
    archive.character_device("dev/console", 5, 1);
    archive.file("bin/busybox", 0o755, busybox);
    let init = format!("#!/bin/busybox sh\necho {READY}\nexec /bin/busybox sleep 100000\n");
    archive.file("init", 0o755, init);
    Ok(archive.bytes(0))
}
