//! What a simulated router's image has beside what all have: its template says so in the label that it was made with.
//!
//! As a real router finds a program in its image or does not, whatever the management service takes the template for.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use podzol_appliance_api::{EXTENSION_IPV6, EXTENSION_L7, EXTENSION_LIMITS};

/// Where the label is in an image ([`podzol_test_support::image::qcow2`]), and more bytes than any has.
const LABEL: u64 = 4 << 16;
const LONGEST: usize = 64;

/// The extensions of a router that boots from the first of these disks.
pub(super) fn extensions(disks: &[PathBuf]) -> BTreeSet<String> {
    let label = disks.first().and_then(|disk| label(disk).ok()).unwrap_or_default();
    [EXTENSION_IPV6, EXTENSION_L7, EXTENSION_LIMITS]
        .into_iter()
        .filter(|word| label.contains(word))
        .map(str::to_owned)
        .collect()
}

/// The label of the image that a volume began as.
fn label(disk: &Path) -> io::Result<String> {
    let volume = File::open(disk)?;
    // QEMU's docs/interop/qcow2.txt: where the backing file's name is, and how long.
    let mut header = [0; 20];
    volume.read_exact_at(&mut header, 0)?;
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let mut name = vec![0; number(&header[16..20]) as usize];
    volume.read_exact_at(&mut name, number(&header[8..16]))?;
    let folder = disk.parent().unwrap_or(Path::new("."));
    let template = File::open(folder.join(String::from_utf8_lossy(&name).as_ref()))?;
    let mut label = vec![0; LONGEST];
    let read = template.read_at(&mut label, LABEL)?;
    label.truncate(read);
    Ok(String::from_utf8_lossy(&label).trim_end_matches('\0').to_owned())
}
