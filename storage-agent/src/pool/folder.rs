//! A pool's folder on the disk: what is where, and each step of work on it. It decides nothing.
//!
//! ```text
//!   FOLDER/.podzol-pool           the pool's id: a folder without it is never used, and made a pool only when empty
//!   FOLDER/templates/SHA256.qcow2 read-only, for all
//!   FOLDER/templates/SHA256.iso   the same, but nothing is ever over it
//!   FOLDER/volumes/ID.qcow2       over ../templates/SHA256.qcow2
//!   FOLDER/volumes/ID.json        what the volume should be; written last, removed first
//!   FOLDER/incoming/              imports under way; emptied when the folder is opened
//! ```
//! A volume without its `.json` is half made or half destroyed, and removed when the folder is opened. A read that
//! fails is an error, and nothing is removed then: only what the operating system calls not found is not there.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use podzol_rpc::identity::write_file;
use podzol_storage_api::{TemplateFormat, VolumePlan, iso_file};
use podzol_vocab::{ByteSize, ErrorCode, PoolId, Sha256, VolumeId, WireError};

use super::Template;
use crate::{iso, qcow2};

const MARK: &str = ".podzol-pool";

/// What a crash leaves while the mark is written; the name is [`write_file`]'s.
const HALF_MARK: &str = ".podzol-pool.new";

const PARTS: [&str; 3] = ["templates", "volumes", "incoming"];

/// How the names of a volume's two files end while they are written; they are [`write_file`]'s.
const TEMPORARY: [&str; 2] = [".qcow2.new", ".json.new"];

const FORMATS: [TemplateFormat; 2] = [TemplateFormat::Qcow2, TemplateFormat::Iso];

/// A folder that bears its pool's mark.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    owner: u32,
}

/// What is in a folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) volumes: BTreeMap<VolumeId, VolumePlan>,
    pub(super) templates: BTreeMap<Sha256, Template>,
}

/// Whose a folder is.
enum Mark {
    Own,
    Other,
    None,
}

impl Folder {
    /// Marks an empty folder as a pool's, making it if it is not there; one that is the pool's already stays as it is.
    pub(super) fn initialise(id: PoolId, path: &Path) -> Result<(), WireError> {
        let io = |error| failed("make the pool's folder", &error);
        let conflict = |rule| Err(WireError::new(ErrorCode::Conflict, rule));
        std::fs::create_dir_all(path).map_err(io)?;
        match read_mark(id, path).map_err(io)? {
            Mark::Own => Ok(()),
            Mark::Other => conflict("path: the folder is another pool's"),
            Mark::None if !is_empty(path).map_err(io)? => conflict("path: the folder is not empty"),
            Mark::None => {
                remove_if_there(&path.join(HALF_MARK)).map_err(io)?;
                write_file(&path.join(MARK), format!("{id}\n").as_bytes(), 0o644).map_err(io)
            }
        }
    }

    /// Opens the folder of a pool, and removes what a crash has left half done.
    pub(super) fn open(id: PoolId, path: &Path, owner: u32) -> Result<(Self, Found), WireError> {
        let io = |error| failed("open the pool's folder", &error);
        let folder = Self { path: path.to_owned(), owner };
        folder.must_be_of(id)?;
        for part in PARTS {
            let path = folder.path.join(part);
            std::fs::create_dir_all(&path).map_err(io)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).map_err(io)?;
        }
        let found = folder.read()?;
        folder.sweep(&found).map_err(io)?;
        Ok((folder, found))
    }

    /// Fails when the folder is not the pool's, as that of a disk that is not mounted.
    pub(super) fn must_be_of(&self, id: PoolId) -> Result<(), WireError> {
        let problem = match read_mark(id, &self.path) {
            Ok(Mark::Own) => return Ok(()),
            Ok(Mark::Other) => "its folder is another pool's",
            Ok(Mark::None) => "its folder does not hold it; is its disk mounted?",
            Err(error) => return Err(failed("read the pool's mark", &error)),
        };
        Err(WireError::new(ErrorCode::Unavailable, problem))
    }

    /// Removes a pool's own files and folders, the mark last: from a folder without it, all was removed before.
    pub(super) fn remove(id: PoolId, path: &Path) -> Result<(), WireError> {
        let io = |error| failed("remove the pool", &error);
        match read_mark(id, path).map_err(io)? {
            Mark::Own => {}
            Mark::Other | Mark::None => return Ok(()),
        }
        for part in PARTS {
            absent_is_fine(std::fs::remove_dir_all(path.join(part))).map_err(io)?;
        }
        remove_if_there(&path.join(MARK)).and_then(|()| sync_folder(path)).map_err(io)
    }

    fn read(&self) -> Result<Found, WireError> {
        let io = |error| failed("read the pool's folder", &error);
        let mut found = Found::default();
        for volume in ids(&self.volumes(), ".json").map_err(io)? {
            found.volumes.insert(volume, self.read_plan(volume)?);
        }
        for format in FORMATS {
            for sha256 in ids(&self.path.join("templates"), ending(format)).map_err(io)? {
                match read_template(&self.template_file(sha256, format), format) {
                    Ok(template) => drop(found.templates.insert(sha256, template)),
                    // It is no reason to have nothing of the pool.
                    Err(error) if error.code == ErrorCode::Invalid => {
                        tracing::error!(%sha256, error = %error.message, "a template's file is damaged");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(found)
    }

    fn read_plan(&self, volume: VolumeId) -> Result<VolumePlan, WireError> {
        let text = std::fs::read(self.plan_file(volume));
        text.and_then(|text| Ok(serde_json::from_slice(&text)?))
            .map_err(|error| failed(&format!("read the description of volume {volume}"), &error))
    }

    fn sweep(&self, found: &Found) -> std::io::Result<()> {
        for format in FORMATS {
            for sha256 in ids(&self.path.join("incoming"), ending(format))? {
                remove_if_there(&self.incoming_file(sha256, format))?;
            }
        }
        for volume in ids(&self.volumes(), ".qcow2")? {
            if !found.volumes.contains_key(&volume) {
                tracing::info!(%volume, "removing a volume that is half made");
                remove_if_there(&self.volume_file(volume))?;
            }
        }
        for file in TEMPORARY {
            for volume in ids::<VolumeId>(&self.volumes(), file)? {
                remove_if_there(&self.temporary_file(volume, file))?;
            }
        }
        Ok(())
    }

    fn volumes(&self) -> PathBuf {
        self.path.join("volumes")
    }

    pub(super) fn volume_file(&self, volume: VolumeId) -> PathBuf {
        self.volumes().join(format!("{volume}.qcow2"))
    }

    pub(super) fn plan_file(&self, volume: VolumeId) -> PathBuf {
        self.volumes().join(format!("{volume}.json"))
    }

    /// One of the two files of a volume while it is written.
    fn temporary_file(&self, volume: VolumeId, ending: &str) -> PathBuf {
        self.volumes().join(format!("{volume}{ending}"))
    }

    pub(super) fn template_file(&self, sha256: Sha256, format: TemplateFormat) -> PathBuf {
        match format {
            TemplateFormat::Qcow2 => self.path.join("templates").join(format!("{sha256}.qcow2")),
            TemplateFormat::Iso => self.path.join(iso_file(sha256)),
        }
    }

    pub(super) fn incoming_file(&self, sha256: Sha256, format: TemplateFormat) -> PathBuf {
        self.path.join("incoming").join(format!("{sha256}{}", ending(format)))
    }

    /// Writes a volume: its image, then what it should be.
    pub(super) fn make_volume(
        &self,
        volume: VolumeId,
        plan: &VolumePlan,
        image: &[u8],
    ) -> std::io::Result<()> {
        let path = self.volume_file(volume);
        write_file(&path, image, 0o600)?;
        // Hosts open it over NFS as QEMU's user; root there is nobody here.
        match chown(&path, Some(self.owner), Some(self.owner)) {
            Err(error)
                if error.kind() == ErrorKind::PermissionDenied && !nix::unistd::geteuid().is_root() => {}
            result => result?,
        }
        write_file(&self.plan_file(volume), &serde_json::to_vec(plan)?, 0o600)
    }

    /// Gives a volume the size in its plan: its image, then the plan.
    pub(super) fn grow_volume(&self, volume: VolumeId, plan: &VolumePlan) -> std::io::Result<()> {
        let image = File::options().read(true).write(true).open(self.volume_file(volume))?;
        qcow2::grow(&image, plan.size)?;
        write_file(&self.plan_file(volume), &serde_json::to_vec(plan)?, 0o600)
    }

    /// Removes what says that a volume is whole. Only after this may its image go.
    pub(super) fn remove_plan(&self, volume: VolumeId) -> std::io::Result<()> {
        remove_if_there(&self.plan_file(volume))
    }

    pub(super) fn remove_image(&self, volume: VolumeId) -> std::io::Result<()> {
        remove_if_there(&self.volume_file(volume))?;
        TEMPORARY.iter().try_for_each(|file| remove_if_there(&self.temporary_file(volume, file)))?;
        sync_folder(&self.volumes())
    }

    /// Puts an imported file in its place, if it is an image that may be one.
    pub(super) fn accept_template(
        &self,
        sha256: Sha256,
        format: TemplateFormat,
    ) -> Result<Template, WireError> {
        let io = |error| failed("put the template in its place", &error);
        let incoming = self.incoming_file(sha256, format);
        let template = read_template(&incoming, format)?;
        match std::fs::metadata(self.template_file(sha256, format)) {
            // Hosts may have it open: another file in its place would be gone for them.
            Ok(about) if about.len() == template.size.0 => {
                read_template(&self.template_file(sha256, format), format).map_err(|error| {
                    let message = format!("its file in the pool is damaged; move it away: {}", error.message);
                    WireError::new(ErrorCode::Conflict, message)
                })?;
                remove_if_there(&incoming).map_err(io)?;
                return Ok(template);
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        std::fs::set_permissions(&incoming, std::fs::Permissions::from_mode(0o444)).map_err(io)?;
        std::fs::rename(&incoming, self.template_file(sha256, format)).map_err(io)?;
        sync_folder(&self.path.join("templates")).map_err(io)?;
        Ok(template)
    }

    /// Whether the file of a template is there, and whole. One that cannot be looked at is not gone.
    pub(super) fn has_template(&self, sha256: Sha256, template: &Template) -> bool {
        match std::fs::metadata(self.template_file(sha256, template.format)) {
            Ok(about) => about.len() == template.size.0,
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    }

    /// Whether the image of a volume is there. One that cannot be looked at is not gone.
    pub(super) fn has_volume(&self, volume: VolumeId) -> bool {
        match std::fs::metadata(self.volume_file(volume)) {
            Ok(_) => true,
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    }

    /// How large the disk of a volume is, as its file says.
    pub(super) fn volume_size(&self, volume: VolumeId) -> Option<ByteSize> {
        qcow2::size_of(&File::open(self.volume_file(volume)).ok()?)
    }

    pub(super) fn remove_template(&self, sha256: Sha256) -> std::io::Result<()> {
        FORMATS.into_iter().try_for_each(|format| remove_if_there(&self.template_file(sha256, format)))
    }

    /// Capacity and use of the file system.
    pub(super) fn space(&self) -> std::io::Result<(ByteSize, ByteSize)> {
        let about = nix::sys::statvfs::statvfs(&self.path)?;
        let bytes = |blocks| ByteSize(blocks * about.fragment_size());
        Ok((bytes(about.blocks()), bytes(about.blocks() - about.blocks_available())))
    }
}

/// What a step of work on the disk has run into, as the caller is told.
pub(super) fn failed(step: &str, error: &std::io::Error) -> WireError {
    let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let code = if full { ErrorCode::Exhausted } else { ErrorCode::Internal };
    WireError::new(code, format!("cannot {step}: {error}"))
}

fn read_mark(id: PoolId, path: &Path) -> std::io::Result<Mark> {
    match std::fs::read_to_string(path.join(MARK)) {
        Ok(text) if text.trim() == id.to_string() => Ok(Mark::Own),
        Ok(_) => Ok(Mark::Other),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Mark::None),
        Err(error) => Err(error),
    }
}

/// Whether nobody has put anything into a folder.
fn is_empty(path: &Path) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        if name != "lost+found" && name != HALF_MARK {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The ids in the names of a folder's files that end so. Files of other names are somebody else's.
fn ids<T: FromStr + Display>(folder: &Path, ending: &str) -> std::io::Result<Vec<T>> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(ending)) else { continue };
        ids.extend(stem.parse::<T>().ok().filter(|id| id.to_string() == stem));
    }
    Ok(ids)
}

/// What the names of a template's files end with.
fn ending(format: TemplateFormat) -> &'static str {
    match format {
        TemplateFormat::Qcow2 => ".qcow2",
        TemplateFormat::Iso => ".iso",
    }
}

fn read_template(path: &Path, format: TemplateFormat) -> Result<Template, WireError> {
    let io = |error| failed("read the template", &error);
    let (from, length) = match format {
        TemplateFormat::Qcow2 => (0, qcow2::HEADER_BYTES),
        TemplateFormat::Iso => (iso::DESCRIPTOR_AT, iso::DESCRIPTOR_BYTES),
    };
    let mut header = Vec::with_capacity(length);
    let mut file = File::open(path).map_err(io)?;
    let size = ByteSize(file.metadata().map_err(io)?.len());
    file.seek(SeekFrom::Start(from)).map_err(io)?;
    file.take(length as u64).read_to_end(&mut header).map_err(io)?;
    let virtual_size = match format {
        TemplateFormat::Qcow2 => qcow2::read_header(&header),
        TemplateFormat::Iso => iso::read_descriptor(&header, size),
    };
    let virtual_size = virtual_size.map_err(|rule| WireError::new(ErrorCode::Invalid, rule))?;
    Ok(Template { format, size, virtual_size })
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    absent_is_fine(std::fs::remove_file(path))
}

fn absent_is_fine(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}
