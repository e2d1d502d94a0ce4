//! Parts of an image that are neither Debian packages that go in nor crates: the boot loader, which the build machine's program
//! writes, and what the console proxy's page is made of.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::BuildError;
use crate::files;
use crate::init;
use crate::program::Program;
use crate::tools;

/// The parts cannot be known.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// The page's lock file cannot be read.
    #[error("{LOCK} is not what npm writes")]
    Lock(#[source] serde_json::Error),
    /// A package in it has no digest by SHA-512.
    #[error("{LOCK} does not have the SHA-512 digest of {0}")]
    Digest(String),
}

/// A part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its version, if it is known.
    pub version: Option<String>,
    /// Where it is from.
    pub origin: Origin,
}

/// Where a part is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A Debian package of the build machine.
    Debian,
    /// npm's registry, with SHA-512 of its file in hex.
    Npm(String),
}

/// Where npm keeps which packages the page is made of.
const LOCK: &str = "console-proxy/viewer/package-lock.json";

/// SYSLINUX, as the build machine has it. One that is of no package there has no known version.
pub fn boot_loader() -> Part {
    let version = || {
        let program = tools::find("syslinux")?;
        let owner = Program::new("dpkg-query").arg("--search").arg(program).run().ok()?;
        let (package, _) = owner.split_once(':')?;
        Program::new("dpkg-query").args(["--show", "--showformat", "${Version}", package]).run().ok()
    };
    Part { name: "syslinux".into(), version: version(), origin: Origin::Debian }
}

/// What the console proxy's page has in it, in the workspace that has this folder. What it is only built and tested with is not.
///
/// # Errors
/// When npm's lock file is not there or says something else.
pub fn of_page(source: &Path) -> Result<Vec<Part>, BuildError> {
    let text = files::read_text(&init::workspace(source)?.join(LOCK))?;
    Ok(locked(&text)?)
}

fn locked(text: &str) -> Result<Vec<Part>, PartsError> {
    #[derive(Deserialize)]
    struct Lock {
        packages: BTreeMap<String, Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        #[serde(default)]
        version: String,
        #[serde(default)]
        integrity: String,
        #[serde(default)]
        dev: bool,
    }
    let Lock { packages } = serde_json::from_str(text).map_err(PartsError::Lock)?;
    let in_page = packages.into_iter().filter(|(_, package)| !package.dev);
    let named = in_page.filter_map(|(path, package)| {
        // Those in others' folders have these before their own.
        path.rsplit_once("node_modules/").map(|(_, name)| (name.to_owned(), package))
    });
    let part = |(name, Package { version, integrity, .. }): (String, Package)| {
        let digest = integrity.strip_prefix("sha512-").and_then(|text| STANDARD.decode(text).ok());
        let digest = digest.ok_or_else(|| PartsError::Digest(name.clone()))?;
        Ok(Part { name, version: Some(version), origin: Origin::Npm(hex::encode(digest)) })
    };
    named.map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_terminal_and_no_test_runner() {
        let parts = of_page(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["@xterm/addon-fit", "@xterm/xterm"]);
        for Part { version, origin, .. } in &parts {
            let starts = |version: &String| version.starts_with(|first: char| first.is_ascii_digit());
            assert!(version.as_ref().is_some_and(starts), "{version:?}");
            assert!(matches!(origin, Origin::Npm(hex) if hex.len() == 128), "{origin:?}");
        }
    }

    #[test]
    fn a_package_without_a_digest_is_named() {
        let text =
            r#"{ "packages": { "": {}, "node_modules/a/node_modules/@b/c": { "version": "1.0.0" } } }"#;
        let error = locked(text).unwrap_err().to_string();
        assert_eq!(error, "console-proxy/viewer/package-lock.json does not have the SHA-512 digest of @b/c");
    }
}
