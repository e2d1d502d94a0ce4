//! How VMs get their passwords.

mod sample;

use std::net::Ipv4Addr;

use http::Method;
use podzol_appliance_api::Document;
use podzol_appliance_metadata::{Passwords, Request};
use podzol_vocab::Secret;
use sample::{BARE, SECOND, WEB, document, header_map, network, text, vm};

fn passwords() -> Passwords {
    let mut passwords = Passwords::default();
    passwords.update(&document());
    passwords
}

fn with_password(password: Option<&str>) -> Document {
    let mut document = document();
    for facts in document.vms.values_mut().filter(|facts| facts.name.as_str() == "web") {
        facts.password = password.map(|text| Secret::new(text.to_owned()));
    }
    document
}

fn ask(passwords: &mut Passwords, from: Ipv4Addr, wanted: &str) -> (u16, String) {
    let headers = header_map(&[("domu_request", wanted)]);
    let request = Request { method: &Method::GET, path: "/", headers: &headers };
    let response = passwords.answer(network(1), from, &request);
    (response.status.as_u16(), text(&response))
}

fn check(passwords: &mut Passwords, wanted: &str, expected: &str) {
    assert_eq!(ask(passwords, WEB, wanted), (200, expected.to_owned()));
}

#[test]
fn a_password_is_given_until_the_vm_says_that_it_saved_it() {
    let mut passwords = passwords();
    check(&mut passwords, "send_my_password", "swordfish");
    check(&mut passwords, "send_my_password", "swordfish");
    assert!(passwords.passwords_set().is_empty());
    check(&mut passwords, "saved_password", "saved_password");
    check(&mut passwords, "send_my_password", "saved_password");
    assert_eq!(passwords.passwords_set(), [vm(1)]);
}

#[test]
fn a_password_is_given_to_its_own_vm_only() {
    let mut passwords = passwords();
    assert_eq!(ask(&mut passwords, BARE, "send_my_password"), (200, "saved_password".to_owned()));
    for stranger in [SECOND, Ipv4Addr::new(10, 1, 1, 9)] {
        assert_eq!(ask(&mut passwords, stranger, "send_my_password").0, 404);
    }
    check(&mut passwords, "send_my_password", "swordfish");
    ask(&mut passwords, BARE, "saved_password");
    assert!(passwords.passwords_set().is_empty());
}

#[test]
fn the_same_password_in_a_later_document_stays_saved() {
    let mut passwords = passwords();
    check(&mut passwords, "send_my_password", "swordfish");
    check(&mut passwords, "saved_password", "saved_password");
    passwords.update(&with_password(Some("swordfish")));
    check(&mut passwords, "send_my_password", "saved_password");
    assert_eq!(passwords.passwords_set(), [vm(1)]);
}

#[test]
fn another_password_starts_anew() {
    let mut passwords = passwords();
    check(&mut passwords, "send_my_password", "swordfish");
    check(&mut passwords, "saved_password", "saved_password");
    passwords.update(&with_password(Some("marlin")));
    assert!(passwords.passwords_set().is_empty());
    check(&mut passwords, "send_my_password", "marlin");
}

#[test]
fn a_vm_that_saved_the_password_before_this_one_has_not_saved_this_one() {
    let mut passwords = passwords();
    check(&mut passwords, "send_my_password", "swordfish");
    passwords.update(&with_password(Some("marlin")));
    check(&mut passwords, "saved_password", "saved_password");
    assert!(passwords.passwords_set().is_empty());
    check(&mut passwords, "send_my_password", "marlin");
}

#[test]
fn a_password_that_went_away_is_forgotten_and_can_come_again() {
    let mut passwords = passwords();
    check(&mut passwords, "send_my_password", "swordfish");
    check(&mut passwords, "saved_password", "saved_password");
    passwords.update(&with_password(None));
    assert!(passwords.passwords_set().is_empty());
    check(&mut passwords, "send_my_password", "saved_password");
    passwords.update(&with_password(Some("swordfish")));
    check(&mut passwords, "send_my_password", "swordfish");
}

#[test]
fn other_requests_are_bad_and_other_methods_not_allowed() {
    let mut passwords = passwords();
    assert_eq!(ask(&mut passwords, WEB, "hello"), (400, "bad_request".to_owned()));
    let headers = header_map(&[("domu_request", "send_my_password")]);
    for method in [Method::HEAD, Method::PUT, Method::POST] {
        let request = Request { method: &method, path: "/", headers: &headers };
        assert_eq!(passwords.answer(network(1), WEB, &request).status, 405);
    }
}

#[test]
fn passwords_are_not_printed() {
    assert!(!format!("{:?}", passwords()).contains("swordfish"));
}
