//! Disk images for templates: empty qcow2 images (QEMU's docs/interop/qcow2.txt, version 3) of a few hundred KiB.

use sha2::{Digest, Sha256};

const CLUSTER: usize = 1 << 16;

/// An empty image of a disk of that many MiB. `label` goes into a cluster that nothing refers to, so that images with
/// another label have another digest.
pub fn qcow2(disk_mib: u64, label: &str) -> Vec<u8> {
    let numbers =
        |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
    let mut header = b"QFI\xfb".to_vec();
    header.extend(numbers(&[3, 0, 0, 0, 16])); // version, no backing file, 2^16 bytes a cluster
    header.extend((disk_mib << 20).to_be_bytes());
    header.extend(numbers(&[0, 1])); // not encrypted; one entry for each 512 MiB, of which one is enough here
    header.extend((3 * CLUSTER as u64).to_be_bytes()); // level-1 table
    header.extend((CLUSTER as u64).to_be_bytes()); // refcount table
    header.extend(numbers(&[1, 0, 0, 0])); // its clusters, no snapshots
    header.extend([0; 24]); // no features
    header.extend(numbers(&[4, 104, 0, 0])); // refcounts of 2^4 bits, length of this header, no extensions
    let mut bytes = vec![0; 4 * CLUSTER];
    bytes[..header.len()].copy_from_slice(&header);
    bytes[CLUSTER..CLUSTER + 8].copy_from_slice(&(2 * CLUSTER as u64).to_be_bytes());
    for cluster in 0..4 {
        bytes[2 * CLUSTER + 2 * cluster + 1] = 1;
    }
    bytes.extend(label.as_bytes());
    bytes.resize(5 * CLUSTER, 0);
    bytes
}

/// SHA-256 of some bytes, as the API writes it.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
