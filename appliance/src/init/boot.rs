//! The first steps: pseudo file systems, kernel modules, and what the kernel does when it fails.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};

/// The folder with the module files, and lists of those to load, in order, one name a line: made with the image.
const MODULES: &str = "/lib/modules";

/// Which hypervisor this is a guest of, if it is Xen or says so.
const HYPERVISOR: &str = "/sys/hypervisor/type";

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
    for list in lists(fs::read_to_string(HYPERVISOR).ok().as_deref()) {
        match fs::read_to_string(Path::new(MODULES).join(list)) {
            Ok(names) => notes.extend(names.lines().filter_map(load)),
            Err(error) => notes.push(format!("there is no {list} of modules: {error}")),
        }
    }
    for (path, value) in SETTINGS {
        notes.extend(fs::write(path, value).err().map(|error| format!("cannot set {path}: {error}")));
    }
    notes
}

/// The lists of what is loaded beside a hypervisor: drivers of Xen's devices take time and memory that others' guests need not give.
fn lists(hypervisor: Option<&str>) -> &'static [&'static str] {
    if hypervisor.map(str::trim_end) == Some("xen") { &["list", "list.xen"] } else { &["list"] }
}

/// Loads one module by name, and says why if that is not possible. One that is there already is no error. Its file, which is
/// in memory like all of the image's, is needed no more then.
fn load(name: &str) -> Option<String> {
    let path = Path::new(MODULES).join(format!("{name}.ko"));
    let loaded = File::open(&path).and_then(|file| match finit_module(file, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    });
    let loaded = loaded.and_then(|()| fs::remove_file(&path));
    loaded.err().map(|error| format!("cannot load the module {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_of_xen_are_loaded_beside_xen_alone() {
        assert_eq!(lists(Some("xen\n")), ["list", "list.xen"]);
        assert_eq!(lists(Some("kvm\n")), ["list"]);
        assert_eq!(lists(None), ["list"]);
    }
}
