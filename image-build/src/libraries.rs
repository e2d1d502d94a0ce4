//! A dynamic program with all that it needs to run, out of unpacked packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::BuildError;
use crate::elf;
use crate::files;

/// Where Debian's packages have libraries, and where their loader looks for them.
const FOLDERS: [&str; 2] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];

/// A library is in none of the packages.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed_by} needs {library}, which no package of the image has")]
pub struct MissingLibrary {
    library: String,
    needed_by: String,
}

/// The loader and the libraries of a program, each by its path in the image.
///
/// # Errors
/// When one is missing, or a file is no program.
pub fn of(program: &Path, root: &Path) -> Result<BTreeMap<String, Vec<u8>>, BuildError> {
    let mut found = BTreeMap::new();
    let content = files::read(program)?;
    let name = program.display().to_string();
    if let Some(loader) = elf::loader(&name, &content)? {
        let path = loader.trim_start_matches('/').to_owned();
        found.insert(path.clone(), files::read(&in_root(root, &path)?)?);
    }
    collect(&name, &content, root, &mut found)?;
    Ok(found)
}

fn collect(
    name: &str,
    content: &[u8],
    root: &Path,
    found: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), BuildError> {
    for library in elf::needed(name, content)? {
        let path = format!("{}/{library}", FOLDERS[0]);
        let is_loader = found.keys().any(|other| other.ends_with(&format!("/{library}")));
        if is_loader {
            continue;
        }
        let places = FOLDERS.iter().map(|folder| root.join(folder).join(&library));
        let missing = || MissingLibrary { library: library.clone(), needed_by: name.to_owned() };
        let place = places.into_iter().find(|place| place.exists()).ok_or_else(missing)?;
        let content = files::read(&place)?;
        found.insert(path, content.clone());
        collect(&library, &content, root, found)?;
    }
    Ok(())
}

/// A path in the root folder. A link there may be absolute, and is meant from there.
fn in_root(root: &Path, path: &str) -> Result<PathBuf, BuildError> {
    let place = root.join(path);
    match std::fs::read_link(&place) {
        Ok(target) if target.is_absolute() => Ok(root.join(target.strip_prefix("/").unwrap_or(&target))),
        _ => Ok(place),
    }
}
