//! The first steps: pseudo file systems and kernel modules.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};

/// The folder with the module files, and the list of those to load, in order, one name a line.
const MODULES: &str = "/lib/modules";

const MOUNTS: [(&str, &str, &str); 5] = [
    ("devtmpfs", "/dev", "mode=0755"),
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("tmpfs", "/run", "mode=0755,size=8m"),
    ("tmpfs", "/tmp", "mode=1777,size=16m"),
];

const KERNEL_SETTINGS: [(&str, &str); 2] = [
    // Only emergencies reach the serial line, so that kernel messages never cut an answer in two.
    ("/proc/sys/kernel/printk", "1 4 1 4"),
    // Echo sockets without raw rights, for `ping`.
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];

/// Why a module cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("module {name}: {source}")]
pub(crate) struct ModuleError {
    name: String,
    source: std::io::Error,
}

/// Mounts what every program expects and loads the modules of the list. Gives notes about what failed.
pub(crate) fn prepare() -> Vec<String> {
    let mut notes = Vec::new();
    for (kind, target, data) in MOUNTS {
        let mounted = fs::create_dir_all(target)
            .and_then(|()| Ok(mount(Some(kind), target, Some(kind), MsFlags::empty(), Some(data))?));
        notes.extend(mounted.err().map(|error| format!("mount {target}: {error}")));
    }
    for (path, value) in KERNEL_SETTINGS {
        notes.extend(fs::write(path, value).err().map(|error| format!("{path}: {error}")));
    }
    match fs::read_to_string(Path::new(MODULES).join("list")) {
        Ok(list) => {
            notes.extend(list.lines().filter_map(|name| load(name).err()).map(|error| error.to_string()))
        }
        Err(error) => notes.push(format!("module list: {error}")),
    }
    notes
}

/// Loads one module by name. One that is there already is no error.
pub(crate) fn load(name: &str) -> Result<(), ModuleError> {
    let result =
        File::open(Path::new(MODULES).join(format!("{name}.ko"))).and_then(|file| {
            match finit_module(file, c"", ModuleInitFlags::empty()) {
                Ok(()) | Err(Errno::EEXIST) => Ok(()),
                Err(error) => Err(error.into()),
            }
        });
    result.map_err(|source| ModuleError { name: name.to_owned(), source })
}
