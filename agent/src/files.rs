//! The files of VMs on this host: the NoCloud seed and the serial log, in a folder per VM.

use std::collections::HashSet;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use podzol_agent_api::vm::Seed;
use podzol_vocab::VmId;

/// The folders of VMs.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("vms") }
    }

    fn of(&self, vm: VmId) -> PathBuf {
        self.folder.join(vm.to_string())
    }

    pub(crate) fn seed(&self, vm: VmId) -> PathBuf {
        self.of(vm).join("seed.iso")
    }

    pub(crate) fn serial_log(&self, vm: VmId) -> PathBuf {
        self.of(vm).join("serial.log")
    }

    pub(crate) fn serial_socket(&self, vm: VmId) -> PathBuf {
        self.of(vm).join("serial.sock")
    }

    /// Writes a VM's seed. Nobody but root and, once libvirt gives it the file, QEMU's user can read it.
    pub(crate) fn write_seed(&self, vm: VmId, seed: &Seed) -> Result<PathBuf, String> {
        let failed = |error: std::io::Error| format!("cannot write the seed: {error}");
        let files: [(&str, &[u8]); 3] = [
            ("meta-data", seed.meta_data.as_bytes()),
            ("user-data", seed.user_data.expose().as_bytes()),
            ("network-config", seed.network_config.as_bytes()),
        ];
        let image = podzol_cidata::image(&files).map_err(|error| format!("cannot make the seed: {error}"))?;
        // QEMU's user must get through these folders, but list nothing.
        std::fs::DirBuilder::new().recursive(true).mode(0o711).create(self.of(vm)).map_err(failed)?;
        podzol_rpc::identity::write_file(&self.seed(vm), &image, 0o600).map_err(failed)?;
        Ok(self.seed(vm))
    }

    /// Removes the files of a VM.
    pub(crate) fn remove(&self, vm: VmId) {
        match std::fs::remove_dir_all(self.of(vm)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, %vm, "cannot remove a VM's files");
            }
            _ => {}
        }
    }

    /// Removes the files of all VMs but these.
    pub(crate) fn keep_only(&self, vms: &HashSet<VmId>) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            if let Some(vm) = entry.file_name().to_str().and_then(|name| name.parse().ok())
                && !vms.contains(&vm)
            {
                tracing::info!(%vm, "removing files of a VM that is not here");
                self.remove(vm);
            }
        }
    }

    /// The end of a VM's serial log.
    pub(crate) fn read_log(&self, vm: VmId, bytes: u64) -> std::io::Result<String> {
        let mut file = match std::fs::File::open(self.serial_log(vm)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
            file => file?,
        };
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut text = Vec::new();
        file.take(bytes).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
