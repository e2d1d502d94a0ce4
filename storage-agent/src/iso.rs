//! The ISO 9660 format, as far as it is needed: the descriptor of an image that came from elsewhere, to refuse what is no
//! such image or not whole.
//!
//! Source: ECMA-119 (4th edition), 6.2 and 8.4: the first 16 sectors of 2,048 bytes are the system's, the next one holds
//! the primary volume descriptor. Of each number that is there in both byte orders, the little-endian one is read.
//!
//! # Design notes
//! What boots from it is not looked for: an ISO may hold drivers or data, and firmware says what it finds. UDF is not
//! looked for either: images with it alone are rare, and those that operating systems come in have both.

use podzol_vocab::ByteSize;

/// The length of a sector.
const SECTOR: u64 = 2048;

/// Where the primary volume descriptor begins.
pub(crate) const DESCRIPTOR_AT: u64 = 16 * SECTOR;

/// How many of its bytes [`read_descriptor`] needs.
pub(crate) const DESCRIPTOR_BYTES: usize = 132;

/// The type of a primary volume descriptor, and what every descriptor begins with.
const PRIMARY: [u8; 6] = *b"\x01CD001";

/// The size of the file system in an image of a size, whose bytes from [`DESCRIPTOR_AT`] on these are.
///
/// # Errors
/// When it is no ISO 9660 image, or a part of one.
pub(crate) fn read_descriptor(bytes: &[u8], size: ByteSize) -> Result<ByteSize, String> {
    if bytes.get(..PRIMARY.len()) != Some(&PRIMARY) {
        return Err("it is no ISO 9660 image".into());
    }
    let number = |at: usize, length: usize| -> Option<u64> {
        Some(bytes.get(at..at + length)?.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let short = "it is too short for an ISO 9660 image";
    let (blocks, block) = (number(80, 4).ok_or(short)?, number(128, 2).ok_or(short)?);
    if blocks == 0 || !matches!(block, 512 | 1024 | SECTOR) {
        return Err(format!("it is no ISO 9660 image: it says that it has {blocks} blocks of {block} bytes"));
    }
    if !size.0.is_multiple_of(SECTOR) {
        return Err(format!("it has {} bytes, and an ISO 9660 image has whole blocks of {SECTOR}", size.0));
    }
    let said = blocks * block;
    if said > size.0 {
        return Err(format!("it has {} bytes of the {said} that it says it has", size.0));
    }
    Ok(ByteSize(said))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::testing::iso;

    fn read(image: &[u8]) -> Result<ByteSize, String> {
        let from = usize::try_from(DESCRIPTOR_AT).unwrap().min(image.len());
        read_descriptor(&image[from..], ByteSize(image.len() as u64))
    }

    /// An image in which something is otherwise.
    fn check(change: impl Fn(&mut Vec<u8>), expected: &str) {
        let mut image = iso();
        change(&mut image);
        let refused = read(&image).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }

    #[test]
    fn an_image_of_genisoimage_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, image) = (folder.path().join("inside"), folder.path().join("cd.iso"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(inside.join("readme.txt"), "hello").unwrap();
        let mut make = Command::new("genisoimage");
        make.args(["-quiet", "-r", "-J", "-o"]).args([&image, &inside]);
        let made = make.status().expect("genisoimage (Debian: genisoimage) is needed");
        assert!(made.success());
        let bytes = std::fs::read(&image).unwrap();
        let size = read(&bytes).unwrap();
        assert!(size.0 > DESCRIPTOR_AT && size.0 <= bytes.len() as u64, "{size}");
    }

    #[test]
    fn an_image_tells_the_size_of_its_file_system_and_may_have_more_behind_it() {
        let mut image = iso();
        let size = ByteSize(image.len() as u64);
        assert_eq!(read(&image), Ok(size));
        image.extend([0; 2048]);
        assert_eq!(read(&image), Ok(size));
    }

    #[test]
    fn what_is_no_image_or_not_whole_is_refused() {
        check(Vec::clear, "no ISO 9660 image");
        check(|image| image.truncate(32_768), "no ISO 9660 image");
        check(|image| image.truncate(32_774), "too short");
        check(|image| image[32_768] = 2, "no ISO 9660 image");
        check(|image| image[32_773] = b'2', "no ISO 9660 image");
        check(|image| image[32_768 + 80] = 0, "0 blocks of 2048 bytes");
        check(|image| image[32_768 + 129] = 0, "blocks of 0 bytes");
        check(|image| image[32_768 + 128] = 1, "blocks of 2049 bytes");
        check(|image| image.push(0), "whole blocks of 2048");
        check(|image| image.truncate(image.len() - 2048), "of the 38912 that it says it has");
        check(|image| image[32_768 + 83] = 0xff, "that it says it has");
    }
}
