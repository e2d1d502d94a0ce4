//! The devices of QEMU's `pc` that it uses: timers, the serial port, the keyboard, and the standard VGA.
//!
//! Interrupts are on only while it waits: each ends the wait, and devices are then asked.

use core::arch::asm;
use core::fmt;

use crate::{memory, start};

fn out8(port: u16, value: u8) {
    // SAFETY: ports of devices that do not touch memory.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) }
}

fn in8(port: u16) -> u8 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack)) }
    value
}

fn out32(port: u16, value: u32) {
    // SAFETY: as above.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack)) }
}

fn in32(port: u16) -> u32 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack)) }
    value
}

/// Has a timer, the keyboard and COM1 interrupt what waits.
pub(crate) fn listen() {
    let entry = |handler: unsafe extern "C" fn()| {
        let at = handler as usize as u64;
        // A gate to 64-bit code in segment 8 (AMD64 manual 2, 4.8.4).
        [(at & 0xffff) | 8 << 16 | 0x8e00 << 32 | (at & 0xffff_0000) << 32, at >> 32]
    };
    let table = memory::interrupts();
    table.fill(entry(start::broken));
    table[0x20..0x30].fill(entry(start::interrupted));
    let mut place = [0_u8; 10];
    place[..2].copy_from_slice(&4095_u16.to_le_bytes());
    place[2..].copy_from_slice(&(table.as_ptr() as u64).to_le_bytes());
    // SAFETY: the table stays.
    unsafe { asm!("lidt [{}]", in(reg) &place, options(readonly, nostack)) }
    // Both 8259: begin anew at 0x20 and 0x28, the second one is at 2, 8086 mode; lines 0, 1 and 4 are heard.
    for (first, second) in [(0x11, 0x11), (0x20, 0x28), (4, 2), (1, 1), (0xec, 0xff)] {
        let offset = u16::from(first != 0x11);
        out8(0x20 + offset, first);
        out8(0xa0 + offset, second);
    }
    // The 8254's first timer, a thousand times a second.
    out8(0x43, 0x34);
    out8(0x40, 0xa9);
    out8(0x40, 0x04);
}

/// Waits for an interrupt: a millisecond at most.
pub(crate) fn wait() {
    // SAFETY: what interrupts keeps all registers, and may use the stack here.
    unsafe { asm!("sti", "hlt", "cli") }
}

/// Time by ACPI's timer, which SeaBIOS has at this port.
pub(crate) struct Clock {
    last: u32,
    ticks: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { last: in32(0x608), ticks: 0 }
    }

    /// Microseconds. To be asked at least every 4 s: it has 24 bits.
    pub(crate) fn now(&mut self) -> u64 {
        let now = in32(0x608);
        self.ticks += u64::from(now.wrapping_sub(self.last) & 0xff_ffff);
        self.last = now;
        self.ticks * 1_000_000 / 3_579_545
    }
}

/// The code of a key that went down or up, if one waits.
pub(crate) fn key() -> Option<u8> {
    let status = in8(0x64);
    let code = (status & 1 == 1).then(|| in8(0x60))?;
    // With bit 5 it is the mouse's.
    Some(if status & 0x20 == 0 { code } else { 0xff })
}

/// COM1.
pub(crate) struct Serial {
    line: Line,
}

/// A line that came.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    bytes: [u8; 64],
    length: usize,
}

impl Line {
    pub(crate) fn text(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl Serial {
    pub(crate) fn new() -> Self {
        // Queues on; interrupt when there is something, by way of the line that a PC has for it.
        out8(0x3fa, 1);
        out8(0x3f9, 1);
        out8(0x3fc, 0x0b);
        Self { line: Line { bytes: [0; 64], length: 0 } }
    }

    /// The line that has come, if it is whole.
    pub(crate) fn line(&mut self) -> Option<Line> {
        while in8(0x3fd) & 1 == 1 {
            match in8(0x3f8) {
                b'\n' => {
                    let line = self.line;
                    self.line.length = 0;
                    return Some(line);
                }
                byte if self.line.length < 64 => {
                    self.line.bytes[self.line.length] = byte;
                    self.line.length += 1;
                }
                _ => {}
            }
        }
        None
    }
}

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while in8(0x3fd) & 0x20 == 0 {}
            out8(0x3f8, byte);
        }
        Ok(())
    }
}

/// Sets a mode of 32 bits a pixel (`docs/specs/standard-vga.rst` of QEMU: the DISPI interface of Bochs).
pub(crate) fn set_mode(width: usize, height: usize) {
    for (register, value) in [(4, 0), (1, width), (2, height), (3, 32), (4, 0x41)] {
        for (port, value) in [(0x1ce_u16, register), (0x1cf, value as u16)] {
            // SAFETY: the VGA's ports.
            unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack)) }
        }
    }
}

/// Where the frame buffer of the standard VGA is: the first address of PCI device 1234:1111.
pub(crate) fn frame_buffer() -> *mut u32 {
    let read = |device: u32, register: u32| {
        out32(0xcf8, 0x8000_0000 | device << 11 | register);
        in32(0xcfc)
    };
    let found = (0..32).find(|device| read(*device, 0) == 0x1111_1234);
    let device = found.expect("there is a standard VGA");
    (read(device, 0x10) & 0xffff_fff0) as usize as *mut u32
}
