//! Initramfs archives in the kernel's "newc" format (kernel documentation, "initramfs buffer format"), without I/O.
//!
//! Entries come out sorted by name, owned by root, with one time for all: the same entries give the same bytes.

use std::collections::BTreeMap;

/// The bits that say which of these an entry is.
const KIND: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive in the making.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    mode: u32,
    data: Vec<u8>,
    device: (u32, u32),
}

impl Archive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder that everybody may read. Paths have no slash at their start.
    pub fn folder(&mut self, path: &str) -> &mut Self {
        self.folder_mode(path, 0o755)
    }

    /// Adds a folder with these permissions.
    pub fn folder_mode(&mut self, path: &str, mode: u32) -> &mut Self {
        self.add(path, FOLDER | mode, Vec::new())
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, data: impl Into<Vec<u8>>) -> &mut Self {
        self.add(path, FILE | mode, data.into())
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> &mut Self {
        self.add(path, LINK | 0o777, target.into())
    }

    /// Adds a character device with these numbers that only root may use.
    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) -> &mut Self {
        let entry = Entry { mode: CHARACTER_DEVICE | 0o600, data: Vec::new(), device: (major, minor) };
        self.entries.insert(path.to_owned(), entry);
        self
    }

    /// Whether there is something of this path.
    pub fn has(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }

    /// The paths of all but folders and devices that somebody may execute; links among them.
    pub fn executables(&self) -> impl Iterator<Item = &str> {
        let is_one = |mode| [FILE, LINK].contains(&(mode & KIND)) && mode & 0o111 != 0;
        self.entries.iter().filter(move |(_, entry)| is_one(entry.mode)).map(|(path, _)| path.as_str())
    }

    /// The archive's bytes, with this time (in seconds since 1970) for each entry.
    pub fn bytes(&self, epoch: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, (path, entry)) in (1_u32..).zip(&self.entries) {
            // The format has room for 32 bits of time.
            write_entry(&mut out, number, path, entry, epoch as u32);
        }
        let end = Entry { mode: 0, data: Vec::new(), device: (0, 0) };
        write_entry(&mut out, 0, "TRAILER!!!", &end, 0);
        out
    }

    fn add(&mut self, path: &str, mode: u32, data: Vec<u8>) -> &mut Self {
        self.entries.insert(path.to_owned(), Entry { mode, data, device: (0, 0) });
        self
    }
}

fn write_entry(out: &mut Vec<u8>, number: u32, path: &str, entry: &Entry, time: u32) {
    let (major, minor) = entry.device;
    let (size, name_size) = (entry.data.len() as u32, path.len() as u32 + 1);
    out.extend(b"070701");
    // inode, mode, user, group, links, time, size, device (two), device of a node (two), name size, checksum
    for value in [number, entry.mode, 0, 0, 1, time, size, 0, 0, major, minor, name_size, 0] {
        out.extend(format!("{value:08X}").bytes());
    }
    out.extend(path.bytes());
    out.push(0);
    pad(out);
    out.extend(&entry.data);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_its_entries_sorted_and_padded() {
        let mut archive = Archive::new();
        archive.file("init", 0o755, "#!\n").folder("dev").character_device("dev/console", 5, 1);
        let text = String::from_utf8(archive.bytes(256)).unwrap();
        let names: Vec<usize> =
            ["dev\0", "dev/console\0", "init\0", "TRAILER!!!\0"].map(|name| text.find(name).unwrap()).into();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(text.len() % 4, 0);
        assert!(text.starts_with("07070100000001000041ED0000000000000000000000010000010000000000"), "{text}");
    }

    #[test]
    fn the_order_of_adding_does_not_matter() {
        let (mut one, mut other) = (Archive::new(), Archive::new());
        one.folder("a").link("b", "a");
        other.link("b", "a").folder("a");
        assert_eq!(one.bytes(1), other.bytes(1));
    }
}
