//! Reading the seed: from the drive that is made for this start (ISO 9660 with the label `cidata`), or from a file.
//!
//! The drive is read here and not mounted: what has to be understood of the format is one directory, and a kernel without
//! the file system's modules has four fewer of them to load at each start.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use podzol_appliance_api::{RouterSeed, SEED_FILE};

/// The size of a block (ECMA-119, 6.1.2).
const BLOCK: u64 = 2048;
/// Where the volume's descriptor is.
const DESCRIPTOR: u64 = 16 * BLOCK;
/// The largest root directory and the largest file that are read.
const LARGEST: u32 = 1 << 20;
/// How long to wait for the drive, which the kernel finds while this program starts.
const APPEARS: (u32, Duration) = (500, Duration::from_millis(20));

/// Why there is no seed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeedError {
    /// No drive has the label.
    #[error("no drive has the label cidata")]
    NoDrive,
    /// A file or drive cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in it is no seed.
    #[error("{path} holds no seed: its line {line} is wrong at column {column}")]
    Invalid {
        /// Which.
        path: PathBuf,
        /// Where. What is wrong could have a part of what was read, and a key is in there.
        line: usize,
        /// Where in the line.
        column: usize,
    },
}

/// The seed in a file.
pub(crate) fn from_file(path: &Path) -> Result<RouterSeed, SeedError> {
    parse(path, &fs::read(path).map_err(failed(path))?)
}

/// The seed on the drive.
pub(crate) async fn from_drive() -> Result<RouterSeed, SeedError> {
    let (times, pause) = APPEARS;
    for _ in 0..times {
        if let Some((path, drive)) = drive() {
            return parse(&path, &read(&drive, SEED_FILE).map_err(failed(&path))?);
        }
        tokio::time::sleep(pause).await;
    }
    Err(SeedError::NoDrive)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> SeedError {
    let path = path.to_owned();
    move |source| SeedError::Read { path, source }
}

fn parse(path: &Path, text: &[u8]) -> Result<RouterSeed, SeedError> {
    serde_json::from_slice(text).map_err(|error| SeedError::Invalid {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
    })
}

/// The first block device with the label.
fn drive() -> Option<(PathBuf, File)> {
    let devices = fs::read_dir("/sys/block").ok()?.flatten();
    let paths = devices.map(|device| Path::new("/dev").join(device.file_name()));
    let open = |path: PathBuf| File::open(&path).ok().map(|file| (path, file));
    paths.filter_map(open).find(|(_, file)| is_ours(file))
}

/// Whether a drive has the label (ECMA-119, 8.4.7: 32 characters, filled with spaces).
fn is_ours(drive: &File) -> bool {
    let mut descriptor = [0; 72];
    drive.read_exact_at(&mut descriptor, DESCRIPTOR).is_ok()
        && descriptor.starts_with(b"\x01CD001\x01")
        && descriptor[40..].trim_ascii_end().eq_ignore_ascii_case(b"cidata")
}

/// A file in the root directory, by its Rock Ridge name.
fn read(drive: &File, name: &str) -> io::Result<Vec<u8>> {
    let mut root = [0; 34];
    // The root directory's record (ECMA-119, 8.4.18).
    drive.read_exact_at(&mut root, DESCRIPTOR + 156)?;
    let directory = extent(drive, &root)?;
    let mut at = 0;
    while let Some(length) = directory.get(at).copied().map(usize::from) {
        if length == 0 {
            // Records do not cross blocks; the rest of this one is empty.
            at = (at / BLOCK as usize + 1) * BLOCK as usize;
            continue;
        }
        let record = directory.get(at..at + length).ok_or(io::ErrorKind::InvalidData)?;
        if rock_ridge_name(record).is_some_and(|found| found == name.as_bytes()) {
            return extent(drive, record);
        }
        at += length;
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("it has no file {name}")))
}

/// What a directory record points to.
fn extent(drive: &File, record: &[u8]) -> io::Result<Vec<u8>> {
    let number = |at: usize| record.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let (Some(block), Some(size)) = (number(2), number(10)) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    if size > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{size} bytes are too many")));
    }
    let mut content = vec![0; size as usize];
    drive.read_exact_at(&mut content, u64::from(block) * BLOCK)?;
    Ok(content)
}

/// The name in a record's `NM` entry (IEEE P1282, 4.1.4).
fn rock_ridge_name(record: &[u8]) -> Option<&[u8]> {
    let name_length = usize::from(*record.get(32)?);
    // After the name, at an even place.
    let mut entries = record.get((33 + name_length).next_multiple_of(2)..)?;
    while let [kind, kind_too, length, ..] = *entries {
        let length = usize::from(length);
        if length < 4 || length > entries.len() {
            return None;
        }
        if (kind, kind_too) == (b'N', b'M') {
            return entries.get(5..length);
        }
        entries = &entries[length..];
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn drive_with(files: &[(&str, &[u8])]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&podzol_cidata::image(files).unwrap()).unwrap();
        file
    }

    #[test]
    fn a_file_is_found_among_others_on_a_drive_as_agents_make_them() {
        let large = vec![7; 5000];
        let drive = drive_with(&[("meta-data", b"{}"), ("user-data", &large), ("network-config", b"x")]);
        assert!(is_ours(&drive));
        assert_eq!(read(&drive, "user-data").unwrap(), large);
        assert_eq!(read(&drive, "meta-data").unwrap(), b"{}");
        assert_eq!(read(&drive, "vendor-data").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_no_such_drive_is_none() {
        let mut file = tempfile::tempfile().unwrap();
        assert!(!is_ours(&file));
        file.write_all(&[1; 65_536]).unwrap();
        assert!(!is_ours(&file));
    }

    #[test]
    fn a_drive_that_lies_about_sizes_is_refused() {
        let drive = drive_with(&[("user-data", b"x")]);
        drive.write_all_at(&u32::MAX.to_le_bytes(), DESCRIPTOR + 156 + 10).unwrap();
        assert_eq!(read(&drive, "user-data").unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn an_invalid_seed_is_not_repeated_in_the_error() {
        for text in [r#"{"key":"hunter2"}"#, r#""hunter2""#, r#"{"hunter2":1}"#] {
            let error = parse(Path::new("/dev/vdb"), text.as_bytes()).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(said.starts_with("/dev/vdb holds no seed: its line 1 "), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
