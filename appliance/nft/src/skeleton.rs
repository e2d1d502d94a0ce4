//! The skeleton: its text, and the bytes of its first load.
//!
//! A router that starts has no rules, and the same skeleton is loaded each time. nft(8) takes some 70 ms of a boot of 1.6 s
//! for that (`tests/bench`), of which the kernel's part is 10: it is started, reads the text, and looks for what it refers to.
//! So what it sends the kernel is kept beside the text (`podzol.batch`, made by `batch.sh`), and sent by the appliance itself.
//! That is one transaction, as it is with nft(8). A test holds that the two make the same.
//!
//! # Design notes
//! - Refused: to make these bytes here, of the text or of a form of its own. It would be half of nft(8), whose text is what
//!   people read and what repairs load.
//! - Refused: to make them when the crate or the image is built, which takes root for a network namespace, and gives other
//!   bytes with another nft(8) on the machine that builds.

use crate::wire::Batch;

/// What the parts of the skeleton are called when the kernel refuses one.
const ABOUT: &str = "the skeleton";

/// The skeleton, with empty sets: a router that nothing passes, and that answers on its management interface only. It is
/// loaded before any link is up. Loaded again it makes all tables anew but that of the counters, whose elements stay.
pub const fn skeleton() -> &'static str {
    include_str!("podzol.nft")
}

/// What loads the skeleton for the first time, in place of whatever rules there are: all tables go, and their counters too.
pub fn first_load() -> Batch {
    Batch::recorded(include_bytes!("podzol.batch"), ABOUT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BALANCER, MANAGEMENT_GROUP, OUTSIDE_GROUP};

    #[test]
    fn its_numbers_are_those_that_others_go_by() {
        for text in [
            format!("\ndefine management = {MANAGEMENT_GROUP}\n"),
            format!("\ndefine outside = {OUTSIDE_GROUP}\n"),
            format!(" meta skuid {BALANCER} "),
        ] {
            assert!(skeleton().contains(&text), "{text}");
        }
    }
}
