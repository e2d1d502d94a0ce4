//! Images for templates: empty disks in qcow2 format (QEMU's docs/interop/qcow2.txt, version 3) of a few hundred KiB, and
//! ISOs (ECMA-119) of a few dozen that boot by El Torito ("El Torito" Bootable CD-ROM Format Specification, version 1.0).

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

/// The length of an ISO's sector.
const SECTOR: usize = 2048;

/// The boot sector of an ISO: it sends the text behind it to the first serial port, and halts. Firmware loads it at 0x7c00.
const SAYS: [u8; 32] = [
    0xfc, // cld
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0xbe, 0x20, 0x7c, // mov si, 0x7c20: the text
    0xac, // next: lodsb
    0x84, 0xc0, // test al, al
    0x74, 0x11, // jz end
    0x88, 0xc4, // mov ah, al
    0xba, 0xfd, 0x03, // mov dx, 0x3fd: the port's state
    0xec, // full: in al, dx
    0xa8, 0x20, // test al, 0x20
    0x74, 0xfb, // jz full
    0x88, 0xe0, // mov al, ah
    0xb2, 0xf8, // mov dl, 0xf8: the port itself
    0xee, // out dx, al
    0xeb, 0xea, // jmp next
    0xfa, 0xf4, // end: cli, hlt
];

/// An ISO without files. What boots from it writes a line to its first serial port, and does nothing else.
///
/// # Panics
/// When the line does not fit into a sector.
pub fn iso(line: &str) -> Vec<u8> {
    let mut sectors = vec![[0; SECTOR]; 21];
    let mut put = |sector: usize, at: usize, bytes: &[u8]| {
        sectors[sector][at..at + bytes.len()].copy_from_slice(bytes);
    };
    // Primary volume descriptor: 21 blocks of 2,048 bytes, and a root directory in none of them.
    put(16, 0, b"\x01CD001\x01");
    put(16, 80, &[21, 0, 0, 0, 0, 0, 0, 21]);
    put(16, 128, &[0, 8, 8, 0]);
    // Boot record, with the place of the boot catalogue; and the end of the descriptors.
    put(17, 0, b"\x00CD001\x01EL TORITO SPECIFICATION");
    put(17, 71, &[19, 0, 0, 0]);
    put(18, 0, b"\xffCD001\x01");
    // Boot catalogue: a validation entry whose 16-bit words add up to nothing, and one entry, loaded as it is.
    put(19, 0, &[1]);
    put(19, 28, &[0xaa, 0x55, 0x55, 0xaa]);
    put(19, 32, &[0x88, 0, 0, 0, 0, 0, 4, 0, 20, 0, 0, 0]);
    put(20, 0, &SAYS);
    put(20, SAYS.len(), format!("{line}\r\n").as_bytes());
    sectors.concat()
}

/// SHA-256 of some bytes, as the API writes it.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
