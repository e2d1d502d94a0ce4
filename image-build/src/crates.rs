//! The Rust crates that a program is compiled of. Which they are, cargo says: those of the build's target and features, and
//! none that only tests use. Where each is from, and its digest, is in `Cargo.lock`.
//!
//! # Design notes
//! `Cargo.lock` alone would say more than is true: it holds what any target, any feature and any test of the workspace
//! needs, without telling them apart. A fifth of what it leads to from the appliance, and more than half from the tiny
//! init, is not compiled.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use crate::BuildError;
use crate::files;
use crate::init;
use crate::program::Program;

/// The crates cannot be known.
#[derive(Debug, thiserror::Error)]
pub enum CratesError {
    /// cargo said something of another form.
    #[error("cargo tree said what is not understood: {0}")]
    Line(String),
    /// The lock file cannot be read.
    #[error("Cargo.lock is not what cargo writes")]
    Lock(#[source] toml::de::Error),
    /// A crate is not in the lock file.
    #[error("Cargo.lock does not have {name} {version}, which cargo tree names")]
    NotLocked {
        /// The crate.
        name: String,
        /// Its version.
        version: String,
    },
}

/// What a program is compiled of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crates {
    /// SHA-256 of `Cargo.lock`.
    pub lock: String,
    /// The crates, sorted by name and version, the program's own among them.
    pub list: Vec<Crate>,
}

/// A crate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its file in the registry, in hex; none for those of this source tree.
    pub checksum: Option<String>,
}

impl Crates {
    /// The crates of packages in the workspace that has this folder. They must have been fetched: this asks nobody.
    ///
    /// # Errors
    /// When cargo fails, or the lock file does not fit what it says.
    pub fn of(packages: &[&str], source: &Path) -> Result<Self, BuildError> {
        let workspace = init::workspace(source)?;
        let tree = Program::new("cargo")
            .args(["tree", "--locked", "--offline", "--edges", "no-dev", "--target", init::TARGET])
            .args(["--prefix", "none", "--format", "{p}"])
            .args(packages.iter().flat_map(|package| ["--package", package]))
            .folder(&workspace)
            .run()?;
        let text = files::read_text(&workspace.join("Cargo.lock"))?;
        Ok(Self { lock: files::hash(&text), list: join(&tree, &text)? })
    }
}

/// The crates that cargo's tree names, as the lock file has them.
fn join(tree: &str, lock: &str) -> Result<Vec<Crate>, CratesError> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Crate>,
    }
    let Lock { package: locked } = toml::from_str(lock).map_err(CratesError::Lock)?;
    let named = tree.lines().filter(|line| !line.is_empty()).map(|line| {
        let mut words = line.split(' ');
        let name = words.next().filter(|name| !name.is_empty());
        let version = words.next().and_then(|version| version.strip_prefix('v'));
        name.zip(version).ok_or_else(|| CratesError::Line(line.to_owned()))
    });
    let named: BTreeSet<(&str, &str)> = named.collect::<Result<_, _>>()?;
    let in_lock = |(name, version): (&str, &str)| {
        let found = locked.iter().find(|locked| locked.name == name && locked.version == version);
        let missing = || CratesError::NotLocked { name: name.to_owned(), version: version.to_owned() };
        found.cloned().ok_or_else(missing)
    };
    named.into_iter().map(in_lock).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"nix\"\nversion = \"0.31.3\"\n\
        source = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"ab\"\n\
        dependencies = [\n \"libc\",\n]\n\n[[package]]\nname = \"nix\"\nversion = \"0.30.1\"\n\
        checksum = \"cd\"\n\n[[package]]\nname = \"podzol-tiny-init\"\nversion = \"0.2.0\"\n";

    #[test]
    fn a_crate_is_listed_once_in_the_version_that_is_compiled() {
        let tree = "podzol-tiny-init v0.2.0 (/src/image-build/tiny-init)\nnix v0.31.3\nnix v0.31.3 (*)\n";
        let found = join(tree, LOCK).unwrap();
        let expected = [("nix", "0.31.3", Some("ab")), ("podzol-tiny-init", "0.2.0", None)];
        let expected = expected.map(|(name, version, checksum)| Crate {
            name: name.into(),
            version: version.into(),
            checksum: checksum.map(str::to_owned),
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let text = |tree, lock| join(tree, lock).unwrap_err().to_string();
        assert_eq!(text("nix 1", LOCK), "cargo tree said what is not understood: nix 1");
        assert_eq!(text("nix v1", LOCK), "Cargo.lock does not have nix 1, which cargo tree names");
        assert_eq!(text("nix v1", "package = 1"), "Cargo.lock is not what cargo writes");
    }

    #[test]
    fn the_crates_of_the_tiny_init_are_known() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let crates = Crates::of(&[init::TINY], source).unwrap();
        let names: Vec<&str> = crates.list.iter().map(|one| one.name.as_str()).collect();
        assert!(names.contains(&init::TINY) && names.contains(&"nix"), "{names:?}");
        assert!(!names.contains(&"tempfile"), "{names:?}");
        let from_registry = |one: &&Crate| !one.name.starts_with("podzol-");
        assert!(crates.list.iter().filter(from_registry).all(|one| one.checksum.is_some()));
    }
}
