//! Directory records (ECMA-119, 9.1), with their Rock Ridge (IEEE P1282) and Joliet forms.

use crate::BLOCK;

/// The flag of a directory in its record.
const DIRECTORY: u8 = 2;
const DIRECTORY_MODE: u32 = 0o040_555;
const FILE_MODE: u32 = 0o100_444;

/// The two directory trees of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// Short names, with Rock Ridge fields.
    Iso,
    /// Long names in UCS-2.
    Joliet,
}

impl Tree {
    /// A text padded with blanks to `length` bytes.
    pub(crate) fn text(self, text: &str, length: usize) -> Vec<u8> {
        let mut out = match self {
            Self::Iso => text.as_bytes().to_vec(),
            Self::Joliet => ucs2(text),
        };
        while out.len() < length {
            match self {
                Self::Iso => out.push(b' '),
                // An odd last byte stays zero.
                Self::Joliet => out.extend(if length - out.len() > 1 { &b"\0 "[..] } else { &b"\0"[..] }),
            }
        }
        out
    }
}

/// A number in both byte orders.
pub(crate) fn both32(value: u32) -> [u8; 8] {
    let mut out = [0; 8];
    out[..4].copy_from_slice(&value.to_le_bytes());
    out[4..].copy_from_slice(&value.to_be_bytes());
    out
}

/// A number in both byte orders.
pub(crate) fn both16(value: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d]
}

fn ucs2(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// Where a file lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent<'a> {
    pub(crate) name: &'a str,
    pub(crate) block: u32,
    pub(crate) size: u32,
}

/// The record of a directory of one block, without extra fields.
pub(crate) fn directory_record(name: &[u8], block: u32) -> Vec<u8> {
    record(name, block, BLOCK as u32, DIRECTORY)
}

fn record(name: &[u8], block: u32, size: u32, flags: u8) -> Vec<u8> {
    let mut out = vec![0, 0];
    out.extend(both32(block));
    out.extend(both32(size));
    // The date: 1 January 1980, 00:00:00, UTC.
    out.extend([80, 1, 1, 0, 0, 0, 0]);
    out.extend([flags, 0, 0]);
    out.extend(both16(1));
    out.push(name.len() as u8);
    out.extend(name);
    finish(out)
}

/// Pads to an even length and sets the length byte.
fn finish(mut out: Vec<u8>) -> Vec<u8> {
    out.resize(out.len().next_multiple_of(2), 0);
    out[0] = out.len() as u8;
    out
}

/// Rock Ridge: mode, links and owner.
fn px(mode: u32, links: u32) -> Vec<u8> {
    let mut out = b"PX\x24\x01".to_vec();
    [mode, links, 0, 0].into_iter().for_each(|value| out.extend(both32(value)));
    out
}

/// The text of the `ER` field, in its own block: it says that Rock Ridge is in use.
pub(crate) fn continuation() -> Vec<u8> {
    let id = b"RRIP_1991A";
    let mut out = b"ER".to_vec();
    out.extend([8 + id.len() as u8, 1, id.len() as u8, 0, 0, 1]);
    out.extend(id);
    out
}

/// All records of the only directory, or `None` if they do not fit into one block.
pub(crate) fn directory(
    tree: Tree,
    root: u32,
    continuation_block: u32,
    files: &[Extent<'_>],
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for name in [0_u8, 1] {
        let mut record = directory_record(&[name], root);
        if tree == Tree::Iso {
            if name == 0 {
                record.extend(b"SP\x07\x01\xbe\xef\x00CE\x1c\x01");
                let length = continuation().len() as u32;
                record.extend([both32(continuation_block), both32(0), both32(length)].concat());
            }
            record.extend(px(DIRECTORY_MODE, 2));
        }
        out.extend(finish(record));
    }
    for (number, file) in files.iter().enumerate() {
        out.extend(match tree {
            Tree::Iso => iso_file(number, file),
            Tree::Joliet => record(&ucs2(file.name), file.block, file.size, 0),
        });
    }
    (out.len() <= BLOCK).then_some(out)
}

/// A file's record with its Rock Ridge fields. The short names only have to be unique and in order.
fn iso_file(number: usize, file: &Extent<'_>) -> Vec<u8> {
    let mut out = record(format!("FILE{number:04}.;1").as_bytes(), file.block, file.size, 0);
    out.extend(px(FILE_MODE, 1));
    out.extend(b"NM");
    out.extend([5 + file.name.len() as u8, 1, 0]);
    out.extend(file.name.as_bytes());
    finish(out)
}
