//! Installed systems that are kept in the cache, as archives.
//!
//! A system is always taken from its archive, also when that was made just now: so what comes of it does not depend on whether it was
//! kept. The archive is named by all that decides about it. Only the newest of a recipe is kept, as the one before is of packages that the
//! mirrors do not have any more.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::BuildError;
use crate::apt;
use crate::files;
use crate::manifest::Package;
use crate::program::Program;
use crate::recipe::Place;
use crate::tools;

/// The folder of the cache in which they are.
const FOLDER: &str = "systems";

/// Packing or unpacking took 3-8 s on two cores.
const DEADLINE: Duration = Duration::from_secs(600);

/// What the archiver is told when it packs. What is in `/dev` is the kernel's to make; here it is the machine's.
const PACKING: [&str; 4] =
    ["--create", "--sort=name", "--exclude=./dev/*", "--use-compress-program=zstd -1 -q"];

/// What the archiver is told when it packs and when it unpacks: whose the files are, and what they may do beside their mode.
const ALL_OF_IT: [&str; 3] = ["--numeric-owner", "--xattrs", "--xattrs-include=*"];

/// Where the system of this name is, if it is kept as mmdebstrap makes it with these arguments of these packages.
pub(super) fn find(
    name: &str,
    arguments: &[String],
    packages: &[&Package],
    place: &Place,
) -> Result<PathBuf, BuildError> {
    let mut text = format!("epoch {}\n", place.epoch);
    for program in ["mmdebstrap", "tar"] {
        if let Some(path) = tools::find(program) {
            text.push_str(&format!("tool {program} {}\n", files::hash_file(&path)?.0));
        }
    }
    // It names the mirrors in the system.
    let sources = files::read_text(&apt::sources_file(&place.cache))?;
    text.push_str(&format!("sources {}\n", files::hash(sources)));
    let packing: Vec<String> = PACKING.iter().chain(&ALL_OF_IT).map(|word| (*word).to_owned()).collect();
    arguments.iter().chain(&packing).for_each(|argument| text.push_str(&format!("argument {argument}\n")));
    for package in packages {
        text.push_str(&format!("package {} {}\n", package.file_name(), package.sha256));
    }
    Ok(place.cache.join(FOLDER).join(name).join(format!("{}.tar.zst", files::hash(text))))
}

/// Packs an installed system, in place of an older one.
pub(super) fn pack(root: &Path, archive: &Path) -> Result<(), BuildError> {
    let folder = archive.parent().unwrap_or(archive);
    files::remove(folder)?;
    files::create_folder(folder)?;
    let packed = archive.with_extension("new");
    tar(&PACKING, &packed, root, &["."])?;
    // A name that is there stands for all of its content.
    File::open(&packed).and_then(|file| file.sync_all()).map_err(files::context("write", &packed))?;
    Ok(files::rename(&packed, archive)?)
}

/// Unpacks a kept system.
pub(super) fn unpack(archive: &Path, root: &Path) -> Result<(), BuildError> {
    files::create_folder(root)?;
    let how = ["--extract", "--preserve-permissions", "--same-owner", "--use-compress-program=zstd -q"];
    tar(&how, archive, root, &[])
}

fn tar(how: &[&str], archive: &Path, folder: &Path, what: &[&str]) -> Result<(), BuildError> {
    Program::new("tar")
        .args(how.iter().copied())
        .args(ALL_OF_IT)
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(folder)
        .args(what.iter().copied())
        .deadline(DEADLINE)
        .run()?;
    Ok(())
}
