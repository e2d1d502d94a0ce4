//! What pages send: batches of events ([`batch`]), in which order they are applied ([`order`]), and which keys a page holds
//! ([`held`]). No module of these does any I/O or reads a clock.

pub(crate) mod act;
pub(crate) mod batch;
pub(crate) mod held;
pub(crate) mod order;
