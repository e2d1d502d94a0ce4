//! What goes into a build.

use std::path::PathBuf;

use crate::BuildError;
use crate::crates::Crates;
use crate::files;
use crate::manifest::Package;
use crate::tools::Tool;

/// SHA-256 of this crate's code and recipes.
const CODE: &str = env!("PODZOL_IMAGE_CODE");

/// All that decides about a recipe's outputs.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The Debian packages that go in.
    pub packages: Vec<Package>,
    /// Other files, each by a name that does not depend on the machine, with its SHA-256.
    pub files: Vec<(String, String)>,
    /// The crates of the program that is compiled for it, if one is.
    pub crates: Option<Crates>,
}

/// The programs of Podzol's own in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Programs {
    /// There are none.
    None,
    /// Some are compiled by the recipe.
    Compiled {
        /// Their packages in the workspace.
        packages: &'static [&'static str],
        /// A folder of the workspace.
        source: PathBuf,
    },
    /// They were compiled before: of which crates is not known.
    Given,
}

impl Programs {
    /// The crates of a program that is compiled. They are known once it has been.
    pub(super) fn crates(&self) -> Result<Option<Crates>, BuildError> {
        match self {
            Self::Compiled { packages, source } => Crates::of(packages, source).map(Some),
            Self::None | Self::Given => Ok(None),
        }
    }
}

/// The id of an image, which can be put in it: SHA-256 of what goes in, whichever programs make it of that.
pub(super) fn image_id(recipe: &str, epoch: u64, inputs: &Inputs) -> String {
    files::hash(contents(recipe, epoch, inputs))
}

fn contents(recipe: &str, epoch: u64, inputs: &Inputs) -> String {
    let mut text = format!("recipe {recipe}\ncode {CODE}\nepoch {epoch}\n");
    for package in &inputs.packages {
        text.push_str(&format!("package {} {}\n", package.file_name(), package.sha256));
    }
    for (name, sha256) in &inputs.files {
        text.push_str(&format!("file {name} {sha256}\n"));
    }
    text
}

/// SHA-256 of all that decides about the outputs. Tools count by their content, because another mkfs writes other bytes.
pub(super) fn hash(
    recipe: &str,
    epoch: u64,
    inputs: &Inputs,
    tools: &[Tool],
    programs: &[PathBuf],
) -> Result<String, BuildError> {
    let mut text = contents(recipe, epoch, inputs);
    if let Some(crates) = &inputs.crates {
        text.push_str(&format!("lock {}\n", crates.lock));
        for one in &crates.list {
            text.push_str(&format!("crate {} {}\n", one.name, one.version));
        }
    }
    for (tool, path) in tools.iter().zip(programs) {
        text.push_str(&format!("tool {} {}\n", tool.program, files::hash_file(path)?.0));
    }
    Ok(files::hash(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_and_the_crates_decide_too() {
        let crates = |lock: &str| Some(Crates { lock: lock.into(), list: Vec::new() });
        let hash_with = |crates| hash("r", 1, &Inputs { crates, ..Inputs::default() }, &[], &[]).unwrap();
        assert_eq!(hash_with(crates("one")), hash_with(crates("one")));
        assert_ne!(hash_with(crates("one")), hash_with(crates("other")));
        assert_ne!(hash_with(crates("one")), hash_with(None));
    }
}
