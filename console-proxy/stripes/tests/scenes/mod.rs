//! What VMs show: seeded scenes that are the same each time, for tests and benches.
//!
//! A scene paints on a [`Canvas`] step by step; one step is what there is between two updates of a quick viewer.
#![allow(dead_code, unused_imports, reason = "each user takes what it needs")]

mod canvas;
mod desktop;
mod font;
mod photo;
mod text;

pub(crate) use canvas::Canvas;
pub(crate) use desktop::{Drag, Page};
pub(crate) use photo::{Photo, Video};
pub(crate) use text::{Boot, Scroll, Typing};

/// Something that happens on a screen.
pub(crate) trait Scene {
    /// What there is at first.
    fn begin(&mut self, canvas: &mut Canvas<'_>);

    /// What happens in one step.
    fn step(&mut self, canvas: &mut Canvas<'_>);

    /// Milliseconds of a step.
    fn pace(&self) -> u64;
}
