//! The qcow2 format, as far as it is needed: an empty image over a backing file, written in one go; the header of an
//! image that came from elsewhere, to know its size and to refuse what would reach outside it; and a larger size for an
//! image that nobody has open.
//!
//! Source: QEMU's docs/interop/qcow2.txt. All numbers are big-endian.
//!
//! # Design notes
//! Written here rather than by `qemu-img create`, because a clone is three clusters of known bytes, and starting a
//! program costs more than all the rest of making a VM's disk.

use std::fs::File;
use std::os::unix::fs::FileExt;

use podzol_vocab::ByteSize;

/// Size of a cluster: 2^16 bytes, QEMU's default.
const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;

/// What one entry of the level-1 table covers: a level-2 table of one cluster, with 8 bytes a cluster.
const PER_L1_ENTRY: u64 = CLUSTER * (CLUSTER / 8);

/// "QFI" and 0xfb.
const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Length of a header of version 3.
const HEADER: u32 = 104;

/// The header extension that names the backing file's format.
const BACKING_FORMAT: u32 = 0xe279_2aca;

/// Incompatible feature: clusters are in another file.
const EXTERNAL_DATA: u64 = 1 << 2;

/// The first bytes that [`read_header`] needs.
pub(crate) const HEADER_BYTES: usize = HEADER as usize;

/// The largest size that is made: one cluster of level-1 entries.
const LARGEST: u64 = PER_L1_ENTRY * (CLUSTER / 8);
const _: () = assert!(LARGEST == podzol_storage_api::LARGEST_VOLUME.0);

/// An empty image of a size, over a backing file in qcow2 format or none. The size is rounded up to 512 bytes.
///
/// # Errors
/// When the size is 0 or over 4 TiB, or the backing file's name is too long.
pub(crate) fn image(size: ByteSize, backing_file: Option<&str>) -> Result<Vec<u8>, String> {
    if size.0 == 0 || size.0 > LARGEST {
        return Err(format!("size: must be 1 byte to {}", ByteSize(LARGEST)));
    }
    let size = size.0.div_ceil(512) * 512;
    let name = backing_file.unwrap_or_default();
    if name.len() > 1023 {
        return Err("the backing file's name is too long".into());
    }
    // Clusters: header, refcount table, refcount block, level-1 table.
    let mut bytes = vec![0u8; 4 * CLUSTER as usize];
    let extension = if backing_file.is_some() { 16 } else { 0 };
    let name_at = u64::from(HEADER) + extension + 8;
    let mut header: Vec<u8> = Vec::with_capacity(256);
    header.extend(MAGIC);
    header.extend(3u32.to_be_bytes());
    header.extend(if name.is_empty() { 0 } else { name_at }.to_be_bytes());
    header.extend((name.len() as u32).to_be_bytes());
    header.extend(CLUSTER_BITS.to_be_bytes());
    header.extend(size.to_be_bytes());
    header.extend(0u32.to_be_bytes()); // no encryption
    header.extend((size.div_ceil(PER_L1_ENTRY) as u32).to_be_bytes());
    header.extend((3 * CLUSTER).to_be_bytes()); // level-1 table
    header.extend(CLUSTER.to_be_bytes()); // refcount table
    header.extend(1u32.to_be_bytes()); // its clusters
    header.extend(0u32.to_be_bytes()); // no snapshots
    header.extend(0u64.to_be_bytes());
    header.extend([0u8; 24]); // no features
    header.extend(4u32.to_be_bytes()); // refcounts of 2^4 bits
    header.extend(HEADER.to_be_bytes());
    if backing_file.is_some() {
        header.extend(BACKING_FORMAT.to_be_bytes());
        header.extend(5u32.to_be_bytes());
        header.extend(b"qcow2\0\0\0");
    }
    header.extend([0u8; 8]); // end of extensions
    header.extend(name.as_bytes());
    bytes[..header.len()].copy_from_slice(&header);
    let at = |cluster: u64| (cluster * CLUSTER) as usize;
    bytes[at(1)..at(1) + 8].copy_from_slice(&(2 * CLUSTER).to_be_bytes());
    for cluster in 0..4 {
        let place = at(2) + 2 * cluster;
        bytes[place..place + 2].copy_from_slice(&1u16.to_be_bytes());
    }
    Ok(bytes)
}

/// Gives an image another size, if that is larger than the one it has. Nobody may have it open. What is new in it is
/// empty. A crash leaves it with the one size or the other: both are in one sector.
///
/// # Errors
/// When it is no such image as [`image`] makes and QEMU extends, or the size is too large; and what the operating system
/// says.
pub(crate) fn grow(file: &File, size: ByteSize) -> std::io::Result<()> {
    let invalid = |rule: String| std::io::Error::new(std::io::ErrorKind::InvalidData, rule);
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0)?;
    let long = |at: usize| u64::from_be_bytes(header[at..at + 8].try_into().unwrap_or_default());
    let short = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap_or_default());
    if header[..4] != MAGIC || short(20) != CLUSTER_BITS {
        return Err(invalid("it is no qcow2 image with clusters of 64 KiB".into()));
    }
    let (rounded, there) = (size.0.div_ceil(512) * 512, long(24));
    if there >= rounded {
        return Ok(());
    }
    if size.0 > LARGEST {
        return Err(invalid(format!("size: must be at most {}", ByteSize(LARGEST))));
    }
    let size = rounded;
    // The level-1 table has whole clusters; one is enough for the largest size. Behind its end may be anything.
    let (entries, table) = (u64::from(short(36)), long(40));
    let needed = size.div_ceil(PER_L1_ENTRY);
    if let Some(new) = needed.checked_sub(entries).filter(|new| *new > 0) {
        file.write_all_at(&vec![0; new as usize * 8], table + entries * 8)?;
        file.sync_all()?;
    }
    let mut fields = header[24..40].to_vec();
    fields[..8].copy_from_slice(&size.to_be_bytes());
    fields[12..].copy_from_slice(&(needed.max(entries) as u32).to_be_bytes());
    file.write_all_at(&fields, 24)?;
    file.sync_all()
}

/// The size of the disk in an image, whatever it is over.
pub(crate) fn size_of(file: &File) -> Option<ByteSize> {
    let mut header = [0; 32];
    file.read_exact_at(&mut header, 0).ok()?;
    let size = header[24..].try_into().map(u64::from_be_bytes).ok()?;
    header.starts_with(&MAGIC).then_some(ByteSize(size))
}

/// The size of the disk in an image that came from elsewhere.
///
/// # Errors
/// When it is no qcow2 image, or one that refers to other files: those could be any on the hosts.
pub(crate) fn read_header(bytes: &[u8]) -> Result<ByteSize, String> {
    let number = |at: usize, length: usize| -> Option<u64> {
        Some(bytes.get(at..at + length)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let short = "it is too short for a qcow2 image";
    if bytes.get(..4) != Some(&MAGIC) {
        return Err("it is no qcow2 image".into());
    }
    let version = number(4, 4).ok_or(short)?;
    if !(2..=3).contains(&version) {
        return Err(format!("it is a qcow2 image of the unknown version {version}"));
    }
    if number(8, 8).ok_or(short)? != 0 {
        return Err("it has a backing file, which a template must not have".into());
    }
    if version == 3 && number(72, 8).ok_or(short)? & EXTERNAL_DATA != 0 {
        return Err("its data is in another file, which a template's must not be".into());
    }
    if number(32, 4).ok_or(short)? != 0 {
        return Err("it is encrypted, which a template must not be".into());
    }
    match number(24, 8).ok_or(short)? {
        0 => Err("the disk in it is empty".into()),
        size if size > LARGEST => Err(format!("the disk in it is larger than {}", ByteSize(LARGEST))),
        size => Ok(ByteSize(size)),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn qemu_img(arguments: &[&str]) -> String {
        let output = Command::new("qemu-img")
            .args(arguments)
            .output()
            .expect("qemu-img (Debian: qemu-utils) is needed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    fn qemu_finds_no_fault_in_an_image_and_sees_its_backing_file() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base.qcow2");
        let clone = folder.path().join("clone.qcow2");
        std::fs::write(&base, image(ByteSize::from_mib(10), None).unwrap()).unwrap();
        std::fs::write(&clone, image(ByteSize::from_gib(100), Some("base.qcow2")).unwrap()).unwrap();
        for file in [&base, &clone] {
            qemu_img(&["check", file.to_str().unwrap()]);
        }
        let about: serde_json::Value =
            serde_json::from_str(&qemu_img(&["info", "--output=json", clone.to_str().unwrap()])).unwrap();
        assert_eq!(about["virtual-size"], 100u64 << 30);
        assert_eq!(about["backing-filename"], "base.qcow2");
        assert_eq!(about["backing-filename-format"], "qcow2");
    }

    /// The size of the disk in an image, and what it holds, as QEMU sees it, which finds no fault in it.
    fn seen_by_qemu(file: &str) -> (u64, Vec<u8>) {
        qemu_img(&["check", file]);
        let about = qemu_img(&["info", "--output=json", file]);
        let about: serde_json::Value = serde_json::from_str(&about).unwrap();
        let raw = format!("{file}.raw");
        qemu_img(&[
            "dd",
            "-f",
            "qcow2",
            "-O",
            "raw",
            "bs=1M",
            "count=1",
            &format!("if={file}"),
            &format!("of={raw}"),
        ]);
        (about["virtual-size"].as_u64().unwrap(), std::fs::read(raw).unwrap())
    }

    #[test]
    fn an_image_grows_and_keeps_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.qcow2");
        let name = path.to_str().unwrap();
        let content = folder.path().join("content");
        let bytes: Vec<u8> = (0..1 << 20).map(|number: u32| (number >> 8) as u8).collect();
        std::fs::write(&content, &bytes).unwrap();
        qemu_img(&["convert", "-f", "raw", "-O", "qcow2", content.to_str().unwrap(), name]);
        let file = File::options().read(true).write(true).open(&path).unwrap();
        // More entries in the table of the first level each time, and one time QEMU moves that table.
        for gib in [1, 3, 700] {
            grow(&file, ByteSize::from_gib(gib)).unwrap();
            assert!(seen_by_qemu(name) == (gib << 30, bytes.clone()), "{gib} GiB");
        }
        qemu_img(&["resize", name, "1T"]);
        grow(&file, ByteSize::from_gib(2048)).unwrap();
        assert!(seen_by_qemu(name) == (2048 << 30, bytes));
        grow(&file, ByteSize::from_gib(5)).unwrap();
        assert_eq!(seen_by_qemu(name).0, 2048 << 30);
        assert!(grow(&file, ByteSize(LARGEST + 1)).is_err());
        std::fs::write(&path, [0; 200]).unwrap();
        assert!(grow(&file, ByteSize::from_gib(1)).is_err());
    }

    #[test]
    fn the_size_in_an_image_is_read_back() {
        let bytes = image(ByteSize::from_gib(3), None).unwrap();
        assert_eq!(read_header(&bytes), Ok(ByteSize::from_gib(3)));
    }

    #[test]
    fn images_that_reach_outside_are_refused() {
        let overlay = image(ByteSize::from_gib(1), Some("/etc/shadow")).unwrap();
        assert!(read_header(&overlay).unwrap_err().contains("backing file"));
        let mut external = image(ByteSize::from_gib(1), None).unwrap();
        external[79] |= 1 << 2;
        assert!(read_header(&external).unwrap_err().contains("another file"));
        let mut encrypted = image(ByteSize::from_gib(1), None).unwrap();
        encrypted[35] = 1;
        assert!(read_header(&encrypted).is_err());
        for short in [&b""[..], b"QFI", b"QFI\xfb", b"\x00\x01\x02\x03", &overlay[..30]] {
            assert!(read_header(short).is_err());
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        assert!(image(ByteSize(0), None).is_err());
        assert!(image(ByteSize(LARGEST + 1), None).is_err());
        assert!(image(ByteSize(u64::MAX - 600), None).is_err());
        assert!(image(ByteSize(u64::MAX), None).is_err());
        assert!(image(ByteSize(LARGEST), None).is_ok());
    }
}
