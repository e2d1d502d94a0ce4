//! Whether KVM works: found out by running a program in it, not by looking at `/dev/kvm`.
//!
//! A device file is no proof. There are hosts on which it opens, and a VM ends at its first vector instruction, or QEMU
//! cannot set a register. So QEMU runs a firmware of a few instructions: it switches SSE on, uses it, and ends QEMU with
//! an exit code of its own through QEMU's debug-exit device.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use podzol_rpc::exec::{self, ExecError};

/// The value that the firmware writes to the debug-exit device.
const VALUE: u8 = 42;

/// QEMU's exit code for that value (hw/misc/debugexit.c): value * 2 + 1.
const EXIT_CODE: i32 = VALUE as i32 * 2 + 1;

/// How long QEMU may take. On an emulated host it needs about a second.
const DEADLINE: Duration = Duration::from_secs(30);

/// Real-mode code, run from the reset vector.
const CODE: &[u8] = &[
    0x0f, 0x20, 0xe0, // mov eax, cr4
    0x66, 0x0d, 0x00, 0x06, 0x00, 0x00, // or eax, OSFXSR | OSXMMEXCPT
    0x0f, 0x22, 0xe0, // mov cr4, eax
    0x0f, 0x20, 0xc0, // mov eax, cr0
    0x66, 0x83, 0xe0, 0xfb, // and eax, ~EM
    0x66, 0x83, 0xc8, 0x02, // or eax, MP
    0x0f, 0x22, 0xc0, // mov cr0, eax
    0x66, 0x0f, 0xef, 0xc0, // pxor xmm0, xmm0
    0x66, 0x0f, 0x7e, 0xc0, // movd eax, xmm0
    0xb0, VALUE, // mov al, VALUE
    0xe6, 0xf4, // out 0xf4, al
    0xf4, // hlt
    0xeb, 0xfd, // jmp to hlt
];

/// The firmware: 64 KiB that end at 4 GiB, where the processor begins 16 bytes before the end.
fn firmware() -> Vec<u8> {
    const SIZE: usize = 64 << 10;
    const RESET: usize = SIZE - 16;
    let mut image = vec![0xf4; SIZE];
    image[..CODE.len()].copy_from_slice(CODE);
    // jmp to the start of the segment: the offset counts from the next instruction.
    let offset = ((SIZE - (RESET + 3)) as u16).to_le_bytes();
    image[RESET..RESET + 3].copy_from_slice(&[0xe9, offset[0], offset[1]]);
    image
}

/// Why KVM cannot be used; nothing if it can.
pub async fn kvm_problem(emulator: &Path) -> Option<String> {
    if !Path::new("/dev/kvm").exists() {
        return Some("there is no /dev/kvm".into());
    }
    run(emulator, "kvm").await.err()
}

/// Runs the firmware with one of QEMU's accelerators.
///
/// # Errors
/// What QEMU said, if the firmware did not get to its end.
pub async fn run(emulator: &Path, accelerator: &str) -> Result<(), String> {
    let mut file = tempfile::NamedTempFile::new().map_err(|error| format!("cannot make a file: {error}"))?;
    file.write_all(&firmware()).map_err(|error| format!("cannot write a file: {error}"))?;
    let cpu = if accelerator == "kvm" { "host" } else { "max" };
    let path = file.path().display().to_string();
    let program = emulator.display().to_string();
    let arguments = [
        "-accel",
        accelerator,
        "-cpu",
        cpu,
        "-machine",
        "q35",
        "-m",
        "16",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-bios",
        &path,
        "-device",
        "isa-debug-exit,iobase=0xf4,iosize=0x04",
    ];
    match exec::run(&program, &arguments, DEADLINE).await {
        Err(ExecError::Failed { status, .. }) if status.code() == Some(EXIT_CODE) => Ok(()),
        Err(ExecError::Failed { stderr, status, .. }) => Err(format!(
            "a test program does not run in it ({status}): {}",
            stderr.lines().last().unwrap_or("")
        )),
        Err(ExecError::TooSlow { .. }) => Err("a test program hangs in it".into()),
        Err(error) => Err(error.to_string()),
        Ok(_) => Err("a test program did not get to its end".into()),
    }
}
