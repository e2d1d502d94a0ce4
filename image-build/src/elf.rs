//! What must be known of a program file: whether it needs a dynamic loader, and which libraries.

/// Why a program cannot be the init of an image.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// It is no 64 bit little endian ELF file.
    #[error("{program} is not a 64 bit ELF program for this kind of machine")]
    NotElf {
        /// Which program.
        program: String,
    },
    /// It asks for a dynamic loader, which the image does not have.
    #[error(
        "{program} is linked dynamically; it must be built with -Ctarget-feature=+crt-static -Crelocation-model=static"
    )]
    Dynamic {
        /// Which program.
        program: String,
    },
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;

/// Refuses a program that needs a dynamic loader (ELF-64 object file format, version 1.5: a `PT_INTERP` segment).
///
/// # Errors
/// See [`ElfError`].
pub fn require_static(program: &str, content: &[u8]) -> Result<(), ElfError> {
    let not_elf = || ElfError::NotElf { program: program.to_owned() };
    let segments = segments(content).ok_or_else(not_elf)?;
    let is_dynamic = segments.iter().any(|segment| segment.kind == PT_INTERP);
    if is_dynamic { Err(ElfError::Dynamic { program: program.to_owned() }) } else { Ok(()) }
}

/// The dynamic loader that a program asks for, if it does.
///
/// # Errors
/// When it is no ELF file.
pub fn loader(program: &str, content: &[u8]) -> Result<Option<String>, ElfError> {
    let not_elf = || ElfError::NotElf { program: program.to_owned() };
    let segments = segments(content).ok_or_else(not_elf)?;
    let Some(segment) = segments.iter().find(|segment| segment.kind == PT_INTERP) else { return Ok(None) };
    text(content, segment.offset).map(Some).ok_or_else(not_elf)
}

/// The libraries that a program or library asks for by name: the `DT_NEEDED` entries of its dynamic section.
///
/// # Errors
/// When it is no ELF file.
pub fn needed(program: &str, content: &[u8]) -> Result<Vec<String>, ElfError> {
    names_needed(content).ok_or_else(|| ElfError::NotElf { program: program.to_owned() })
}

fn names_needed(content: &[u8]) -> Option<Vec<String>> {
    let segments = segments(content)?;
    let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else {
        return Some(Vec::new());
    };
    let entries = content.get(dynamic.offset..dynamic.offset.checked_add(dynamic.size)?)?;
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
    let entries: Vec<(u64, u64)> = entries
        .chunks_exact(16)
        .filter_map(|entry| Some((number(&entry[..8])?, number(&entry[8..])?)))
        .collect();
    let strings = entries.iter().find(|(tag, _)| *tag == DT_STRTAB)?.1;
    let place = |address: u64| {
        let inside = |segment: &&Segment| {
            segment.kind == PT_LOAD
                && (segment.address..segment.address + segment.size as u64).contains(&address)
        };
        let segment = segments.iter().find(inside)?;
        usize::try_from(address - segment.address).ok()?.checked_add(segment.offset)
    };
    let strings = place(strings)?;
    let names = entries.iter().filter(|(tag, _)| *tag == DT_NEEDED);
    names.map(|(_, at)| text(content, strings.checked_add(usize::try_from(*at).ok()?)?)).collect()
}

/// The text at a place, up to the zero that ends it.
fn text(content: &[u8], at: usize) -> Option<String> {
    let bytes = content.get(at..)?.split(|byte| *byte == 0).next()?;
    String::from_utf8(bytes.to_vec()).ok()
}

/// A part of the file that is loaded, or says how.
struct Segment {
    kind: u32,
    offset: usize,
    address: u64,
    size: usize,
}

fn segments(content: &[u8]) -> Option<Vec<Segment>> {
    // Magic, 64 bit, little endian.
    if !content.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(field(content, 32)?)).ok()?;
    let entry_size = usize::from(u16::from_le_bytes(field(content, 54)?));
    let count = usize::from(u16::from_le_bytes(field(content, 56)?));
    let segment = |index: usize| {
        let at = index.checked_mul(entry_size)?.checked_add(table)?;
        let number = |offset: usize| Some(u64::from_le_bytes(field(content, at.checked_add(offset)?)?));
        Some(Segment {
            kind: u32::from_le_bytes(field(content, at)?),
            offset: usize::try_from(number(8)?).ok()?,
            address: number(16)?,
            size: usize::try_from(number(32)?).ok()?,
        })
    };
    (0..count).map(segment).collect()
}

fn field<const N: usize>(content: &[u8], at: usize) -> Option<[u8; N]> {
    content.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(kind: u32) -> Vec<u8> {
        let mut content = vec![0; 64];
        content[..6].copy_from_slice(b"\x7fELF\x02\x01");
        content[32] = 64;
        content[54] = 56;
        content[56] = 1;
        content.extend(kind.to_le_bytes());
        content.resize(64 + 56, 0);
        content
    }

    #[test]
    fn what_a_dynamic_program_asks_for_is_read() {
        let content = std::fs::read("/bin/ls").unwrap();
        assert_eq!(loader("ls", &content).unwrap().as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
        let needed = needed("ls", &content).unwrap();
        assert!(needed.contains(&"libc.so.6".to_owned()), "{needed:?}");
    }

    #[test]
    fn only_programs_without_a_loader_pass() {
        let dynamic = ElfError::Dynamic { program: "p".to_owned() };
        assert_eq!(require_static("p", &program(1)), Ok(()));
        assert_eq!(require_static("p", &program(PT_INTERP)), Err(dynamic));
    }

    #[test]
    fn files_cut_short_or_of_another_kind_are_refused() {
        let not_elf = Err(ElfError::NotElf { program: "p".to_owned() });
        assert_eq!(require_static("p", b"#!/bin/sh\n"), not_elf);
        assert_eq!(require_static("p", &program(1)[..100]), not_elf);
        assert_eq!(require_static("p", b"\x7fELF\x02\x01"), not_elf);
    }
}
