//! The text of whole rule sets and of changes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "the sample is for other tests too")]

mod sample;

use std::collections::BTreeSet;

use podzol_appliance_api::{Document, Method};
use podzol_appliance_nft::{Rules, Step, skeleton};
use podzol_vocab::{FirewallRuleId, PortForwardId};
use sample::{PUBLIC, WEB, balancer, balancer_id, bare, forward, ingress, links, nic, ruleset, small, tcp};

fn change(before: &Document, after: &Document) -> Option<String> {
    ruleset(after).script_from(&ruleset(before))
}

#[test]
fn a_small_document_is_these_elements() {
    let made = change(&Document::default(), &small()).unwrap();
    let golden = include_str!("small.nft");
    assert!(made == golden, "tests/small.nft differs; made:\n{made}");
}

#[test]
fn the_whole_is_the_skeleton_and_all_elements() {
    let whole = ruleset(&small()).whole();
    assert!(whole.starts_with(skeleton()));
    assert!(whole.ends_with(include_str!("small.nft")), "{whole}");
}

#[test]
fn the_same_document_is_no_change() {
    assert_eq!(change(&small(), &small()), None);
}

#[test]
fn a_balancer_that_comes_has_its_chain_before_its_element_and_one_that_goes_after() {
    let (mut without, with) = (small(), small());
    without.balancers.clear();
    let name = "lb-00000000-0000-0000-0000-000000000001";
    let made = change(&without, &with).unwrap();
    let expected = format!(
        "add chain ip podzol {name}\nflush chain ip podzol {name}\n\
         add rule ip podzol {name} meta l4proto tcp dnat ip to numgen inc mod 4 \
         map {{ 0-2 : 10.1.1.5 . 8443, 3 : 10.1.1.6 . 8443 }}\n\
         add element ip podzol balancers {{ 203.0.113.5 . tcp . 443 : goto {name} }}\n"
    );
    assert_eq!(made, expected);
    let unmade = change(&with, &without).unwrap();
    let expected = format!(
        "delete element ip podzol balancers {{ 203.0.113.5 . tcp . 443 }}\n\
         flush chain ip podzol {name}\ndelete chain ip podzol {name}\n"
    );
    assert_eq!(unmade, expected);
}

#[test]
fn a_member_that_is_down_changes_its_balancer_s_chain_alone() {
    let document = small();
    let down: BTreeSet<_> = [(balancer_id(), nic(5))].into();
    let made = Rules::of(&document, &links(), &down).ruleset().script_from(&ruleset(&document)).unwrap();
    assert_eq!(made.lines().count(), 3, "{made}");
    assert!(made.ends_with("mod 1 map { 0 : 10.1.1.6 . 8443 }\n"), "{made}");
}

#[test]
fn a_balancer_without_members_refuses_tcp_and_is_silent_about_udp() {
    let mut document = bare();
    document.balancers = [(balancer_id(), balancer(Method::RoundRobin))].into();
    document.balancers.get_mut(&balancer_id()).unwrap().members.clear();
    let made = change(&bare(), &document).unwrap();
    assert_eq!(made, "add element ip podzol refused { 203.0.113.5 . tcp . 443 }\n");
    document.balancers.get_mut(&balancer_id()).unwrap().transport = podzol_appliance_api::Transport::Udp;
    assert_eq!(change(&bare(), &document), None);
}

#[test]
fn of_two_rules_for_the_same_one_can_go_and_nothing_changes() {
    let (mut once, mut twice) = (bare(), bare());
    let rule = ingress(PUBLIC, &["0.0.0.0/0"], tcp("80"));
    once.ingress = [(FirewallRuleId::new(), rule.clone())].into();
    twice.ingress = [(FirewallRuleId::new(), rule.clone()), (FirewallRuleId::new(), rule)].into();
    assert_eq!(change(&twice, &once), None);
}

#[test]
fn a_forward_to_the_last_port_is_made_like_any_other() {
    let mut document = bare();
    document.port_forwards = [(PortForwardId::new(), forward("65533-65534", WEB, 65534))].into();
    let made = change(&bare(), &document).unwrap();
    assert!(made.contains("203.0.113.5 . tcp . 65534 : 10.1.1.5 . 65535"), "{made}");
}

#[test]
fn one_rule_among_thousands_is_a_few_lines() {
    let mut before = bare();
    for port in 1..=5000_u16 {
        let ports = (2 * port).to_string();
        before.port_forwards.insert(PortForwardId::new(), forward(&ports, WEB, port));
        before.ingress.insert(FirewallRuleId::new(), ingress(PUBLIC, &["0.0.0.0/0"], tcp(&ports)));
    }
    let mut after = before.clone();
    after.port_forwards.insert(PortForwardId::new(), forward("20000", WEB, 80));
    after.ingress.pop_first();
    after.ingress.insert(FirewallRuleId::new(), ingress(PUBLIC, &["198.51.100.0/24"], tcp("20000-20001")));
    let expected = "delete element ip podzol ingress_port { 203.0.113.5 . tcp . 2 }\n\
        add element ip podzol ingress { 203.0.113.5 . tcp . 20000-20001 . 198.51.100.0/24 }\n\
        add element ip podzol forward_port { 203.0.113.5 . tcp . 20000 : 10.1.1.5 . 80 }\n";
    assert_eq!(change(&before, &after).unwrap(), expected);
}

/// The kinds of a change's steps, and the scripts among them.
fn steps(before: &Document, after: &Document) -> Vec<String> {
    let change = ruleset(after).change_from(&ruleset(before)).unwrap();
    let name = |step: &Step| match step {
        Step::Script(script) => script.clone(),
        Step::Batch(_) => "batch".to_owned(),
    };
    change.steps().iter().map(name).collect()
}

#[test]
fn rules_without_a_chain_are_one_batch() {
    let mut less = small();
    less.port_forwards.clear();
    less.ingress.clear();
    less.egress.clear();
    less.static_nats.clear();
    less.nics.clear();
    assert_eq!(steps(&less, &small()), ["batch"]);
    assert_eq!(steps(&small(), &less), ["batch"]);
}

#[test]
fn what_nothing_leads_to_yet_is_made_before_and_removed_after() {
    let mut without = small();
    without.balancers.clear();
    let [chain, batch] = &steps(&without, &small())[..] else { panic!("two steps") };
    assert!(chain.starts_with("add chain ip podzol lb-") && !chain.contains("element"), "{chain}");
    assert_eq!(batch, "batch");
    let [batch, chain] = &steps(&small(), &without)[..] else { panic!("two steps") };
    assert_eq!(batch, "batch");
    assert!(chain.contains("delete chain") && !chain.contains("element"), "{chain}");
    let [batch, networks] = &steps(&Document::default(), &bare())[..] else { panic!("two steps") };
    assert!(networks.contains("add element ip podzol egress_policy"), "{networks}");
    assert_eq!(batch, "batch");
}

#[test]
fn a_chain_or_a_network_that_becomes_another_is_one_script_with_all_else() {
    let mut other = small();
    other.balancers.get_mut(&balancer_id()).unwrap().members.pop_last();
    other.port_forwards.clear();
    let [script] = &steps(&small(), &other)[..] else { panic!("one step") };
    assert!(script.contains("delete element ip podzol forward_port"), "{script}");
    let mut other = small();
    other.guests.values_mut().for_each(|guest| guest.source_nat = Some(sample::STATIC));
    other.port_forwards.clear();
    let [script] = &steps(&small(), &other)[..] else { panic!("one step") };
    assert!(script.contains("add element ip podzol source_nat"), "{script}");
}
