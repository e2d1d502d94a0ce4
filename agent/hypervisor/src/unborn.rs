//! Domains of which libvirt knows and which have no process: a libvirtd that died while it made them left them behind.
//!
//! libvirtd writes a domain's status before it starts a QEMU for it, and the process's number as soon as there is one,
//! before it lets that process become QEMU. So a status with the number 0 is of a domain that has never been. A libvirtd
//! that is started again takes it up all the same; if it was about to arrive from another host, it has a job that nobody
//! ends, and can be neither removed nor received again, after further starts too (seen with libvirt 9.0).
//!
//! So its status is removed before libvirtd starts, by a command of the agent in libvirtd's unit. Refused: to do that in
//! the agent that runs, as libvirtd has read the status by then, and must not be restarted while VMs move.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use roxmltree::Document;

use crate::xml::NAMESPACE;

/// Where libvirt's QEMU driver keeps the status of each domain that runs.
pub const STATUS: &str = "/run/libvirt/qemu";

/// Forgets each domain of ours, by its status in this folder, that has no process. Returns their names.
///
/// # Errors
/// When the folder, or one of its files, cannot be read or removed. A folder that is not there has no domains; a file that
/// is no status is not ours.
pub fn forget(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut forgotten = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "xml") {
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        let Some(unborn) = unborn(&text) else { continue };
        if let Some(workplace) = unborn.workplace {
            let _ = fs::remove_dir_all(workplace);
        }
        fs::remove_file(&path)?;
        forgotten.push(unborn.name);
    }
    forgotten.sort();
    Ok(forgotten)
}

/// A domain without a process.
#[derive(Debug, PartialEq, Eq)]
struct Unborn {
    name: String,
    /// The folder that libvirt made for its sockets and keys.
    workplace: Option<PathBuf>,
}

/// What a status says of a domain of ours without a process; nothing of any other.
fn unborn(status: &str) -> Option<Unborn> {
    let document = Document::parse(status).ok()?;
    let root = document.root_element();
    if !root.has_tag_name("domstatus") || root.attribute("pid") != Some("0") {
        return None;
    }
    let child = |name| root.children().find(move |child| child.has_tag_name(name));
    let domain = child("domain")?;
    let metadata = domain.children().find(|child| child.has_tag_name("metadata"))?;
    metadata.children().find(|element| element.has_tag_name((NAMESPACE, "vm")))?;
    let name = domain.children().find(|child| child.has_tag_name("name"))?.text()?.to_owned();
    let workplace = child("libDir").and_then(|folder| folder.attribute("path")).map(PathBuf::from);
    // `domain-<number>-<the first of the name>`: nothing else is removed, whatever stands there.
    let is_workplace =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("domain-"));
    Some(Unborn { name, workplace: workplace.filter(is_workplace) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pid: &str, namespace: &str, workplace: &Path) -> String {
        format!(
            "<!--\nWARNING: THIS IS AN AUTO-GENERATED FILE.\n-->\n\n<domstatus state='paused' reason='starting up' pid='{pid}'>\n  \
             <job type='none' async='migration in' phase='prepare' flags='0x1'/>\n  <libDir path='{}'/>\n  \
             <domain type='kvm' id='3'>\n    <name>web-1</name>\n    <metadata>\n      \
             <podzol:vm xmlns:podzol=\"{namespace}\">{{}}</podzol:vm>\n    </metadata>\n  </domain>\n</domstatus>\n",
            workplace.display()
        )
    }

    #[test]
    fn only_domains_of_ours_that_never_had_a_process_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let workplace = folder.path().join("lib/domain-3-web-1");
        fs::create_dir_all(&workplace).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("never.xml", &status("0", NAMESPACE, &workplace));
        write("runs.xml", &status("365", NAMESPACE, &workplace));
        write("foreign.xml", &status("0", "https://example.org/", &workplace));
        write("broken.xml", "<domstatus pid='0'");
        write("never.pid", "365");
        assert_eq!(forget(folder.path()).unwrap(), ["web-1"]);
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["broken.xml", "foreign.xml", "lib", "never.pid", "runs.xml"]);
        assert!(!workplace.exists());
        assert!(forget(folder.path()).unwrap().is_empty());
    }

    #[test]
    fn only_a_folder_that_libvirt_makes_for_a_domain_is_removed_with_it() {
        let workplace = |path: &str| unborn(&status("0", NAMESPACE, Path::new(path))).unwrap().workplace;
        assert_eq!(workplace("/var/lib/libvirt/qemu"), None);
        assert_eq!(workplace("/l/domain-3-web-1"), Some(PathBuf::from("/l/domain-3-web-1")));
    }

    #[test]
    fn a_host_without_libvirt_has_nothing_to_forget() {
        assert!(forget(Path::new("/nowhere/libvirt/qemu")).unwrap().is_empty());
    }
}
