//! Scenarios that leave the lab's own servers to the others, or disturb them as little as another customer does: they run before the
//! rest, two at a time.

mod emulation;
mod on_hosts;
mod templates;
