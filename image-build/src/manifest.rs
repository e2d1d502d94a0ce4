//! What an output folder holds, and what it was made of: `manifest.json`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::BuildError;
use crate::files;

/// The manifest's name in the output folder.
pub const FILE_NAME: &str = "manifest.json";

/// The outputs do not fit their manifest, or it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not a manifest.
    #[error("{path} is not a manifest", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Files differ; all of them are named.
    #[error("the files do not fit the manifest:\n  {}", problems.join("\n  "))]
    Differs {
        /// What is wrong, each with the file's name.
        problems: Vec<String>,
    },
}

/// A finished build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The recipe's name.
    pub recipe: String,
    /// What VMs of it can do beside what all of their kind can, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// SHA-256 of all that went into the build.
    pub inputs: String,
    /// The time that the outputs' files carry, in seconds since 1970.
    pub epoch: u64,
    /// The version of the kernel in them, as `uname -r` says it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The id by which a VM of it says which image it runs, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// SHA-256 of the `Cargo.lock` by which the program in them was compiled, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cargo_lock: Option<String>,
    /// The outputs and their bill of materials, sorted by name.
    pub files: Vec<Output>,
    /// The Debian packages that went in, sorted by name.
    pub packages: Vec<Package>,
}

/// A file of the output folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its content, in hex.
    pub sha256: String,
}

/// A Debian package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, with the epoch.
    pub version: String,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// SHA-256 of its file, in hex.
    pub sha256: String,
}

impl Package {
    /// The name of its file in apt's way.
    pub fn file_name(&self) -> String {
        format!("{}_{}_{}.deb", self.name, self.version.replace(':', "%3a"), self.architecture)
    }
}

impl Manifest {
    /// Reads a folder's manifest; `None` if it has none.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, BuildError> {
        let path = folder.join(FILE_NAME);
        if !path.exists() {
            return Ok(None);
        }
        Self::parse(&path, &files::read(&path)?).map(Some)
    }

    /// Reads a manifest's text, which is that of this file.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, BuildError> {
        let invalid = |source| ManifestError::Invalid { path: path.to_owned(), source };
        Ok(serde_json::from_slice(text).map_err(invalid)?)
    }

    /// Writes it into its folder: as a whole, or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn write(&self, folder: &Path) -> Result<(), BuildError> {
        let path = folder.join(FILE_NAME);
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|source| ManifestError::Invalid { path: path.clone(), source })?;
        text.push('\n');
        let partial = folder.join(".manifest.json.partial");
        files::write(&partial, text)?;
        Ok(files::rename(&partial, &path)?)
    }

    /// Whether every output is there, with its size, and was not written to since the manifest was. Much cheaper than
    /// [`Manifest::verify`].
    pub fn is_untouched(&self, folder: &Path) -> bool {
        let changed = |name: &str| std::fs::metadata(folder.join(name)).and_then(|file| file.modified());
        let Ok(written) = changed(FILE_NAME) else { return false };
        self.files.iter().all(|file| {
            let size = std::fs::metadata(folder.join(&file.name)).map(|found| found.len());
            size.is_ok_and(|size| size == file.size) && changed(&file.name).is_ok_and(|time| time <= written)
        })
    }

    /// How long ago a folder's manifest was written.
    pub fn age(folder: &Path) -> Option<Duration> {
        std::fs::metadata(folder.join(FILE_NAME)).ok()?.modified().ok()?.elapsed().ok()
    }

    /// Reads every output and compares it with what the manifest says.
    ///
    /// # Errors
    /// With every file that is missing or differs.
    pub fn verify(&self, folder: &Path) -> Result<(), BuildError> {
        let mut problems = Vec::new();
        for file in &self.files {
            let path = folder.join(&file.name);
            if !path.exists() {
                problems.push(format!("{}: is missing", file.name));
                continue;
            }
            let (sha256, size) = files::hash_file(&path)?;
            if size != file.size {
                problems.push(format!("{}: has {size} bytes, not {}", file.name, file.size));
            } else if sha256 != file.sha256 {
                problems.push(format!("{}: has sha256 {sha256}, not {}", file.name, file.sha256));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(ManifestError::Differs { problems }.into()) }
    }
}

impl Output {
    /// Describes a file of the output folder.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(folder: &Path, name: &str) -> Result<Self, BuildError> {
        let (sha256, size) = files::hash_file(&folder.join(name))?;
        Ok(Self { name: name.to_owned(), size, sha256 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_differs_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for name in ["a", "b", "c", "d"] {
            files::write(&folder.join(name), "content").unwrap();
        }
        let outputs = ["a", "b", "c", "d"].map(|name| Output::of(folder, name).unwrap());
        let manifest = Manifest {
            recipe: "r".into(),
            extensions: vec!["e".into()],
            inputs: "i".into(),
            epoch: 1,
            kernel: Some("6.1.0-1-cloud-amd64".into()),
            image: Some("d".into()),
            cargo_lock: None,
            files: outputs.into(),
            packages: Vec::new(),
        };
        manifest.write(folder).unwrap();
        assert_eq!(Manifest::read(folder).unwrap().as_ref(), Some(&manifest));
        manifest.verify(folder).unwrap();

        files::remove(&folder.join("a")).unwrap();
        files::write(&folder.join("b"), "longer content").unwrap();
        files::write(&folder.join("c"), "CONTENT").unwrap();
        let text = manifest.verify(folder).unwrap_err().to_string();
        assert!(text.contains("a: is missing\n  b: has 14 bytes, not 7\n  c: has sha256 "), "{text}");
        assert!(!text.contains("d:"), "{text}");
    }

    #[test]
    fn a_folder_without_a_manifest_is_no_error() {
        assert_eq!(Manifest::read(Path::new("/nowhere")).unwrap(), None);
    }
}
