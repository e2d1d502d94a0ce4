//! The files of VMs on this host: the NoCloud seed, the serial log and sockets, in a folder per VM.
//!
//! All of this blocks: call it where that is allowed.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use podzol_agent_api::vm::Seed;
use podzol_vocab::{Generation, VmId};

/// libvirt's folder for QEMU's own files. It belongs to the user as whom QEMU runs, whatever that one is called.
const QEMU_FOLDER: &str = "/var/lib/libvirt/qemu";

/// The most of a serial log that goes to another host with its VM at a time.
pub(crate) const MOVED_LOG: u64 = 1 << 20;

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

    /// Whether a VM's seed is there.
    pub(crate) fn has_seed(&self, vm: VmId) -> bool {
        self.seed(vm).exists()
    }

    /// Writes a VM's seed. Nobody but root and, once libvirt gives it the file, QEMU's user can read it.
    pub(crate) fn write_seed(&self, vm: VmId, seed: &Seed) -> anyhow::Result<PathBuf> {
        let files: [(&str, &[u8]); 3] = [
            ("meta-data", seed.meta_data.as_bytes()),
            ("user-data", seed.user_data.expose().as_bytes()),
            ("network-config", seed.network_config.as_bytes()),
        ];
        let image = podzol_cidata::image(&files).context("cannot make the seed")?;
        // QEMU's user must get through these folders, but list nothing.
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(self.of(vm));
        let written = made.and_then(|()| podzol_rpc::identity::write_file(&self.seed(vm), &image, 0o600));
        written.context("cannot write the seed")?;
        Ok(self.seed(vm))
    }

    /// The socket on this host that leads to the hypervisor of the host to which a VM moves.
    pub(crate) fn move_control(&self, vm: VmId) -> PathBuf {
        self.of(vm).join("move/control.sock")
    }

    /// The socket through which the memory of a VM goes: it leads to the other host on the one that it leaves, and is
    /// QEMU's own on the one where it arrives.
    pub(crate) fn move_data(&self, vm: VmId) -> PathBuf {
        self.of(vm).join("move/data.sock")
    }

    /// Makes the folder for these sockets, if it is not there. QEMU can make its own in it.
    pub(crate) fn make_move_folder(&self, vm: VmId) -> anyhow::Result<()> {
        let folder = self.of(vm).join("move");
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(&folder);
        let given = made.and_then(|()| match std::fs::metadata(QEMU_FOLDER) {
            Ok(about) => std::os::unix::fs::chown(&folder, Some(about.uid()), Some(about.gid())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        });
        given.with_context(|| format!("cannot make {}", folder.display()))
    }

    /// Makes ready for a VM to come under this number. It is written down, as whoever finds the VM here later must know
    /// that it has come.
    pub(crate) fn await_it(&self, vm: VmId, generation: Generation) -> anyhow::Result<()> {
        self.make_move_folder(vm)?;
        let number = generation.0.to_string();
        podzol_rpc::identity::write_file(&self.awaited(vm), number.as_bytes(), 0o600)
            .context("cannot note that a VM is to come")
    }

    /// The number under which a VM is awaited: all was made ready for it then, and nothing of it has been removed or told to
    /// run here since.
    pub(crate) fn awaited_as(&self, vm: VmId) -> Option<Generation> {
        std::fs::read_to_string(self.awaited(vm)).ok()?.parse().ok().map(Generation)
    }

    /// A VM is not awaited any more.
    pub(crate) fn await_no_more(&self, vm: VmId) {
        let _ = std::fs::remove_file(self.awaited(vm));
    }

    fn awaited(&self, vm: VmId) -> PathBuf {
        self.of(vm).join("awaited")
    }

    /// Removes that folder.
    pub(crate) fn remove_move_folder(&self, vm: VmId) {
        let _ = std::fs::remove_dir_all(self.of(vm).join("move"));
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

    /// The VMs that have files here.
    pub(crate) fn list(&self) -> Vec<VmId> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut vms: Vec<VmId> =
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        vms.sort();
        vms
    }

    /// Removes the files of all VMs that are not here, which is asked for each when its turn comes.
    pub(crate) fn keep_only(&self, is_here: impl Fn(VmId) -> bool) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            if let Some(vm) = entry.file_name().to_str().and_then(|name| name.parse().ok())
                && !is_here(vm)
            {
                tracing::info!(%vm, "removing files of a VM that is not here");
                self.remove(vm);
            }
        }
    }

    /// What a VM has written to its serial port behind a place, at most so much of its end, and where that ends.
    pub(crate) fn log_from(&self, vm: VmId, place: u64) -> std::io::Result<(Vec<u8>, u64)> {
        let mut file = std::fs::File::open(self.serial_log(vm))?;
        let length = file.metadata()?.len();
        // Shorter than it was, it was begun anew.
        let place = if place > length { 0 } else { place };
        file.seek(SeekFrom::Start(place.max(length.saturating_sub(MOVED_LOG))))?;
        let mut text = Vec::new();
        file.take(MOVED_LOG).read_to_end(&mut text)?;
        Ok((text, length))
    }

    /// Begins the serial log of a VM anew.
    pub(crate) fn begin_log(&self, vm: VmId) {
        let _ = std::fs::remove_file(self.serial_log(vm));
    }

    /// Opens the serial log of a VM from another host, to put behind it what it wrote there.
    pub(crate) fn open_log(&self, vm: VmId) -> std::io::Result<std::fs::File> {
        std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(self.serial_log(vm))
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
