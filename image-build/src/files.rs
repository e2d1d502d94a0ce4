//! File operations that name the file in their error, and hashes of files.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

/// A file operation failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}", path = path.display())]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Gives an I/O error its action and file.
pub(crate) fn context(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { action, path, source }
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(context("read", path))
}

pub(crate) fn read_text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(context("read", path))
}

/// Writes a file that everybody may read, with the folders above it.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), FileError> {
    write_mode(path, 0o644, content)
}

/// Writes a file with these permissions, whatever the builder's umask, with the folders above it.
pub(crate) fn write_mode(path: &Path, mode: u32, content: impl AsRef<[u8]>) -> Result<(), FileError> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    fs::write(path, content).map_err(context("write", path))?;
    set_mode(path, mode)
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), FileError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(context("change the mode of", path))
}

/// Makes a folder and those above it that are not there, each open to everybody whatever the builder's umask.
pub(crate) fn create_folder(path: &Path) -> Result<(), FileError> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        create_folder(above)?;
    }
    fs::create_dir(path).map_err(context("create", path))?;
    set_mode(path, 0o755)
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(context("move a file to", to))
}

/// Makes a symbolic link, in place of whatever has that name, with the folders above it.
pub(crate) fn link(target: &str, path: &Path) -> Result<(), FileError> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    remove(path)?;
    std::os::unix::fs::symlink(target, path).map_err(context("create the link", path))
}

/// Removes a file, a link, or a folder with all that is in it; what is absent is no error.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(context("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The paths in a folder, sorted; none if there is no such folder.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(context("list", folder))?,
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(context("list", folder))?;
    paths.sort();
    Ok(paths)
}

/// All files, links and folders below a folder, sorted, each folder before what is in it. Links are not followed.
pub(crate) fn walk(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut all = Vec::new();
    for path in list(folder)? {
        let is_folder = path.symlink_metadata().map_err(context("look at", &path))?.is_dir();
        all.push(path.clone());
        if is_folder {
            all.extend(walk(&path)?);
        }
    }
    Ok(all)
}

/// Sets the time of change of a file's content, in seconds since 1970.
pub(crate) fn set_time(path: &Path, epoch: u64) -> Result<(), FileError> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(epoch);
    let file = fs::File::open(path).map_err(context("open", path))?;
    file.set_modified(time).map_err(context("set the time of", path))
}

/// SHA-256 of a text or of bytes, in hex.
pub(crate) fn hash(content: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(content))
}

/// SHA-256 and size of a file.
pub(crate) fn hash_file(path: &Path) -> Result<(String, u64), FileError> {
    let mut hasher = Sha256::new();
    let mut file = fs::File::open(path).map_err(context("open", path))?;
    let size = io::copy(&mut file, &mut hasher).map_err(context("read", path))?;
    Ok((hex::encode(hasher.finalize()), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn modes_are_set_and_not_left_to_the_umask() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/file");
        // No umask takes all rights from a new file; what one leaves is written over here.
        write(&path, "").unwrap();
        set_mode(&path, 0o600).unwrap();
        write(&path, "").unwrap();
        assert_eq!(mode(&path), 0o644);
        assert_eq!(mode(&folder.path().join("a")), 0o755);
        assert_eq!(mode(&folder.path().join("a/b")), 0o755);
    }
}
