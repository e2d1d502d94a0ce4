//! A disk that boots by BIOS: an MBR and one FAT16 partition with SYSLINUX, a kernel and an initramfs.
//!
//! It is put together in an image file, without mounts and without root's rights. The boot sector's code comes from the
//! package syslinux-common of the build machine, beside the `syslinux` program; it decides about the disk like any input.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::BuildError;
use crate::files;
use crate::program::Program;
use crate::tools::{self, Tool};

/// What this module runs.
pub const TOOLS: [Tool; 4] = [
    Tool::new("mkfs.vfat", "dosfstools"),
    Tool::new("syslinux", "syslinux"),
    Tool::new("mcopy", "mtools"),
    Tool::new("qemu-img", "qemu-utils"),
];

/// The disk cannot be put together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// The boot sector's code is not installed.
    #[error("{} is missing. Install it with: apt install syslinux-common", .0.display())]
    NoBootCode(PathBuf),
}

const MIB: u64 = 1 << 20;
pub(crate) const SECTOR: u64 = 512;
/// Where the partition begins: what every partitioning program does since disks have 4 KiB sectors.
pub(crate) const START: u64 = MIB;
/// The smallest partition for which FAT16 has enough clusters of 4 sectors.
const SMALLEST_MIB: u64 = 16;
/// For SYSLINUX itself, the directory and the tables.
const OVERHEAD: u64 = 512 << 10;

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionKind {
    /// FAT16.
    Fat16 = 0x0e,
    /// A file system of Linux.
    Linux = 0x83,
}

/// What boots.
#[derive(Debug)]
pub struct Boot<'a> {
    /// The kernel's file.
    pub kernel: &'a Path,
    /// The initramfs.
    pub initrd: &'a Path,
    /// The kernel's command line.
    pub command_line: &'a str,
}

/// The file with SYSLINUX's boot sector, installed beside the program.
///
/// # Errors
/// When it is not there; the error names its package.
pub fn boot_code() -> Result<PathBuf, DiskError> {
    let program = tools::find("syslinux").unwrap_or_else(|| PathBuf::from("/usr/bin/syslinux"));
    boot_code_beside(&program)
}

fn boot_code_beside(program: &Path) -> Result<PathBuf, DiskError> {
    let prefix = program.parent().and_then(Path::parent).unwrap_or(Path::new("/usr"));
    let path = prefix.join("lib/syslinux/mbr/mbr.bin");
    if path.is_file() { Ok(path) } else { Err(DiskError::NoBootCode(path)) }
}

/// Lays the disk out as a raw image in a folder, and gives its path.
///
/// # Errors
/// When a program fails or a file cannot be written.
pub fn lay_out(boot: &Boot<'_>, folder: &Path, epoch: u64) -> Result<PathBuf, BuildError> {
    let contents = boot_files(boot, &folder.join("boot"), epoch)?;
    let mut need = OVERHEAD;
    for path in &contents {
        need += files::hash_file(path)?.1;
    }
    let size_mib = need.div_ceil(MIB).max(SMALLEST_MIB);
    let image = folder.join("disk.raw");
    create(&image, size_mib)?;
    let first_sector = (START / SECTOR).to_string();
    Program::new("mkfs.vfat")
        .args(["--invariant", "-F", "16", "-s", "4", "-g", "64/32", "-i", "506f647a", "-n", "BOOT"])
        .args(["-h", &first_sector, "--offset", &first_sector])
        .arg(&image)
        .arg((size_mib * 1024).to_string())
        .epoch(epoch)
        .run()?;
    // SYSLINUX comes first, so that its core lies at the start.
    let install = Program::new("syslinux").args(["--install", "--offset", &START.to_string()]);
    install.arg(&image).epoch(epoch).run()?;
    let partition = format!("{}@@{START}", image.display());
    Program::new("mcopy").args(["-m", "-i", &partition]).args(&contents).arg("::/").epoch(epoch).run()?;
    Ok(image)
}

/// Turns a raw image into a qcow2 file. Not a compressed one: kernel and initramfs are compressed already, so it would
/// save a fifth, and QEMU unpacks a cluster anew for every read of a part of it, which a boot loader's reads all are:
/// measured in an emulated host, a fifth of the processor time of a boot.
///
/// # Errors
/// When qemu-img fails.
pub fn to_qcow2(raw: &Path, qcow2: &Path) -> Result<(), BuildError> {
    // One coroutine, so that clusters are written in order.
    let convert = Program::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2", "-m", "1"]);
    convert.arg(raw).arg(qcow2).run()?;
    Ok(())
}

/// Turns a raw image into a compressed qcow2 file: for whole systems, which go over networks and are mostly never read.
///
/// # Errors
/// When qemu-img fails.
pub fn to_small_qcow2(raw: &Path, qcow2: &Path) -> Result<(), BuildError> {
    let convert = Program::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2", "-m", "1"]);
    convert.args(["-c", "-o", "compression_type=zstd"]).arg(raw).arg(qcow2).run()?;
    Ok(())
}

/// The partition's files with their final names and times.
fn boot_files(boot: &Boot<'_>, folder: &Path, epoch: u64) -> Result<Vec<PathBuf>, BuildError> {
    let command_line = boot.command_line;
    let menu = format!(
        "DEFAULT podzol\nPROMPT 0\nTIMEOUT 0\nLABEL podzol\n  LINUX vmlinuz\n  INITRD initrd.img\n  APPEND {command_line}\n"
    );
    let contents = [
        ("syslinux.cfg", menu.into_bytes()),
        ("vmlinuz", files::read(boot.kernel)?),
        ("initrd.img", files::read(boot.initrd)?),
    ];
    let mut paths = Vec::new();
    for (name, content) in contents {
        let path = folder.join(name);
        files::write(&path, content)?;
        files::set_time(&path, epoch)?;
        paths.push(path);
    }
    Ok(paths)
}

fn create(image: &Path, partition_mib: u64) -> Result<(), BuildError> {
    let code = files::read(&boot_code()?)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(image)
        .map_err(files::context("create", image))?;
    let wrote = file.set_len(START + partition_mib * MIB);
    wrote
        .and_then(|()| file.write_all_at(&mbr(&code, PartitionKind::Fat16, partition_mib * MIB), 0))
        .map_err(files::context("write", image))?;
    Ok(())
}

/// A boot sector with one active partition of this size in bytes, from [`START`].
pub(crate) fn mbr(code: &[u8], kind: PartitionKind, size: u64) -> [u8; 512] {
    /// "Look at the sector numbers instead": cylinder 1023, head 254, sector 63.
    const BEYOND: [u8; 3] = [0xfe, 0xff, 0xff];
    let mut out = [0; 512];
    // The code area ends before the disk's signature.
    let length = code.len().min(440);
    out[..length].copy_from_slice(&code[..length]);
    out[440..444].copy_from_slice(b"Podz");
    out[446] = 0x80;
    out[447..450].copy_from_slice(&BEYOND);
    out[450] = kind as u8;
    out[451..454].copy_from_slice(&BEYOND);
    // Both fit for any partition up to 2 TiB.
    out[454..458].copy_from_slice(&((START / SECTOR) as u32).to_le_bytes());
    out[458..462].copy_from_slice(&((size / SECTOR) as u32).to_le_bytes());
    out[510..].copy_from_slice(&[0x55, 0xaa]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_of_missing_boot_code_is_named() {
        let prefix = tempfile::tempdir().unwrap();
        let program = prefix.path().join("bin/syslinux");
        let text = boot_code_beside(&program).unwrap_err().to_string();
        assert!(
            text.ends_with(
                "lib/syslinux/mbr/mbr.bin is missing. Install it with: apt install syslinux-common"
            )
        );
        let code = prefix.path().join("lib/syslinux/mbr/mbr.bin");
        files::write(&code, "code").unwrap();
        assert_eq!(boot_code_beside(&program), Ok(code));
    }

    #[test]
    fn the_boot_sector_has_one_active_partition_from_the_first_mebibyte() {
        let sector = mbr(&[0xeb; 440], PartitionKind::Fat16, 17 * MIB);
        assert_eq!(sector[439], 0xeb);
        assert_eq!(sector[446..450], [0x80, 0xfe, 0xff, 0xff]);
        assert_eq!(sector[454..462], [0, 8, 0, 0, 0, 0x88, 0, 0]);
        assert_eq!(sector[510..], [0x55, 0xaa]);
    }
}
