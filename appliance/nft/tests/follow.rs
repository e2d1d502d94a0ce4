//! Rules that follow a document's changes are those that it would have if they were made anew.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "the sample is for other tests too")]

mod sample;

use std::collections::BTreeSet;

use podzol_appliance_api::{Delta, Document, StaticNat};
use podzol_appliance_nft::{Down, Rules};
use podzol_vocab::StaticNatId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sample::random::change;
use sample::{OTHER, OWN, STATIC, balancer_id, bare, links, nic, ruleset};

#[test]
fn rules_follow_random_changes_and_follow_them_back() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut document, down) = (bare(), Down::new());
        let mut rules = Rules::of(&document, &links(), &down);
        for step in 0..100 {
            let mut next = document.clone();
            change(&mut next, &mut random);
            change_others(&mut next, &mut random);
            next.generation.0 += 1;
            let delta = Delta::between(&document, &next).unwrap();
            assert!(Rules::can_follow(&delta));
            let forth = ruleset(&next).change_from(&ruleset(&document));
            assert_eq!(rules.follow(&delta, &document, &next, &down), forth, "seed {seed}, step {step}");
            assert_eq!(*rules.ruleset(), ruleset(&next), "seed {seed}, step {step}");
            if random.random_ratio(1, 4) {
                let back = ruleset(&document).change_from(&ruleset(&next));
                assert_eq!(rules.follow(&delta, &next, &document, &down), back, "seed {seed}, step {step}");
                assert_eq!(*rules.ruleset(), ruleset(&document), "seed {seed}, step {step}");
            } else {
                document = next;
            }
        }
    }
}

#[test]
fn rules_follow_members_that_go_down_and_come_back() {
    let document = sample::small();
    let states: Vec<Down> = [&[][..], &[5], &[5, 6], &[6], &[]]
        .iter()
        .map(|down| down.iter().map(|number| (balancer_id(), nic(*number))).collect())
        .collect();
    let mut rules = Rules::of(&document, &links(), &states[0]);
    for (from, to) in states.iter().zip(&states[1..]) {
        let anew = Rules::of(&document, &links(), to);
        let script = anew.ruleset().change_from(rules.ruleset());
        assert!(script.is_some());
        assert_eq!(rules.follow_down(&document, from, to), script);
        assert_eq!(rules.ruleset(), anew.ruleset());
    }
}

#[test]
fn rules_of_another_network_or_address_are_made_anew() {
    let (before, mut after) = (bare(), bare());
    after.generation.0 += 1;
    assert!(Rules::can_follow(&Delta::between(&before, &after).unwrap()));
    after.public.as_mut().unwrap().mtu = 9000;
    assert!(!Rules::can_follow(&Delta::between(&before, &after).unwrap()));
    let mut after = Document { generation: after.generation, ..bare() };
    after.guests.pop_last();
    assert!(!Rules::can_follow(&Delta::between(&before, &after).unwrap()));
}

/// Changes that [`change`] does not make.
fn change_others(document: &mut Document, random: &mut StdRng) {
    match random.random_range(0..6) {
        0 => {
            let to = if random.random() { OWN } else { OTHER };
            document.static_nats = [(StaticNatId::new(), StaticNat { public: STATIC, to })].into();
        }
        1 => document.static_nats.clear(),
        2 => {
            // An interface that goes, and perhaps another that takes its address.
            let nics: BTreeSet<_> = document.nics.keys().copied().collect();
            let gone = document.nics.remove(nics.first().unwrap()).unwrap();
            if random.random() || document.nics.is_empty() {
                document.nics.insert(podzol_vocab::NicId::new(), gone);
            }
        }
        _ => {}
    }
}
