//! Balancers of HTTP.

use podzol_vocab::Secret;

use super::*;
use crate::http::{HttpBalancer, Termination};

const HTTP: LoadBalancerId = LoadBalancerId::from_bytes([9; 16]);
const OTHER_NIC: NicId = NicId::from_bytes([10; 16]);

/// A certificate for a new key, and the key.
fn certificate() -> Termination {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["web.example".to_owned()]).unwrap().self_signed(&key);
    Termination { certificates: certificate.unwrap().pem(), key: Secret::new(key.serialize_pem()) }
}

fn with_http() -> Document {
    let member = |port| Member { address: [10, 1, 1, 2].into(), port, weight: 1, drains: false };
    let balancer = HttpBalancer {
        public: [203, 0, 113, 10].into(),
        port: 8443,
        method: Method::RoundRobin,
        members: [(NIC, member(80)), (OTHER_NIC, member(81))].into(),
        check: Some(Check { kind: CheckKind::Tcp, interval_ms: 1000, timeout_ms: 500, rise: 2, fall: 3 }),
        cookie: Some("SRV".parse().unwrap()),
        tls: Some(certificate()),
        max_connections: 100,
        idle_secs: 60,
    };
    let mut document = document();
    document.http_balancers.insert(HTTP, balancer);
    document
}

fn http_of(document: &mut Document) -> &mut HttpBalancer {
    document.http_balancers.get_mut(&HTTP).unwrap()
}

fn tls_of(document: &mut Document) -> &mut Termination {
    http_of(document).tls.as_mut().unwrap()
}

#[test]
fn a_balancer_of_http_that_keeps_all_rules_has_no_problems() {
    assert_eq!(with_http().problems(), []);
}

#[test]
fn every_rule_about_http_has_its_bad_case_and_names_its_field() {
    let bad: [Bad; 22] = [
        (|d| http_of(d).public = [203, 0, 113, 99].into(), "http_balancers.*.public"),
        (|d| http_of(d).public = [203, 0, 113, 11].into(), "static_nats.*.public"),
        (|d| http_of(d).port = 443, "http_balancers.*.port"),
        (|d| forward_of(d).ports = "8440-8450".parse().unwrap(), "http_balancers.*.port"),
        (|d| d.http_balancers.extend([(BALANCER, with_port(8444))]), "http_balancers.*"),
        (
            |d| d.http_balancers.extend((0..64).map(|n| (LoadBalancerId::new(), with_port(9000 + n)))),
            "http_balancers",
        ),
        (|d| member(d).address = [192, 0, 2, 1].into(), "http_balancers.*.members.*.address"),
        (|d| member(d).weight = 101, "http_balancers.*.members.*.weight"),
        (|d| member(d).port = 81, "http_balancers.*.members.*.port"),
        (|d| http_of(d).check.as_mut().unwrap().fall = 11, "http_balancers.*.check.fall"),
        (|d| http_of(d).max_connections = 0, "http_balancers.*.max_connections"),
        (|d| http_of(d).max_connections = 20_001, "http_balancers.*.max_connections"),
        (|d| http_of(d).idle_secs = 3601, "http_balancers.*.idle_secs"),
        (|d| tls_of(d).certificates = "x".repeat(33 << 10), "http_balancers.*.tls.certificates"),
        (|d| tls_of(d).certificates = String::new(), "http_balancers.*.tls.certificates"),
        (|d| tls_of(d).certificates = CUT_SHORT.into(), "http_balancers.*.tls.certificates"),
        (
            |d| {
                let key = tls_of(d).key.clone();
                tls_of(d).certificates += key.expose()
            },
            "http_balancers.*.tls.certificates",
        ),
        (|d| tls_of(d).key = Secret::new("x".repeat(17 << 10)), "http_balancers.*.tls.key"),
        (|d| tls_of(d).key = Secret::new(String::new()), "http_balancers.*.tls.key"),
        (|d| tls_of(d).key = Secret::new(ENCRYPTED.into()), "http_balancers.*.tls.key"),
        (|d| tls_of(d).key = Secret::new(ENCRYPTED.replace("ENCRYPTED ", "")), "http_balancers.*.tls.key"),
        (|d| tls_of(d).key = certificate().key, "http_balancers.*.tls.key"),
    ];
    for (number, (spoil, expected)) in bad.into_iter().enumerate() {
        let mut document = with_http();
        spoil(&mut document);
        assert_only(&document, expected, number);
    }
}

const CUT_SHORT: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n";
const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";

pub(super) fn with_port(port: u16) -> HttpBalancer {
    HttpBalancer { port, tls: None, ..http_of(&mut with_http()).clone() }
}

fn member(document: &mut Document) -> &mut Member {
    http_of(document).members.get_mut(&NIC).unwrap()
}

#[test]
fn a_key_is_in_no_problem_and_in_nothing_that_is_printed() {
    let mut document = with_http();
    tls_of(&mut document).key = Secret::new("-----BEGIN PRIVATE KEY-----\nhunter2\n".into());
    assert!(!format!("{document:?} {:?}", document.problems()).contains("hunter2"));
}

#[test]
fn a_document_without_balancers_of_http_says_nothing_of_them() {
    let text = serde_json::to_string(&document()).unwrap();
    assert!(!text.contains("http_balancers"));
    let with = with_http();
    let read: Document = serde_json::from_str(&serde_json::to_string(&with).unwrap()).unwrap();
    assert_eq!(read, with);
}

#[test]
fn a_delta_brings_balancers_of_http_and_takes_them_away() {
    let (without, with) = (document(), Document { generation: podzol_vocab::Generation(1), ..with_http() });
    let delta = crate::Delta::between(&without, &with).unwrap();
    let mut changed = without.clone();
    assert!(!delta.is_in(&changed));
    delta.apply(&mut changed).unwrap();
    assert_eq!(changed, with);
    let back = Document { generation: podzol_vocab::Generation(2), ..without };
    crate::Delta::between(&with, &back).unwrap().apply(&mut changed).unwrap();
    assert_eq!(changed, back);
}
