//! `debs`: Podzol's own programs as Debian packages, from binaries that are compiled already.
//!
//! Units and default configuration are in each part's `package/` folder; see [`crate::deb`]. A binary that is missing is
//! an error that names all of them, because a half set of packages helps nobody.

use std::path::PathBuf;

use crate::BuildError;
use crate::deb::{self, DebError, DebSpec};
use crate::files;
use crate::recipe::{Inputs, Made, Place, Programs, Recipe, Shop};
use crate::steps::Steps;
use crate::tools::Tool;

const C_LIBRARY: &str = "libc6 (>= 2.36)";

const PACKAGES: [DebSpec; 4] = [
    DebSpec {
        name: "podzol-agent",
        program: "/usr/sbin/podzol-agent",
        folder: Some("agent/package"),
        depends: &[
            C_LIBRARY,
            "libgcc-s1",
            "libvirt0",
            "libvirt-daemon-system",
            "qemu-system-x86",
            "qemu-utils",
            "nftables",
            "kmod",
            "nfs-common",
        ],
        description: "Podzol's agent on a computing host: VMs, networks and storage of this host",
    },
    DebSpec {
        name: "podzol-storage-agent",
        program: "/usr/sbin/podzol-storage-agent",
        folder: Some("storage-agent/package"),
        depends: &[C_LIBRARY, "libgcc-s1", "ca-certificates", "nfs-kernel-server"],
        description: "Podzol's agent on a storage server: pools, volumes, templates and their exports",
    },
    DebSpec {
        name: "podzol-mgmt",
        program: "/usr/sbin/podzol-mgmt",
        folder: Some("mgmt/package"),
        depends: &[C_LIBRARY, "libgcc-s1", "ca-certificates"],
        description: "Podzol's management service: the API, placement and everything that follows from it",
    },
    DebSpec {
        name: "podzol-cli",
        program: "/usr/bin/podzol",
        folder: None,
        depends: &[C_LIBRARY, "libgcc-s1", "ca-certificates"],
        description: "podzol, the command for Podzol's API",
    },
];

/// The recipe.
#[derive(Debug)]
pub struct Debs {
    /// The source tree with the `package/` folders.
    pub source: PathBuf,
    /// The folder with the compiled binaries.
    pub binaries: PathBuf,
}

impl Recipe for Debs {
    fn name(&self) -> &'static str {
        "debs"
    }

    fn tools(&self) -> Vec<Tool> {
        deb::TOOLS.to_vec()
    }

    fn steps(&self) -> usize {
        1 + PACKAGES.len()
    }

    fn programs(&self) -> Programs {
        Programs::Given
    }

    fn files(&mut self, _place: &Place, steps: &mut Steps<'_>) -> Result<Vec<(String, String)>, BuildError> {
        steps.run("look at the binaries", || self.all_files())
    }

    fn make(&self, _inputs: &Inputs, shop: &Shop<'_>, steps: &mut Steps<'_>) -> Result<Made, BuildError> {
        for spec in &PACKAGES {
            let program = self.binaries.join(spec.program_name());
            let (work, out) = (shop.path("debs"), shop.path("finished"));
            steps.run(&format!("build {}", spec.name), || {
                spec.build(&self.source, &program, &work, &out, shop.place.epoch)
            })?;
        }
        Ok(Made::files(PACKAGES.iter().map(DebSpec::file_name)))
    }
}

impl Debs {
    /// All binaries and all files of the `package/` folders, by names that do not depend on the machine.
    fn all_files(&self) -> Result<Vec<(String, String)>, BuildError> {
        let names = PACKAGES.iter().map(DebSpec::program_name);
        let missing: Vec<&str> = names.clone().filter(|name| !self.binaries.join(name).exists()).collect();
        if !missing.is_empty() {
            return Err(DebError::NotCompiled { folder: self.binaries.clone(), programs: missing }.into());
        }
        let mut inputs = Vec::new();
        for name in names {
            inputs.push((format!("binary {name}"), files::hash_file(&self.binaries.join(name))?.0));
        }
        for spec in &PACKAGES {
            for path in spec.files(&self.source)? {
                let name = path.strip_prefix(&self.source).unwrap_or(&path).display().to_string();
                inputs.push((name, files::hash_file(&path)?.0));
            }
        }
        Ok(inputs)
    }
}
