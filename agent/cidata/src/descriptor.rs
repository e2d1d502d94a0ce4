//! Volume descriptors and path tables (ECMA-119, 8.4, 8.5 and 9.4).

use crate::record::{self, Tree, both16, both32};
use crate::{BLOCK, LABEL, PATH_TABLES, ROOTS};

/// Where the text fields are, and how long: system, volume, set, publisher, preparer, application and three file names.
const TEXTS: [(usize, usize); 9] =
    [(8, 32), (40, 32), (190, 128), (318, 128), (446, 128), (574, 128), (702, 37), (739, 37), (776, 37)];
const VOLUME_TEXT: usize = 40;
/// Created, modified, expires, effective: all "not specified".
const TIMES: [usize; 4] = [813, 830, 847, 864];

/// A path table with the root alone. The byte order of the numbers is the caller's.
pub(crate) fn path_table(root: [u8; 4], parent: [u8; 2]) -> Vec<u8> {
    [&[1, 0][..], &root, &parent, &[0, 0]].concat()
}

/// A primary (ISO) or supplementary (Joliet) volume descriptor of an image of so many blocks.
pub(crate) fn descriptor(tree: Tree, blocks: u32) -> Vec<u8> {
    let joliet = tree == Tree::Joliet;
    let index = usize::from(joliet);
    let tables = PATH_TABLES + 2 * index;
    let mut out = vec![0; BLOCK];
    let mut set = |at: usize, data: &[u8]| out[at..at + data.len()].copy_from_slice(data);
    set(0, if joliet { b"\x02CD001\x01" } else { b"\x01CD001\x01" });
    for (at, length) in TEXTS {
        set(at, &tree.text(if at == VOLUME_TEXT { LABEL } else { "" }, length));
    }
    set(80, &both32(blocks));
    if joliet {
        // The escape sequence that says "UCS-2, level 3".
        set(88, b"%/E");
    }
    set(120, &both16(1));
    set(124, &both16(1));
    set(128, &both16(BLOCK as u16));
    set(132, &both32(10));
    set(140, &(tables as u32).to_le_bytes());
    set(148, &(tables as u32 + 1).to_be_bytes());
    set(156, &record::directory_record(&[0], ROOTS[index] as u32));
    for at in TIMES {
        set(at, b"0000000000000000\0");
    }
    set(881, &[1]);
    out
}
