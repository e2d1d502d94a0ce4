//! Kernel modules: what they depend on, in which order they load, and their content without the signature.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::BuildError;
use crate::files;

/// A module cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// The kernel's package does not have it.
    #[error("the kernel package has no module {0} (or only in compressed form)")]
    Absent(String),
    /// The package has no folder of modules, or several.
    #[error("{0} must hold the modules of one kernel")]
    Version(PathBuf),
}

/// The version of the kernel whose modules are in a root folder's `lib/modules`, as `uname -r` says it.
///
/// # Errors
/// When there is not just one kernel's.
pub fn version(root: &Path) -> Result<String, BuildError> {
    let all = root.join("lib/modules");
    let [folder] = &files::list(&all)?[..] else { return Err(KernelError::Version(all).into()) };
    Ok(folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
}

/// What ends a signed module (kernel source, `include/linux/module_signature.h`).
const SIGNATURE_MAGIC: &[u8] = b"~Module signature appended~\n";
/// `struct module_signature`, before the magic: its last 4 bytes are the signature's length, big endian.
const SIGNATURE_HEADER: usize = 12;

/// The modules of an unpacked kernel package.
#[derive(Debug)]
pub struct Modules {
    /// The kernel's version, as `uname -r` says it.
    pub version: String,
    paths: BTreeMap<String, PathBuf>,
    built_in: Vec<String>,
}

impl Modules {
    /// The modules below a root folder's `lib/modules`.
    ///
    /// # Errors
    /// When they cannot be read, or there is not just one kernel's.
    pub fn open(root: &Path) -> Result<Self, BuildError> {
        let version = version(root)?;
        let folder = root.join("lib/modules").join(&version);
        let built_in = files::read_text(&folder.join("modules.builtin"))?;
        let built_in = built_in.lines().filter_map(|line| module_name(Path::new(line))).collect();
        let paths = files::walk(&folder.join("kernel"))?;
        let paths = paths.into_iter().filter_map(|path| Some((module_name(&path)?, path))).collect();
        Ok(Self { version, paths, built_in })
    }

    /// These modules and all that they need, each after what it needs. Those built into the kernel are left out.
    ///
    /// # Errors
    /// When one does not exist.
    pub fn load_order(&self, wanted: &[&str]) -> Result<Vec<Module>, BuildError> {
        let mut order = Vec::new();
        for name in wanted {
            self.visit(name, &mut order)?;
        }
        Ok(order)
    }

    fn visit(&self, name: &str, order: &mut Vec<Module>) -> Result<(), BuildError> {
        if order.iter().any(|module| module.name == name) || self.built_in.iter().any(|other| other == name) {
            return Ok(());
        }
        let path = self.paths.get(name).ok_or_else(|| KernelError::Absent(name.to_owned()))?;
        let content = files::read(path)?;
        for dependency in dependencies(&content) {
            self.visit(&dependency, order)?;
        }
        order.push(Module { name: name.to_owned(), content });
        Ok(())
    }
}

/// A module's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The module's name, with underscores.
    pub name: String,
    /// The whole file.
    pub content: Vec<u8>,
}

impl Module {
    /// The file without its signature. The kernel's check of it costs time at every start, and means nothing where the
    /// whole image is verified by its hash.
    pub fn unsigned(&self) -> &[u8] {
        let length = || {
            let signed = self.content.strip_suffix(SIGNATURE_MAGIC)?;
            let (rest, header) = signed.split_at_checked(signed.len().checked_sub(SIGNATURE_HEADER)?)?;
            let signature = u32::from_be_bytes(header[8..].try_into().ok()?);
            rest.len().checked_sub(usize::try_from(signature).ok()?)
        };
        length().map_or(&self.content, |length| &self.content[..length])
    }

    /// The same without what only those need who look into the kernel: descriptions of its types (BTF), which the kernel reads
    /// and checks at every start, and tables by which it finds its callers (ORC), which it sorts. Without the latter it lists
    /// the callers of a module's function as addresses that may be some.
    pub fn bare(&self) -> Vec<u8> {
        let mut content = self.unsigned().to_vec();
        for name in FORGOTTEN {
            // A module that has none, or is none, stays as it is.
            let _ = forget(&mut content, name);
        }
        content
    }
}

/// Where parts of a 64-bit ELF file's header, and of the headers of its sections, begin (elf(5)).
mod elf {
    pub(super) const SECTIONS: usize = 0x28;
    pub(super) const SECTION_SIZE: usize = 0x3a;
    pub(super) const SECTION_COUNT: usize = 0x3c;
    pub(super) const NAMES: usize = 0x3e;
    pub(super) const NAME: usize = 0;
    pub(super) const KIND: usize = 4;
    pub(super) const FLAGS: usize = 8;
    pub(super) const OFFSET: usize = 0x18;
    pub(super) const SIZE: usize = 0x20;
}

/// The sections that are left out. Relocations of a section go before it.
const FORGOTTEN: [&[u8]; 4] = [b".BTF", b".rela.orc_unwind_ip", b".orc_unwind_ip", b".orc_unwind"];

/// Makes the section of this name one that is none, of zeros and without a name. Nothing if there is no such section.
fn forget(content: &mut [u8], wanted: &[u8]) -> Option<()> {
    let number = |content: &[u8], at: usize, length: usize| -> Option<usize> {
        let mut bytes = [0; 8];
        bytes[..length].copy_from_slice(content.get(at..at.checked_add(length)?)?);
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    let sections = number(content, elf::SECTIONS, 8)?;
    let size = number(content, elf::SECTION_SIZE, 2)?;
    let header = |section: usize| sections.checked_add(section.checked_mul(size)?);
    let names = number(content, header(number(content, elf::NAMES, 2)?)? + elf::OFFSET, 8)?;
    let is_wanted = |section: &usize| {
        let name = header(*section).and_then(|at| number(content, at + elf::NAME, 4));
        let name = name.and_then(|name| content.get(names.checked_add(name)?..));
        name.and_then(|name| name.strip_prefix(wanted)).is_some_and(|rest| rest.starts_with(b"\0"))
    };
    let found = (0..number(content, elf::SECTION_COUNT, 2)?).find(is_wanted).and_then(header)?;
    let (offset, length) = (number(content, found + elf::OFFSET, 8)?, number(content, found + elf::SIZE, 8)?);
    content.get_mut(offset..offset.checked_add(length)?)?.fill(0);
    // The first name is the empty one. The kernel looks for some sections by name, whatever else is said of them.
    content.get_mut(found + elf::NAME..found + elf::NAME + 4)?.fill(0);
    content.get_mut(found + elf::KIND..found + elf::KIND + 4)?.fill(0);
    content.get_mut(found + elf::FLAGS..found + elf::FLAGS + 8)?.fill(0);
    content.get_mut(found + elf::SIZE..found + elf::SIZE + 8)?.fill(0);
    Some(())
}

fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_suffix(".ko")?;
    Some(name.replace('-', "_"))
}

/// What a module says that it needs: the `depends=` entry of its `.modinfo` section.
fn dependencies(content: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = content.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = content[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = value.split(|byte| *byte == b',').filter(|name| !name.is_empty());
    names.map(|name| String::from_utf8_lossy(name).replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(modules: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("lib/modules/6.1.0");
        files::write(&folder.join("modules.builtin"), "kernel/fs/ext4.ko\n").unwrap();
        for (name, needs) in modules {
            let content = format!("ELF\0license=GPL\0depends={needs}\0more\0");
            files::write(&folder.join(format!("kernel/drivers/{name}.ko")), content).unwrap();
        }
        root
    }

    #[test]
    fn a_module_comes_after_all_that_it_needs_and_only_once() {
        let root =
            kernel(&[("net", "fail-over,ring"), ("fail-over", ""), ("ring", ""), ("blk", "ring,ext4")]);
        let modules = Modules::open(root.path()).unwrap();
        let order = modules.load_order(&["net", "blk", "ext4"]).unwrap();
        assert_eq!(
            order.iter().map(|module| module.name.as_str()).collect::<Vec<_>>(),
            ["fail_over", "ring", "net", "blk"]
        );
        assert_eq!(modules.version, "6.1.0");
    }

    #[test]
    fn a_module_that_is_nowhere_is_named() {
        let root = kernel(&[("net", "nothing")]);
        let error = Modules::open(root.path()).unwrap().load_order(&["net"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kernel package has no module nothing (or only in compressed form)"
        );
    }

    #[test]
    fn the_signature_goes_and_an_unsigned_module_stays() {
        let plain = b"ELF code".to_vec();
        let signed = [&plain[..], b"SIG", &[0; 8], &[0, 0, 0, 3], SIGNATURE_MAGIC].concat();
        for content in [plain.clone(), signed] {
            assert_eq!(Module { name: "m".into(), content }.unsigned(), plain);
        }
        let lying = [&[0xff; 12][..], SIGNATURE_MAGIC].concat();
        assert_eq!(Module { name: "m".into(), content: lying.clone() }.unsigned(), lying);
    }

    #[test]
    fn what_nobody_needs_of_a_module_is_forgotten_and_all_else_stays() {
        // An object with three sections: one without a name, types, and their names.
        let mut content = vec![0; 0x40];
        content.extend(b"\0.BTF\0.names\0\0\0\0");
        content.extend(b"types");
        let headers = content.len();
        content[elf::SECTIONS] = headers as u8;
        (content[elf::SECTION_SIZE], content[elf::SECTION_COUNT], content[elf::NAMES]) = (0x40, 3, 1);
        for (name, kind, offset, size) in [(0, 0, 0, 0), (6, 3, 0x40, 16), (1, 1, 0x50, 5)] {
            let mut header = [0; 0x40];
            (header[elf::NAME], header[elf::KIND], header[elf::FLAGS]) = (name, kind, 2);
            (header[elf::OFFSET], header[elf::SIZE]) = (offset, size);
            content.extend(header);
        }
        let module = Module { name: "one".into(), content: content.clone() };
        let without = module.bare();
        assert_eq!(without.len(), content.len());
        let differ: Vec<usize> = (0..content.len()).filter(|at| without[*at] != content[*at]).collect();
        let section = headers + 2 * 0x40;
        let expected = [
            0x50,
            0x51,
            0x52,
            0x53,
            0x54,
            section + elf::NAME,
            section + elf::KIND,
            section + elf::FLAGS,
            section + elf::SIZE,
        ];
        assert_eq!(differ, expected);
        let none = Module { name: "two".into(), content: b"no module".to_vec() };
        assert_eq!(none.bare(), none.content);
    }
}
