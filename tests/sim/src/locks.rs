//! The locks that QEMU takes on the images of its disks, over NFS too: who runs a VM keeps all others from it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use podzol_vocab::VmId;

/// The locks on the images of a pod. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Locks(Arc<Mutex<All>>);

/// A VM on a host, by the host's address.
type Holder = (String, VmId);

#[derive(Debug, Default)]
struct All {
    held: HashMap<PathBuf, Holder>,
    /// Who held them last, and so may have written to them.
    wrote: HashMap<PathBuf, Holder>,
    refused: Vec<String>,
}

impl Locks {
    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the locks of some images, or none of them.
    pub(crate) fn take(&self, images: &[PathBuf], host: &str, vm: VmId) -> Result<(), String> {
        let mut all = self.all();
        let me = (host.to_owned(), vm);
        let other =
            images.iter().find_map(|image| all.held.get(image).filter(|holder| **holder != me).cloned());
        if let Some((other, its_vm)) = other {
            all.refused.push(format!("VM {vm} on {host}: VM {its_vm} on {other} has its image open"));
            return Err("Failed to get \"write\" lock: is another process using the image?".into());
        }
        all.held.extend(images.iter().map(|image| (image.clone(), me.clone())));
        all.wrote.extend(images.iter().map(|image| (image.clone(), me.clone())));
        Ok(())
    }

    /// Takes the locks of some images for a VM that goes on with the memory that it had when it held them last.
    pub(crate) fn take_back(&self, images: &[PathBuf], host: &str, vm: VmId) -> Result<(), String> {
        {
            let mut all = self.all();
            let me = (host.to_owned(), vm);
            let other =
                images.iter().find_map(|image| all.wrote.get(image).filter(|wrote| **wrote != me).cloned());
            if let Some((other, its_vm)) = other {
                let what = "has written to its image since, of which its memory knows nothing";
                all.refused.push(format!("VM {vm} on {host} goes on: VM {its_vm} on {other} {what}"));
            }
        }
        self.take(images, host, vm)
    }

    /// Has a VM that has moved hold the locks on its new host.
    pub(crate) fn hand_over(&self, images: &[PathBuf], host: &str, vm: VmId) {
        let mine = || images.iter().map(|image| (image.clone(), (host.to_owned(), vm)));
        let mut all = self.all();
        all.held.extend(mine());
        all.wrote.extend(mine());
    }

    /// Lets go of all images of a VM on a host, but for those that it keeps.
    pub(crate) fn keep(&self, images: &[PathBuf], host: &str, vm: VmId) {
        let mine = |holder: &Holder| holder.0 == host && holder.1 == vm;
        self.all().held.retain(|image, holder| !mine(holder) || images.contains(image));
    }

    /// Each time that somebody wanted an image that another had open, or went on with one that another had changed. Nothing that works as it should ever does.
    pub fn refused(&self) -> Vec<String> {
        self.all().refused.clone()
    }
}
