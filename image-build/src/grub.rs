//! A disk that boots by BIOS: an MBR, GRUB behind it, and one ext4 partition with a kernel and GRUB's configuration.
//!
//! It is put together in an image file, without mounts and without root's rights, where `grub-install` wants a block
//! device. GRUB's boot sector loads the second sector of the disk, and the start of its core there the sectors that
//! follow: both are what GRUB has in its files when nobody has changed them (grub-core/boot/i386/pc, `boot.S` and
//! `diskboot.S`), so copying them to their places is all that there is to do.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::BuildError;
use crate::disk::{self, PartitionKind};
use crate::files;
use crate::program::Program;
use crate::tools::Tool;

/// What this module runs.
pub const TOOLS: [Tool; 1] = [Tool::new("grub-mkimage", "grub-common")];

/// Where GRUB's configuration stands in the file system.
pub const CONFIGURATION: &str = "boot/grub/grub.cfg";

/// What the core needs to get to the configuration, and what that says: no further module is ever loaded.
const MODULES: [&str; 9] =
    ["biosdisk", "part_msdos", "ext2", "normal", "linux", "search", "search_label", "configfile", "boot"];

/// The core does not fit between boot sector and partition.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrubError {
    /// It is too large.
    #[error("GRUB's core has {size} bytes, and there is room for {room}")]
    Core {
        /// Its size.
        size: usize,
        /// The room.
        room: usize,
    },
}

/// Lays a disk out as a raw image: GRUB, its modules in `grub` (the unpacked package grub-pc-bin), and the file system.
///
/// # Errors
/// When a program fails or a file cannot be written.
pub fn lay_out(grub: &Path, file_system: &Path, folder: &Path, image: &Path) -> Result<(), BuildError> {
    let modules = grub.join("usr/lib/grub/i386-pc");
    let core = folder.join("core.img");
    Program::new("grub-mkimage")
        .args(["--format=i386-pc", "--compression=xz", "--prefix=(hd0,msdos1)/boot/grub"])
        .arg(format!("--directory={}", modules.display()))
        .arg(format!("--output={}", core.display()))
        .args(MODULES)
        .run()?;
    let (code, core) = (files::read(&modules.join("boot.img"))?, files::read(&core)?);
    let room = usize::try_from(disk::START - disk::SECTOR).unwrap_or(usize::MAX);
    if core.len() > room {
        return Err(GrubError::Core { size: core.len(), room }.into());
    }
    let partition = File::open(file_system).map_err(files::context("open", file_system))?;
    let size = partition.metadata().map_err(files::context("look at", file_system))?.len();
    let sector = disk::mbr(&code, PartitionKind::Linux, size);
    let out = File::create(image).map_err(files::context("create", image))?;
    out.set_len(disk::START + size)
        .and_then(|()| out.write_all_at(&sector, 0))
        .and_then(|()| out.write_all_at(&core, disk::SECTOR))
        .and_then(|()| copy_sparse(&partition, size, &out, disk::START))
        .map_err(files::context("write", image))?;
    Ok(())
}

/// Copies a file into another at an offset, leaving holes where there are only zeros.
fn copy_sparse(from: &File, size: u64, to: &File, offset: u64) -> std::io::Result<()> {
    const PIECE: u64 = 1 << 20;
    let mut buffer = vec![0; PIECE as usize];
    let mut at = 0;
    while at < size {
        let piece = &mut buffer[..PIECE.min(size - at) as usize];
        from.read_exact_at(piece, at)?;
        if piece.iter().any(|byte| *byte != 0) {
            to.write_all_at(piece, offset + at)?;
        }
        at += piece.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_copy_is_the_same_and_has_holes_where_there_are_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let mut content = vec![0; (5 << 20) + 7];
        (content[3], content[(4 << 20) + 1]) = (1, 2);
        std::fs::write(&from, &content).unwrap();
        let out = File::create_new(&to).unwrap();
        out.set_len(512 + content.len() as u64).unwrap();
        copy_sparse(&File::open(&from).unwrap(), content.len() as u64, &out, 512).unwrap();
        assert!(std::fs::read(&to).unwrap()[512..] == content);
        assert!(out.metadata().unwrap().blocks() * 512 < 3 << 20);
    }
}
