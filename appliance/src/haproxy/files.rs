//! The folder of a process: what it begins with, its socket, and the empty folder that it lives in.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use podzol_appliance_haproxy::{Config, Folder, Model};

/// Where folders of all processes are, each router's with its process id: on a machine for tests there can be several.
/// It is in memory, as there is no disk.
const PLACE: &str = "/run";
const PREFIX: &str = "podzol-haproxy-";

/// The folder of all processes, which is made when it is needed and goes with this.
#[derive(Debug)]
pub(super) struct Base(String);

impl Base {
    /// One for this router. Those of routers that were killed go.
    pub(super) fn new() -> Self {
        let own = std::process::id().to_string();
        let names = fs::read_dir(PLACE).into_iter().flatten().flatten().map(|entry| entry.file_name());
        for name in names.filter_map(|name| name.into_string().ok()) {
            let is_left = |pid: &str| pid == own || !Path::new("/proc").join(pid).exists();
            if name.strip_prefix(PREFIX).is_some_and(is_left) {
                let _ = fs::remove_dir_all(Path::new(PLACE).join(name));
            }
        }
        Self(format!("{PLACE}/{PREFIX}{own}"))
    }

    /// A folder for the process of this number, with all that it needs to begin.
    pub(super) fn write(&self, number: u64, model: &Model, connections: u32) -> io::Result<Files> {
        if !Path::new(&self.0).exists() {
            make(Path::new(&self.0), 0o700)?;
        }
        let folder: Folder = format!("{}/{number}", self.0).parse().map_err(io::Error::other)?;
        make(Path::new(folder.as_str()), 0o700)?;
        let config = model.config(&folder, connections);
        let files = Files { folder, config };
        make(Path::new(&files.folder.root()), 0o555)?;
        write(&files.text(), &files.config.text)?;
        for certificate in &files.config.certificates {
            write(Path::new(&certificate.path), certificate.pem.expose())?;
        }
        Ok(files)
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The files of a process, which go with this.
#[derive(Debug)]
pub(super) struct Files {
    folder: Folder,
    pub(super) config: Config,
}

impl Files {
    /// The configuration.
    pub(super) fn text(&self) -> PathBuf {
        Path::new(self.folder.as_str()).join("haproxy.cfg")
    }

    /// The socket for commands.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.socket().into()
    }

    /// Removes what a process needs to begin, and never after: keys above all.
    pub(super) fn has_begun(&mut self) -> io::Result<()> {
        for certificate in self.config.certificates.drain(..) {
            fs::remove_file(&certificate.path)?;
        }
        fs::remove_file(self.text())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.folder.as_str());
    }
}

/// A folder with these rights, in the place of one that a killed router may have left.
fn make(path: &Path, mode: u32) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
