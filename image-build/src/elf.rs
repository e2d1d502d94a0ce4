//! What must be known of a program file: whether it needs a dynamic loader.

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

const PT_INTERP: u32 = 3;

/// Refuses a program that needs a dynamic loader (ELF-64 object file format, version 1.5: a `PT_INTERP` segment).
///
/// # Errors
/// See [`ElfError`].
pub fn require_static(program: &str, content: &[u8]) -> Result<(), ElfError> {
    let not_elf = || ElfError::NotElf { program: program.to_owned() };
    let kinds = segment_kinds(content).ok_or_else(not_elf)?;
    if kinds.contains(&PT_INTERP) { Err(ElfError::Dynamic { program: program.to_owned() }) } else { Ok(()) }
}

fn segment_kinds(content: &[u8]) -> Option<Vec<u32>> {
    // Magic, 64 bit, little endian.
    if !content.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(field(content, 32)?)).ok()?;
    let entry_size = usize::from(u16::from_le_bytes(field(content, 54)?));
    let count = usize::from(u16::from_le_bytes(field(content, 56)?));
    let at = |index: usize| index.checked_mul(entry_size)?.checked_add(table);
    (0..count).map(|index| field(content, at(index)?).map(u32::from_le_bytes)).collect()
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
        content
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
        assert_eq!(require_static("p", &program(1)[..66]), not_elf);
        assert_eq!(require_static("p", b"\x7fELF\x02\x01"), not_elf);
    }
}
