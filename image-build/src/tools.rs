//! The programs of the build machine that a recipe needs, and the Debian packages that they come from.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where system programs are that an ordinary user's `PATH` leaves out.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// A program and the Debian package that brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// The program's name.
    pub program: &'static str,
    /// The package to install.
    pub package: &'static str,
}

impl Tool {
    /// A program of a package.
    pub const fn new(program: &'static str, package: &'static str) -> Self {
        Self { program, package }
    }
}

/// Programs are missing; all of them are named.
#[derive(Debug, thiserror::Error)]
#[error("programs are missing: {}. Install them with: apt install {}", programs.join(", "), packages.join(" "))]
pub struct MissingTools {
    programs: Vec<&'static str>,
    packages: Vec<&'static str>,
}

/// Finds all the tools, in their order.
///
/// # Errors
/// With every one that is missing.
pub fn require(tools: &[Tool]) -> Result<Vec<PathBuf>, MissingTools> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for tool in tools {
        match find(tool.program) {
            Some(path) => found.push(path),
            None => missing.push(*tool),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let programs = missing.iter().map(|tool| tool.program).collect();
    let mut packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    Err(MissingTools { programs, packages })
}

/// Where a program is.
pub fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|folder| folder.join(program)).find(|path| is_program(path))
}

/// The user's `PATH`, and the folders of system programs.
pub(crate) fn search_path() -> OsString {
    let user = env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let folders = env::split_paths(&user).chain(SYSTEM.map(PathBuf::from));
    // A folder with a colon in its name cannot have come out of split_paths.
    env::join_paths(folders).unwrap_or(user)
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_missing_tools_are_told_at_once_with_each_package_once() {
        let tools = [
            Tool::new("no-x", "b"),
            Tool::new("ls", "coreutils"),
            Tool::new("no-y", "a"),
            Tool::new("no-z", "b"),
        ];
        assert_eq!(
            require(&tools).unwrap_err().to_string(),
            "programs are missing: no-x, no-y, no-z. Install them with: apt install a b"
        );
    }
}
