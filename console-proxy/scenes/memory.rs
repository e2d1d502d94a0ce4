//! Where things are, and what rustc wants to be there without a C library.
//!
//! The program itself is below 16 MiB. A machine needs 48 MiB.

use core::arch::asm;
use core::slice::from_raw_parts_mut;

/// Where the table of interrupts is: 256 entries of 16 bytes.
const INTERRUPTS: usize = 15 << 20;

/// What is drawn, before it is shown.
const DRAWN: usize = 16 << 20;

/// Pictures that scenes keep.
const KEPT: usize = 28 << 20;

/// Pixels of each of the latter two: 3 Mi.
const PIXELS: usize = 3 << 20;

/// The table of interrupts.
pub(crate) fn interrupts() -> &'static mut [[u64; 2]] {
    // SAFETY: RAM which nothing else uses; asked for once.
    unsafe { from_raw_parts_mut(INTERRUPTS as *mut _, 256) }
}

/// Pixels for what is drawn.
pub(crate) fn drawn() -> &'static mut [u32] {
    // SAFETY: RAM which nothing else uses; asked for once.
    unsafe { from_raw_parts_mut(DRAWN as *mut _, PIXELS) }
}

/// Pixels for one scene, which it asks for when it begins.
pub(crate) fn kept() -> &'static mut [u32] {
    // SAFETY: RAM which nothing else uses; there is one scene at a time.
    unsafe { from_raw_parts_mut(KEPT as *mut _, PIXELS) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: as the caller says. 32 bytes at a time, as emulation takes many times as long for the steps of `rep`.
    unsafe {
        asm!(
            "test {blocks}, {blocks}", "jz 3f",
            "2:",
            "mov {a}, [rsi]", "mov {b}, [rsi + 8]", "mov {c}, [rsi + 16]", "mov {d}, [rsi + 24]",
            "mov [rdi], {a}", "mov [rdi + 8], {b}", "mov [rdi + 16], {c}", "mov [rdi + 24], {d}",
            "add rsi, 32", "add rdi, 32", "dec {blocks}", "jnz 2b",
            "3:", "rep movsb",
            blocks = inout(reg) length / 32 => _, a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
            inout("rcx") length % 32 => _, inout("rdi") to => _, inout("rsi") from => _,
        );
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= length {
        // SAFETY: as the caller says; upwards, nothing is overwritten before it is read.
        return unsafe { memcpy(to, from, length) };
    }
    // SAFETY: as the caller says; downwards then.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") length => _,
            inout("rdi") to.wrapping_add(length).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(length).wrapping_sub(1) => _);
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
    // SAFETY: as the caller says.
    unsafe {
        asm!("rep stosb", inout("rcx") length => _, inout("rdi") to => _, in("al") byte as u8);
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    for at in 0..length {
        // SAFETY: as the caller says. Volatile, or it would be compiled to a call of itself.
        let (a, b) = unsafe { (one.add(at).read_volatile(), other.add(at).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    // SAFETY: as the caller says.
    unsafe { memcmp(one, other, length) }
}

/// Rust's own core, which can unwind, names it; nothing here does.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
