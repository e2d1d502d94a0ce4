//! A pool in a folder.
//!
//! ```text
//!   FOLDER/.podzol-pool           the pool's id: a folder without it, and not empty, is never touched
//!   FOLDER/templates/SHA256.qcow2 read-only, for all
//!   FOLDER/volumes/ID.qcow2       over ../templates/SHA256.qcow2
//!   FOLDER/volumes/ID.json        what the volume should be; written last, removed first
//!   FOLDER/incoming/              imports under way; emptied at start
//! ```
//! A volume without its `.json` is half made or half destroyed, and removed at start.

use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use podzol_rpc::identity::write_file;
use podzol_storage_api::{Contents, VolumePlan, VolumeStatus};
use podzol_vocab::{ByteSize, ErrorCode, PoolId, Sha256, VolumeId, WireError};

use crate::qcow2;

const MARK: &str = ".podzol-pool";

/// A pool's folder, opened.
#[derive(Debug, Clone)]
pub struct Pool {
    /// Which pool.
    pub id: PoolId,
    /// Its folder.
    pub folder: PathBuf,
    owner: u32,
}

/// What a step of work on the disk has run into, as the caller is told.
fn failed(step: &str, error: &std::io::Error) -> WireError {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let full = matches!(error.kind(), StorageFull | QuotaExceeded);
    let code = if full { ErrorCode::Exhausted } else { ErrorCode::Internal };
    WireError::new(code, format!("cannot {step}: {error}"))
}

impl Pool {
    /// Opens a pool's folder, making it if it is not there. Removes what a crash has left half done.
    ///
    /// # Errors
    /// When the folder holds something else.
    pub fn open(id: PoolId, folder: &Path, owner: u32) -> Result<Self, WireError> {
        let io = |error| failed("open the pool's folder", &error);
        std::fs::create_dir_all(folder).map_err(io)?;
        let mark = folder.join(MARK);
        match std::fs::read_to_string(&mark) {
            Ok(text) if text.trim() == id.to_string() => {}
            Ok(_) => return Err(WireError::new(ErrorCode::Conflict, "path: the folder is another pool's")),
            Err(_) => {
                let empty = std::fs::read_dir(folder)
                    .map_err(io)?
                    .flatten()
                    .all(|entry| entry.file_name() == "lost+found");
                if !empty {
                    return Err(WireError::new(ErrorCode::Conflict, "path: the folder is not empty"));
                }
                write_file(&mark, format!("{id}\n").as_bytes(), 0o644).map_err(io)?;
            }
        }
        let pool = Self { id, folder: folder.to_owned(), owner };
        for name in ["templates", "volumes", "incoming"] {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).map_err(io)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).map_err(io)?;
        }
        pool.remove_half_done();
        Ok(pool)
    }

    /// Removes the pool's own marks and folders, if it has no volumes.
    ///
    /// # Errors
    /// When there are volumes in it.
    pub fn remove(&self) -> Result<(), WireError> {
        if !self.contents().volumes.is_empty() {
            return Err(WireError::new(ErrorCode::Conflict, "there are volumes in the pool"));
        }
        for name in ["templates", "volumes", "incoming"] {
            match std::fs::remove_dir_all(self.folder.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("remove the pool", &error));
                }
                _ => {}
            }
        }
        let _ = std::fs::remove_file(self.folder.join(MARK));
        Ok(())
    }

    fn remove_half_done(&self) {
        for entry in std::fs::read_dir(self.folder.join("incoming")).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(entry.path());
        }
        for entry in std::fs::read_dir(self.folder.join("volumes")).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_plan = path.extension().is_some_and(|extension| extension == "json");
            if !is_plan && !path.with_extension("json").exists() {
                tracing::info!(path = %path.display(), "removing a volume that is half made");
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn volume_file(&self, volume: VolumeId) -> PathBuf {
        self.folder.join("volumes").join(format!("{volume}.qcow2"))
    }

    fn plan_file(&self, volume: VolumeId) -> PathBuf {
        self.folder.join("volumes").join(format!("{volume}.json"))
    }

    /// The file of a template.
    pub(crate) fn template_file(&self, sha256: Sha256) -> PathBuf {
        self.folder.join("templates").join(format!("{sha256}.qcow2"))
    }

    /// The file that an import is written to.
    pub(crate) fn incoming_file(&self, sha256: Sha256) -> PathBuf {
        self.folder.join("incoming").join(format!("{sha256}.qcow2"))
    }

    /// The sizes of a template that is here: of the file, and of the disk in it.
    pub(crate) fn template(&self, sha256: Sha256) -> Option<(ByteSize, ByteSize)> {
        let path = self.template_file(sha256);
        let size = std::fs::metadata(&path).ok()?.len();
        Some((ByteSize(size), virtual_size(&path).ok()?))
    }

    /// Puts an imported file in its place, if it is an image that may be one.
    pub(crate) fn accept_template(&self, sha256: Sha256) -> Result<(ByteSize, ByteSize), String> {
        let incoming = self.incoming_file(sha256);
        let virtual_size = virtual_size(&incoming)?;
        let io = |error: std::io::Error| error.to_string();
        std::fs::set_permissions(&incoming, std::fs::Permissions::from_mode(0o444)).map_err(io)?;
        std::fs::rename(&incoming, self.template_file(sha256)).map_err(io)?;
        sync_folder(&self.folder.join("templates")).map_err(io)?;
        let size = std::fs::metadata(self.template_file(sha256)).map_err(io)?.len();
        Ok((ByteSize(size), virtual_size))
    }

    /// Removes a template, if no volume is based on it.
    ///
    /// # Errors
    /// When one is.
    pub fn template_delete(&self, sha256: Sha256) -> Result<(), WireError> {
        let based =
            |volume: &VolumeId| self.volume_plan(*volume).is_some_and(|plan| plan.template == Some(sha256));
        if let Some(volume) = self.contents().volumes.iter().find(|volume| based(volume)) {
            return Err(WireError::new(ErrorCode::Conflict, format!("volume {volume} is based on it")));
        }
        match std::fs::remove_file(self.template_file(sha256)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed("remove the template", &error))
            }
            _ => Ok(()),
        }
    }

    fn volume_plan(&self, volume: VolumeId) -> Option<VolumePlan> {
        serde_json::from_slice(&std::fs::read(self.plan_file(volume)).ok()?).ok()
    }

    /// Makes a volume; the same again is success.
    ///
    /// # Errors
    /// When it is there with another size or template, its template is not there, or the disk is full.
    pub fn volume_put(&self, volume: VolumeId, plan: &VolumePlan) -> Result<VolumeStatus, WireError> {
        let status = VolumeStatus { file: format!("volumes/{volume}.qcow2"), size: plan.size };
        match self.volume_plan(volume) {
            Some(there) if there == *plan => return Ok(status),
            Some(_) => {
                return Err(WireError::new(
                    ErrorCode::Conflict,
                    "the volume is there with another size or template",
                ));
            }
            None => {}
        }
        let backing = match plan.template {
            None => None,
            Some(sha256) => {
                let (_, needed) = self.template(sha256).ok_or_else(|| {
                    WireError::new(ErrorCode::NotFound, format!("template {sha256} is not in the pool"))
                })?;
                if plan.size < needed {
                    let rule = format!("size: must be at least the template's, {needed}");
                    return Err(WireError::new(ErrorCode::Invalid, rule));
                }
                Some(format!("../templates/{sha256}.qcow2"))
            }
        };
        let image = qcow2::image(plan.size, backing.as_deref())
            .map_err(|rule| WireError::new(ErrorCode::Invalid, rule))?;
        let path = self.volume_file(volume);
        let made = self.write_volume(&path, &image).and_then(|()| {
            let text = serde_json::to_vec(plan).map_err(std::io::Error::other)?;
            write_file(&self.plan_file(volume), &text, 0o600)
        });
        made.map_err(|error| {
            let _ = std::fs::remove_file(self.plan_file(volume));
            let _ = std::fs::remove_file(&path);
            failed("make the volume", &error)
        })?;
        Ok(status)
    }

    fn write_volume(&self, path: &Path, image: &[u8]) -> std::io::Result<()> {
        write_file(path, image, 0o600)?;
        // Hosts open it over NFS as QEMU's user; root there is nobody here.
        match chown(path, Some(self.owner), Some(self.owner)) {
            Err(error)
                if error.kind() == std::io::ErrorKind::PermissionDenied
                    && !nix::unistd::geteuid().is_root() =>
            {
                Ok(())
            }
            result => result,
        }
    }

    /// Destroys a volume; success when it is not there.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn volume_delete(&self, volume: VolumeId) -> Result<(), WireError> {
        for path in [self.plan_file(volume), self.volume_file(volume)] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("destroy the volume", &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is in the pool.
    pub fn contents(&self) -> Contents {
        let names = |folder: &str, extension: &str| -> Vec<String> {
            let entries = std::fs::read_dir(self.folder.join(folder)).into_iter().flatten().flatten();
            let name = |entry: std::fs::DirEntry| {
                Some(entry.file_name().to_str()?.strip_suffix(extension)?.to_owned())
            };
            entries.filter_map(name).collect()
        };
        let mut volumes: Vec<VolumeId> =
            names("volumes", ".json").iter().filter_map(|name| name.parse().ok()).collect();
        let mut templates: Vec<Sha256> =
            names("templates", ".qcow2").iter().filter_map(|name| name.parse().ok()).collect();
        volumes.sort();
        templates.sort();
        Contents { volumes, templates }
    }

    /// Capacity and use of the file system, and the sum of the volumes' sizes.
    pub fn space(&self) -> (ByteSize, ByteSize, ByteSize) {
        let sizes = self.contents().volumes.into_iter().filter_map(|volume| self.volume_plan(volume));
        let allocated = sizes.map(|plan| plan.size.0).sum();
        let (capacity, used) = match nix::sys::statvfs::statvfs(&self.folder) {
            Ok(about) => {
                let unit = about.fragment_size();
                (about.blocks() * unit, (about.blocks() - about.blocks_available()) * unit)
            }
            Err(_) => (0, 0),
        };
        (ByteSize(capacity), ByteSize(used), ByteSize(allocated))
    }
}

fn virtual_size(path: &Path) -> Result<ByteSize, String> {
    let mut header = Vec::with_capacity(qcow2::HEADER_BYTES);
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(qcow2::HEADER_BYTES as u64).read_to_end(&mut header).map_err(|error| error.to_string())?;
    qcow2::read_header(&header)
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
