//! Files that survive a crash: there with their old contents or with all of the new ones, never with half.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes a file durably and whole: to a temporary name, synced, then renamed. The temporary name is the whole name with
/// `.new` behind it, so that two files which differ only in their extension never share one.
///
/// # Errors
/// What the operating system says.
pub fn write_file(path: &Path, contents: &[u8], mode: u32) -> std::io::Result<()> {
    let temporary = temporary(path);
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    let written = file.write_all(contents).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| std::fs::rename(&temporary, path)) {
        // Nothing is left of what could not be written; the first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder_of(path)
}

/// Removes a file durably. One that is not there is as good.
///
/// # Errors
/// What the operating system says.
pub(crate) fn remove_file(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.and_then(|()| sync_folder_of(path)),
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

/// A name is in its folder for good only when the folder is synced.
fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::fs::File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_stem_have_temporaries_of_their_own() {
        for (name, expected) in [
            ("v/1.qcow2", "v/1.qcow2.new"),
            ("v/1.json", "v/1.json.new"),
            (".podzol-pool", ".podzol-pool.new"),
        ] {
            assert_eq!(temporary(Path::new(name)), Path::new(expected));
        }
    }

    #[test]
    fn nothing_is_left_of_a_file_that_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        std::fs::create_dir(&path).unwrap();
        write_file(&path, b"new", 0o600).unwrap_err();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        for contents in ["old", "new"] {
            write_file(&path, contents.as_bytes(), 0o600).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), contents);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        remove_file(&path).unwrap();
        remove_file(&path).unwrap();
    }
}
