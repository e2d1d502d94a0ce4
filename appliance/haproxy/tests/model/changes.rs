//! What takes a new process, and what commands do.

use podzol_appliance_api::{Document, HttpBalancer, Method};
use podzol_appliance_haproxy::{Model, Servers};

use crate::{SECURE, balancer, change, document, member, model, nic, only};

/// What haproxy 2.6 lists for places with these addresses, ports, states and weights.
fn servers(places: &[(&str, u16, u8, u8)]) -> Servers {
    let mut text =
        "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight\n".to_owned();
    for (number, (address, port, state, weight)) in (1..).zip(places) {
        text += &format!(
            "2 {SECURE} {number} {number} {address} 2 {state} {weight} 1 9 1 0 2 0 0 0 0 - {port} - 0 0 - - 0\n"
        );
    }
    Servers::read(&(text + "\n")).unwrap()
}

const EMPTY: (&str, u16, u8, u8) = ("0.0.0.0", 1, 5, 1);
const TWO: (&str, u16, u8, u8) = ("10.1.1.2", 80, 0, 30);
const THREE: (&str, u16, u8, u8) = ("10.1.1.3", 80, 0, 10);

fn two_members() -> Document {
    only(balancer(443, &[member(2, 30), member(3, 10)]))
}

fn commands(document: &Document, places: &[(&str, u16, u8, u8)]) -> Vec<String> {
    let prefix = format!("set server {SECURE}/");
    let commands = model(document).commands(&servers(places)).into_iter();
    commands.map(|command| command.strip_prefix(&prefix).unwrap().to_owned()).collect()
}

#[test]
fn places_that_are_as_they_should_be_are_left_alone() {
    assert_eq!(commands(&two_members(), &[TWO, THREE, EMPTY, EMPTY]), [""; 0]);
    // In another order too, as after many changes.
    assert_eq!(commands(&two_members(), &[EMPTY, THREE, TWO, EMPTY]), [""; 0]);
}

#[test]
fn a_weight_and_a_drain_are_one_command_each() {
    let mut document = two_members();
    change(&mut document, nic(2), |member| member.weight = 7);
    change(&mut document, nic(3), |member| member.drains = true);
    assert_eq!(commands(&document, &[TWO, THREE]), ["1 weight 7", "2 weight 0"]);
}

#[test]
fn one_that_is_down_gets_nothing_and_one_that_works_again_has_its_weight_first() {
    let down = Model::of(&two_members(), &[(SECURE, nic(3))].into());
    let prefix = format!("set server {SECURE}/");
    assert_eq!(down.commands(&servers(&[TWO, THREE])), [format!("{prefix}2 state maint")]);
    assert_eq!(down.commands(&servers(&[TWO, ("10.1.1.3", 80, 1, 10)])), [""; 0]);
    assert_eq!(commands(&two_members(), &[TWO, ("10.1.1.3", 80, 5, 1)]), ["2 weight 10", "2 state ready"]);
}

#[test]
fn a_member_in_the_place_of_another_comes_after_that_has_gone() {
    let document = only(balancer(443, &[member(2, 30), member(9, 5)]));
    assert_eq!(
        commands(&document, &[TWO, THREE]),
        ["2 state maint", "2 addr 10.1.1.9 port 80", "2 weight 5", "2 state ready"]
    );
    // The first place that is free.
    assert_eq!(
        commands(&document, &[EMPTY, TWO, THREE, EMPTY]),
        ["3 state maint", "1 addr 10.1.1.9 port 80", "1 weight 5", "1 state ready"]
    );
}

#[test]
fn one_who_is_in_two_places_leaves_the_second() {
    assert_eq!(commands(&two_members(), &[TWO, THREE, TWO]), ["3 state maint"]);
}

#[test]
fn a_new_member_that_is_down_waits_in_its_place() {
    let document = only(balancer(443, &[member(2, 30), member(3, 10)]));
    let down = Model::of(&document, &[(SECURE, nic(3))].into());
    let commands = down.commands(&servers(&[TWO, EMPTY]));
    assert_eq!(commands, [format!("set server {SECURE}/2 addr 10.1.1.3 port 80")]);
}

#[test]
fn members_change_in_the_same_process_and_all_else_takes_another() {
    let same = |change: fn(&mut HttpBalancer)| {
        let mut changed = document();
        change(changed.http_balancers.get_mut(&SECURE).unwrap());
        model(&changed).fits(&model(&document()))
    };
    assert!(same(|balancer| balancer.members = [member(7, 1)].into()));
    assert!(same(|balancer| balancer.members.extend([member(7, 1)])));
    assert!(!same(|balancer| balancer.members.extend([member(7, 1), member(8, 1)])));
    let mut five = document();
    let members = [2, 3, 4, 5, 6].map(|number| member(number, 1));
    five.http_balancers.get_mut(&SECURE).unwrap().members = members.into();
    assert!(model(&document()).fits(&model(&five)));
    assert!(!model(&five).fits(&model(&document())));
    assert!(!same(|balancer| balancer.port = 8443));
    assert!(!same(|balancer| balancer.public = [203, 0, 113, 11].into()));
    assert!(!same(|balancer| balancer.method = Method::LeastLoad));
    assert!(!same(|balancer| balancer.cookie = None));
    assert!(!same(|balancer| balancer.tls = None));
    assert!(!same(|balancer| balancer.max_connections = 1));
    assert!(!same(|balancer| balancer.idle_secs = 1));
    assert!(!model(&Document::default()).fits(&model(&document())));
    assert!(model(&Document::default()).is_empty());
}

#[test]
fn what_is_no_list_of_servers_is_an_error() {
    for bad in ["", "2\n", "1\n2 x 1 1 10.1.1.2 2 0 30\n", "Unknown command: 'show'"] {
        assert!(Servers::read(bad).is_err(), "{bad}");
    }
    assert_eq!(Servers::read("1\n").unwrap(), Servers::default());
}
