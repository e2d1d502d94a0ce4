//! Counters that never go back: what the kernel counts by address becomes what was sent and received by interface.
//!
//! The kernel's counters begin anew with the element that has them, and an element can get another owner. So what they show
//! is looked at again and again, and what has come since the last look is added to its owner's.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use podzol_appliance_api::{Counters, Document};
use podzol_appliance_nft::Counted;
use podzol_vocab::NicId;

/// How many interfaces that are no more are still told of. Whoever bills asks far more often than so many go.
const KEPT: usize = 8192;

/// What was counted since the router's start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    nics: BTreeMap<NicId, Counters>,
    public: BTreeMap<Ipv4Addr, Counters>,
    /// What the kernel showed at the last look.
    shown: Counted,
}

impl Tally {
    /// Adds what has come since the last look, to those whom this document says that the addresses belong to.
    pub(crate) fn look(&mut self, document: &Document, counted: Counted) {
        for (id, nic) in &document.nics {
            let total = self.nics.entry(*id).or_default();
            add(total, since(self.shown.nics.get(&nic.address), counted.nics.get(&nic.address)));
            let Some(address) = nic.address6 else { continue };
            add(total, since(self.shown.nics6.get(&address), counted.nics6.get(&address)));
        }
        for (address, now) in &counted.public {
            let new = since(self.shown.public.get(address), Some(now));
            add(self.public.entry(*address).or_default(), new);
        }
        self.shown = counted;
        while self.nics.len() > KEPT.max(document.nics.len()) {
            let gone = self.nics.keys().find(|id| !document.nics.contains_key(id)).copied();
            let Some(gone) = gone else { break };
            self.nics.remove(&gone);
        }
    }

    /// By interface, those that are no more included.
    pub(crate) fn nics(&self) -> &BTreeMap<NicId, Counters> {
        &self.nics
    }

    /// By public address.
    pub(crate) fn public(&self) -> &BTreeMap<Ipv4Addr, Counters> {
        &self.public
    }
}

/// What has come since. A counter that shows less than before has begun anew.
fn since(before: Option<&Counters>, now: Option<&Counters>) -> Counters {
    let (before, now) = (before.copied().unwrap_or_default(), now.copied().unwrap_or_default());
    let one = |before: u64, now: u64| now.checked_sub(before).unwrap_or(now);
    Counters {
        sent_bytes: one(before.sent_bytes, now.sent_bytes),
        sent_packets: one(before.sent_packets, now.sent_packets),
        received_bytes: one(before.received_bytes, now.received_bytes),
        received_packets: one(before.received_packets, now.received_packets),
    }
}

fn add(total: &mut Counters, new: Counters) {
    total.sent_bytes += new.sent_bytes;
    total.sent_packets += new.sent_packets;
    total.received_bytes += new.received_bytes;
    total.received_packets += new.received_packets;
}

#[cfg(test)]
mod tests {
    use podzol_appliance_api::VmNic;
    use podzol_vocab::{MacAddr, NetworkId, VmId};

    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 5);

    fn document(nic: Option<NicId>) -> Document {
        let (vm, network, mac) = (VmId::new(), NetworkId::new(), MacAddr::local([2; 6]));
        let entry = |id| (id, VmNic { vm, network, mac, address: ADDRESS, address6: None, primary: true });
        Document { nics: nic.into_iter().map(entry).collect(), ..Document::default() }
    }

    fn counted(bytes: u64) -> Counted {
        let counters = Counters { sent_bytes: bytes, ..Counters::default() };
        Counted { nics: [(ADDRESS, counters)].into(), ..Counted::default() }
    }

    #[test]
    fn a_counter_that_begins_anew_takes_nothing_away() {
        let (mut tally, nic) = (Tally::default(), NicId::new());
        for (shown, total) in [(10, 10), (15, 15), (3, 18), (0, 18), (7, 25)] {
            tally.look(&document(Some(nic)), counted(shown));
            assert_eq!(tally.nics()[&nic].sent_bytes, total);
        }
    }

    #[test]
    fn who_gets_an_address_does_not_get_what_was_counted_for_who_had_it() {
        let (mut tally, first, second) = (Tally::default(), NicId::new(), NicId::new());
        tally.look(&document(Some(first)), counted(10));
        // As it is looked at right before the document changes.
        tally.look(&document(Some(first)), counted(12));
        tally.look(&document(Some(second)), counted(20));
        assert_eq!((tally.nics()[&first].sent_bytes, tally.nics()[&second].sent_bytes), (12, 8));
        tally.look(&document(None), counted(30));
        assert_eq!(tally.nics()[&second].sent_bytes, 8);
    }
}
