//! A guest for QEMU that draws: what tests and benches of the console look at. It runs without an operating system.
//!
//! ```text
//!   COM1: scene NAME SEED MILLISECONDS ──▶ begins, steps at its pace, rests ──▶ COM1: over NAME STEPS
//! ```
//! The same seed and time draw the same pictures, however slow the machine is: a step that is late follows at once, none is left
//! out. Any line that comes while a scene runs ends it. QEMU starts it with `-kernel` (`start.rs`), `viewer/tests/browser/guest.ts`
//! builds and commands it.
//!
//! It draws into memory and then copies what has changed into the standard VGA's frame buffer, as desktops do.
//!
//! ## Design notes
//!
//! - Linux with a program for its frame buffer would be ten times as much to load, and its console would draw too.
//! - It is no member of the workspace: it has no allocator and cannot unwind, and is compiled by one call of rustc.
#![no_std]
#![no_main]

mod canvas;
mod desktop;
mod font;
mod machine;
mod memory;
mod photo;
mod random;
mod start;
mod text;

use core::fmt::Write;

use canvas::Canvas;
use machine::{Clock, Serial};

/// Something that happens on a screen.
trait Scene {
    /// What there is at first.
    fn begin(&mut self, canvas: &mut Canvas);

    /// What happens next, and how many milliseconds later something else does.
    fn step(&mut self, canvas: &mut Canvas) -> u64;

    /// A key was pressed: whether that shows something.
    fn key(&mut self, _canvas: &mut Canvas) -> bool {
        false
    }

    /// Whether each step is told on COM1 as soon as it can be seen.
    fn tells_steps(&self) -> bool {
        false
    }
}

/// The size in which all scenes but one are.
const SIZE: (usize, usize) = (1024, 768);

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    machine::listen();
    let mut canvas = Canvas::new(SIZE);
    let (mut serial, mut clock) = (Serial::new(), Clock::new());
    _ = writeln!(serial, "ready");
    loop {
        if let Some(line) = serial.line() {
            obey(&line, &mut canvas, &mut serial, &mut clock);
        } else {
            machine::wait();
            while machine::key().is_some() {}
            clock.now();
        }
    }
}

fn obey(line: &machine::Line, canvas: &mut Canvas, serial: &mut Serial, clock: &mut Clock) {
    let mut words = line.text().split(' ');
    let (command, name) = (words.next(), words.next().unwrap_or_default());
    let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(1_u64);
    let (seed, duration) = (number(), number());
    let holds = words.next() == Some("hold");
    if command != Some("scene") {
        return;
    }
    canvas.resize(SIZE);
    let time = Time { milliseconds: duration, holds };
    let steps = match name {
        "scroll" => run(&mut text::Scroll::new(seed, 1, 50), canvas, serial, clock, time),
        "boot" => run(&mut text::Scroll::new(seed, 4, 40), canvas, serial, clock, time),
        "typing" => run(&mut text::Typing::new(seed), canvas, serial, clock, time),
        "drag" => run(&mut desktop::Drag::new(seed), canvas, serial, clock, time),
        "video" => run(&mut photo::Video::new(seed), canvas, serial, clock, time),
        "photo" => run(&mut photo::Photo::new(seed), canvas, serial, clock, time),
        "resize" => run(&mut desktop::Resize::new(seed), canvas, serial, clock, time),
        "cursor" => run(&mut desktop::Cursor::new(seed), canvas, serial, clock, time),
        "pulse" => run(&mut text::Block::pulse(seed), canvas, serial, clock, time),
        "quiet" => run(&mut text::Block::quiet(seed), canvas, serial, clock, time),
        "key" => run(&mut text::Block::key(seed), canvas, serial, clock, time),
        _ => {
            _ = writeln!(serial, "unknown");
            return;
        }
    };
    _ = writeln!(serial, "over {name} {steps}");
}

/// How long a scene goes on, and whether it waits before.
struct Time {
    milliseconds: u64,
    holds: bool,
}

/// Shows a scene: how many steps it took.
fn run(
    scene: &mut dyn Scene,
    canvas: &mut Canvas,
    serial: &mut Serial,
    clock: &mut Clock,
    time: Time,
) -> u64 {
    scene.begin(canvas);
    canvas.show();
    _ = writeln!(serial, "begun");
    while time.holds && serial.line().is_none() {
        machine::wait();
        clock.now();
    }
    let began = clock.now();
    let (mut next, mut steps) = (0, 0);
    while next < time.milliseconds && serial.line().is_none() {
        if clock.now() - began >= next * 1000 {
            next += scene.step(canvas);
            canvas.show();
            if scene.tells_steps() && steps > 0 {
                _ = writeln!(serial, "step {steps}");
            }
            steps += 1;
            continue;
        }
        machine::wait();
        while machine::key().is_some_and(|code| code < 0x80) {
            if scene.key(canvas) {
                canvas.show();
                _ = writeln!(serial, "key");
            }
        }
    }
    steps
}

#[panic_handler]
fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    _ = writeln!(Serial::new(), "panicked: {info}");
    loop {
        machine::wait();
    }
}
