//! The framebuffer of a VM for all its viewers, and what browsers are sent of it: copies, tiles that they have seen before, and
//! one image of what is left, the *stripe*.
//!
//! ```text
//!   pixels, painted ──▶ Screen ──▶ pictures ──▶ Composer ──▶ Update ──▶ a browser, or decode::View
//!                                                  ▲ │
//!              acknowledge, resume ──▶ Viewer ─────┘ └▶ what it has now
//! ```
//! It knows no sockets, no HTTP, no RFB and no clock: whoever calls gives pixels, tells what of them was painted, and passes the
//! time in. It does not know how fast a line is either; a budget for each update says so.
//!
//! - **Only what changed is sent**, compared by content: a repaint of the same pixels is no change, and a change that was
//!   undone before a viewer asked is none for it.
//! - **The latest wins.** An update is made when its viewer asks, from what it has (or will have, with what is on its way) to the
//!   newest picture. What came in between is never encoded. Viewers at the same version share images.
//! - **Exact at rest.** Text and drawings are exact always. Photographs are shown with loss first, each tile of at least 35 dB (in
//!   what moves, all tiles of an image together, and each of at least 33.5),
//!   and exactly when it has rested for [`REST`], or [`SHORT_REST`] if it changes seldom.
//! - **Memory is bounded**: what each type takes stands there. `tests/memory` measures it: a VM of 1024x768 whose viewer is idle
//!   takes 80 KB, one in use 3.2 MB, with a photograph for a ground 5.3 MB; that is 1000 sessions for each GiB if 70 % are
//!   idle, 20 % typing and 10 % scrolling.
//! - **Contents cannot be forged**: tiles are told apart by secret keys, see [`Secret`]; what has moved is compared pixel by pixel.
//!
//! `FORMAT.md` describes the bytes, `tests/updates/scenarios` prints what scenes cost.
//!
//! # Design notes
//! - Tiles of 16x16, measured with the same memory for caches (KB/s of scroll, boot text, typing, a page, a dragged window, video):
//!   8x8 takes 4.0, 14, 0.2, 118, 411, 662; 16x16 takes 2.0, 6.0, 0.1, 37, 143, 454; 32x32 takes 12.4, 23, 0.5, 54, 115, 397.
//!   (That was before each tile of a photograph had to have 35 dB; the three were measured alike.)
//!   Small tiles cost their places in lists and JPEG's chroma, large ones are never the same again.
//! - A viewer's picture is what was sent, not pixels: tiles in packed form, shared by all pictures of a VM that have them. So
//!   copies can be found for each viewer from what *it* shows, and a picture of text takes a twentieth of its pixels.
//! - Copies are searched in pixels, not in tiles: windows move by any number of pixels, and their edges then need no tiles.
//! - The cache is part of what a viewer has, and can be undone with it when updates are lost, instead of being emptied.
//! - Small images of few colours are no PNG, which has 70 bytes beside its pixels and colours: a typed character is less than
//!   that in all, and is shown without waiting for a decoder of images.
//! - JPEG's quality is measured by decoding it again: no setting says how near pixels are.
//! - Not there: WebP (3.6 times JPEG's time for a tenth less), progressive images, and video codecs.

mod body;
mod cursor;
pub mod decode;
mod geometry;
mod image;
mod lru;
mod marks;
mod mirror;
mod motion;
mod palette;
mod picture;
mod screen;
mod secret;
mod tile;
mod update;
mod viewer;

pub use body::FORMAT_VERSION;
pub use cursor::{Cursor, MAX_CURSOR};
pub use geometry::{Rect, Size, TILE};
pub use image::{MAX_IMAGES, MAX_LARGE_IMAGES};
pub use lru::CACHE_SLOTS;
pub use screen::{REST, SHORT_REST, Screen};
pub use secret::Secret;
pub use update::{Composer, Update};
pub use viewer::{MAX_OVERWRITTEN, MAX_SENT, Viewer};
