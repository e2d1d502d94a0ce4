//! Podzol's own programs in templates, each compiled as a static program with the same bytes in every folder.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::BuildError;
use crate::elf;
use crate::files;
use crate::program::Program;
use crate::tools::Tool;

/// What this module runs.
pub const TOOLS: [Tool; 1] = [Tool::new("cargo", "cargo")];

/// What programs are compiled for.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The init of the tiny test VM.
pub const TINY: &str = "podzol-tiny-init";
/// The routing appliance.
pub const APPLIANCE: &str = "podzol-appliance";
/// The console proxy.
pub const CONSOLE_PROXY: &str = "podzol-console-proxy";

/// How a program is compiled: a profile of the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Small, because first processes are unpacked in every VM's memory at every start.
    Init,
    /// Quick, for what encodes pictures all day; and what panics does not end all of it.
    Proxy,
}

impl Profile {
    const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Proxy => "proxy",
        }
    }
}

/// A cold compile with link-time optimisation took half a minute on two cores; a loaded machine is much slower.
const DEADLINE: Duration = Duration::from_secs(3600);

/// Compiles the program of a package from the workspace that has this folder, with a target folder of its own in the cache,
/// and gives the program's path.
///
/// # Errors
/// When it does not compile, or is not static.
pub fn compile(package: &str, profile: Profile, source: &Path, cache: &Path) -> Result<PathBuf, BuildError> {
    let workspace = workspace(source)?;
    let target = cache.join("init-target");
    Program::new("cargo")
        .args([
            "build",
            "--locked",
            "--profile",
            profile.name(),
            "--target",
            TARGET,
            "--package",
            package,
            "--target-dir",
        ])
        .arg(&target)
        .arg("--manifest-path")
        .arg(workspace.join("Cargo.toml"))
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&workspace))
        .deadline(DEADLINE)
        .run()?;
    let program = target.join(TARGET).join(profile.name()).join(package);
    check(&program)?;
    Ok(program)
}

/// The folder of the workspace that has this folder.
pub(crate) fn workspace(source: &Path) -> Result<PathBuf, BuildError> {
    let locate = Program::new("cargo").args(["locate-project", "--workspace", "--message-format", "plain"]);
    let manifest = PathBuf::from(locate.folder(source).run()?.trim());
    Ok(manifest.parent().unwrap_or(source).to_owned())
}

/// Refuses an init that the image cannot run.
///
/// # Errors
/// When it cannot be read, or is not a static program.
pub fn check(program: &Path) -> Result<(), BuildError> {
    Ok(elf::require_static(&program.display().to_string(), &files::read(program)?)?)
}

/// Static, at a fixed address, and without the paths of this machine in it. Cargo wants the flags with this separator.
fn flags(workspace: &Path) -> String {
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo = env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    [
        "-Ctarget-feature=+crt-static".to_owned(),
        "-Crelocation-model=static".to_owned(),
        format!("--remap-path-prefix={}=/cargo", cargo.display()),
        format!("--remap-path-prefix={}=/podzol", workspace.display()),
    ]
    .join("\x1f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_program_is_refused_as_init() {
        let error = check(&env::current_exe().unwrap()).unwrap_err();
        assert!(error.to_string().contains("is linked dynamically"), "{error}");
    }
}
