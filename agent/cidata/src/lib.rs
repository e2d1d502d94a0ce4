//! A VM's NoCloud config drive: an ISO 9660 image with the label `cidata`, with a few files in its only directory.
//!
//! [`image`] is a pure function: no clock, no random numbers, no I/O, so the same files give the same bytes. Each name
//! stands in the image three times: in short ISO form, as Rock Ridge name (what Linux, and so cloud-init, reads) and as
//! Joliet name (for Windows).
//!
//! This crate does not know what is in the files (`meta-data`, `user-data` and `network-config` are the names that
//! cloud-init's NoCloud data source wants); it only refuses what it cannot store.
//!
//! # Layout
//! Blocks of 2,048 bytes (ECMA-119, 4th edition): 16 and 17 the ISO and Joliet descriptors, 18 the end of the descriptors,
//! 19 to 22 the path tables of both trees in both byte orders, 23 and 24 the root directories, 25 the Rock Ridge
//! continuation, and from 26 on the files in the order of their names.

mod descriptor;
mod record;

use record::{Extent, Tree};

/// The label that cloud-init looks for (its documentation, "NoCloud").
pub const LABEL: &str = "cidata";

/// Most bytes of all files together. User-data of a cloud is limited to 16 or 64 KiB; this leaves ample room, and the
/// image still fits into a host's memory many times.
pub const MAX_TOTAL: usize = 16 << 20;

/// Longest file name: what fits into a directory record in UCS-2 with room to spare.
pub const MAX_NAME: usize = 30;

const BLOCK: usize = 2048;
const PATH_TABLES: usize = 19;
const ROOTS: [usize; 2] = [23, 24];
const CONTINUATION: usize = 25;
const FIRST_FILE: usize = 26;

/// Why no image can be made of these files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidataError {
    /// A name cannot be stored.
    #[error("the file name `{0}` must be 1 to {MAX_NAME} letters, digits, `_`, `-` or `.`")]
    Name(String),
    /// A name is there twice.
    #[error("the file name `{0}` is there twice")]
    Twice(String),
    /// The files are too large.
    #[error("the files are {total} bytes together, and {MAX_TOTAL} is the limit")]
    TooLarge {
        /// Bytes of all files.
        total: usize,
    },
    /// The directory has one block, and so many names do not fit into it.
    #[error("{files} files are too many for a config drive")]
    TooMany {
        /// How many there are.
        files: usize,
    },
}

/// Makes the image of these files, given as name and content. Their order does not matter.
///
/// # Errors
/// When a name cannot be stored or is there twice, or the files are too large or too many. See [`CidataError`].
pub fn image(files: &[(&str, &[u8])]) -> Result<Vec<u8>, CidataError> {
    let mut files = files.to_vec();
    files.sort_by_key(|(name, _)| *name);
    check(&files)?;

    let mut extents = Vec::new();
    let mut next = FIRST_FILE;
    for (name, data) in &files {
        extents.push(Extent { name, block: next as u32, size: data.len() as u32 });
        next += data.len().div_ceil(BLOCK).max(1);
    }
    let mut image = vec![0; next * BLOCK];
    for (index, tree) in [Tree::Iso, Tree::Joliet].into_iter().enumerate() {
        let root = ROOTS[index] as u32;
        put(&mut image, 16 + index, &descriptor::descriptor(tree, next as u32));
        let tables = PATH_TABLES + 2 * index;
        put(&mut image, tables, &descriptor::path_table(root.to_le_bytes(), 1_u16.to_le_bytes()));
        put(&mut image, tables + 1, &descriptor::path_table(root.to_be_bytes(), 1_u16.to_be_bytes()));
        let directory = record::directory(tree, root, CONTINUATION as u32, &extents);
        put(&mut image, ROOTS[index], &directory.ok_or(CidataError::TooMany { files: files.len() })?);
    }
    put(&mut image, 18, b"\xffCD001\x01");
    put(&mut image, CONTINUATION, &record::continuation());
    for ((_, data), extent) in files.iter().zip(&extents) {
        put(&mut image, extent.block as usize, data);
    }
    Ok(image)
}

/// The rules for the files, sorted by name.
fn check(files: &[(&str, &[u8])]) -> Result<(), CidataError> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    for (name, _) in files {
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
            return Err(CidataError::Name((*name).to_owned()));
        }
    }
    if let Some(pair) = files.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(CidataError::Twice(pair[0].0.to_owned()));
    }
    let total = files.iter().fold(0_usize, |total, (_, data)| total.saturating_add(data.len()));
    if total > MAX_TOTAL { Err(CidataError::TooLarge { total }) } else { Ok(()) }
}

fn put(image: &mut [u8], block: usize, data: &[u8]) {
    image[block * BLOCK..block * BLOCK + data.len()].copy_from_slice(data);
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    const META: (&str, &[u8]) = ("meta-data", b"instance-id: i-1\nlocal-hostname: vm-1\n");
    const USER: (&str, &[u8]) = ("user-data", b"#!/bin/sh\necho hello\n");

    #[test]
    fn the_same_files_in_any_order_give_the_same_bytes() {
        let first = image(&[USER, META]).unwrap();
        assert_eq!(first, image(&[META, USER]).unwrap());
        assert_eq!(first.len(), (FIRST_FILE + 2) * BLOCK);
        assert_eq!(&first[16 * BLOCK + 40..][..LABEL.len()], LABEL.as_bytes());
        assert_eq!(
            hex::encode(Sha256::digest(&first)),
            "2af2a76a92ef6a29bb563939a0fb36990a0b9441d13afb5679784d45f4c268cc",
            "the image's bytes changed: read it with isoinfo and mount it before taking the new hash"
        );
    }

    #[test]
    fn bad_names_and_too_much_data_are_refused() {
        assert_eq!(image(&[("a/b", b"")]), Err(CidataError::Name("a/b".to_owned())));
        assert_eq!(image(&[("", b"")]), Err(CidataError::Name(String::new())));
        assert_eq!(image(&[("a", b""), ("a", b"x")]), Err(CidataError::Twice("a".to_owned())));
        let large = vec![0; MAX_TOTAL + 1];
        assert_eq!(image(&[("a", &large)]), Err(CidataError::TooLarge { total: MAX_TOTAL + 1 }));
        let names: Vec<String> = (0..40).map(|number| format!("file-{number}")).collect();
        let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
        assert_eq!(image(&many), Err(CidataError::TooMany { files: 40 }));
    }

    #[test]
    fn a_file_of_the_largest_size_is_stored() {
        let data = vec![7; MAX_TOTAL];
        let image = image(&[("user-data", &data)]).unwrap();
        assert_eq!(&image[FIRST_FILE * BLOCK..], data);
    }
}
