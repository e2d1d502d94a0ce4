//! Finding and reading the NoCloud drive: a block device whose file system has the label `cidata`.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount, umount};

use crate::boot::{self, ModuleError};
use crate::config::{ConfigError, Settings};

const MOUNT_POINT: &str = "/run/cidata";
const LABEL: &str = "cidata";
/// Longest part of a file that is read from the drive.
const FILE_LIMIT: u64 = 1 << 20;

/// Why there are no settings from a drive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriveError {
    #[error("no device with the label {LABEL}")]
    Absent,
    #[error("looking for it: {0}")]
    Find(io::Error),
    #[error(transparent)]
    Module(#[from] ModuleError),
    #[error("mount {device}: {source}")]
    Mount { device: String, source: io::Error },
    #[error("{file}: {source}")]
    Read { file: &'static str, source: io::Error },
    #[error("{file}: {source}")]
    Invalid { file: &'static str, source: ConfigError },
}

/// The file systems a drive may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Iso,
    Fat,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Iso => "iso9660",
            Self::Fat => "vfat",
        }
    }

    /// What the kernel needs for it; loaded only when one is met.
    fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Iso => &["cdrom", "isofs"],
            Self::Fat => &["nls_cp437", "nls_ascii", "fat", "vfat"],
        }
    }

    fn options(self) -> &'static str {
        match self {
            Self::Iso => "",
            Self::Fat => "codepage=437,iocharset=ascii",
        }
    }
}

/// Finds the drive, mounts it read-only, reads its files and unmounts it.
pub(crate) fn load() -> Result<Settings, DriveError> {
    let (device, kind) = find().map_err(DriveError::Find)?.ok_or(DriveError::Absent)?;
    for module in kind.modules() {
        boot::load(module)?;
    }
    let mounted = fs::create_dir_all(MOUNT_POINT).and_then(|()| {
        let (source, flags) = (device.as_str(), MsFlags::MS_RDONLY);
        Ok(mount(Some(source), MOUNT_POINT, Some(kind.name()), flags, Some(kind.options()))?)
    });
    mounted.map_err(|source| DriveError::Mount { device, source })?;
    let settings = read_files();
    // The drive stays busy at worst; the settings are good all the same.
    umount(MOUNT_POINT).ok();
    settings
}

fn read_files() -> Result<Settings, DriveError> {
    let invalid = |file| move |source| DriveError::Invalid { file, source };
    let mut settings = Settings::default();
    if let Some(meta) = read("meta-data")? {
        settings.read_meta(&meta).map_err(invalid("meta-data"))?;
    }
    if let Some(network) = read("network-config")? {
        settings.read_network(&network).map_err(invalid("network-config"))?;
    }
    settings.user_data = read("user-data")?.unwrap_or_default();
    Ok(settings)
}

fn read(file: &'static str) -> Result<Option<String>, DriveError> {
    let mut text = String::new();
    let opened = File::open(Path::new(MOUNT_POINT).join(file));
    match opened.and_then(|file| file.take(FILE_LIMIT).read_to_string(&mut text)) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DriveError::Read { file, source }),
    }
}

/// Looks at every block device, twice with a short pause, as a device may still be appearing.
fn find() -> io::Result<Option<(String, Kind)>> {
    for pause in [0, 100] {
        thread::sleep(Duration::from_millis(pause));
        for entry in fs::read_dir("/sys/class/block")? {
            let device = format!("/dev/{}", entry?.file_name().to_string_lossy());
            if let Ok(Some(kind)) = File::open(&device).and_then(|file| probe(&file)) {
                return Ok(Some((device, kind)));
            }
        }
    }
    Ok(None)
}

/// Recognises a file system by its superblock; `None` when it is another one or has another label.
fn probe(file: &File) -> io::Result<Option<Kind>> {
    let mut sector = [0_u8; 512];
    file.read_exact_at(&mut sector, 0)?;
    let fat16 = &sector[54..57] == b"FAT" && is_label(&sector[43..54]);
    let fat32 = &sector[82..87] == b"FAT32" && is_label(&sector[71..82]);
    if fat16 || fat32 {
        return Ok(Some(Kind::Fat));
    }
    // The primary volume descriptor of ISO 9660 lies in the 16th sector of 2048 bytes.
    file.read_exact_at(&mut sector, 16 * 2048)?;
    Ok((&sector[1..6] == b"CD001" && is_label(&sector[40..72])).then_some(Kind::Iso))
}

fn is_label(field: &[u8]) -> bool {
    field.trim_ascii_end().eq_ignore_ascii_case(LABEL.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_padded_and_of_any_case() {
        assert!(is_label(b"CIDATA     "));
        assert!(is_label(b"cidata"));
        assert!(!is_label(b"cidata2    "));
    }
}
