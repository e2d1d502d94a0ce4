//! The first steps: pseudo file systems, kernel modules, and what the kernel does when it fails.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};

/// The folder with the module files, and the list of those to load, in order, one name a line: made with the image.
const MODULES: &str = "/lib/modules";

const MOUNTS: [(&str, &str, &str); 4] = [
    ("devtmpfs", "/dev", "mode=0755"),
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("tmpfs", "/run", "mode=0755,size=8m"),
];

const SETTINGS: [(&str, &str); 3] = [
    ("/proc/sys/kernel/printk", "3 4 1 3"),
    // A kernel that is not sure of itself starts anew, in a second.
    ("/proc/sys/kernel/panic", "1"),
    ("/proc/sys/kernel/panic_on_oops", "1"),
];

/// Mounts, loads and sets. Gives notes about what failed.
pub(super) fn prepare() -> Vec<String> {
    let mut notes = Vec::new();
    for (kind, target, data) in MOUNTS {
        let mounted = fs::create_dir_all(target)
            .and_then(|()| Ok(mount(Some(kind), target, Some(kind), MsFlags::empty(), Some(data))?));
        // A kernel that mounts /dev by itself has done it already.
        let failed = mounted.err().filter(|error| error.raw_os_error() != Some(Errno::EBUSY as i32));
        notes.extend(failed.map(|error| format!("cannot mount {target}: {error}")));
    }
    match fs::read_to_string(Path::new(MODULES).join("list")) {
        Ok(list) => notes.extend(list.lines().filter_map(load)),
        Err(error) => notes.push(format!("there is no list of modules: {error}")),
    }
    for (path, value) in SETTINGS {
        notes.extend(fs::write(path, value).err().map(|error| format!("cannot set {path}: {error}")));
    }
    notes
}

/// Loads one module by name, and says why if that is not possible. One that is there already is no error.
fn load(name: &str) -> Option<String> {
    let file = File::open(Path::new(MODULES).join(format!("{name}.ko")));
    let loaded = file.and_then(|file| match finit_module(file, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    });
    loaded.err().map(|error| format!("cannot load the module {name}: {error}"))
}
