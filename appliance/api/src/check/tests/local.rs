//! Ports of programs of the appliance's own VM.

use podzol_vocab::ConsoleServerId;

use super::*;
use crate::document::LocalPort;

const SERVER: ConsoleServerId = ConsoleServerId::from_bytes([11; 16]);

fn with_port(public: [u8; 4], port: u16) -> Document {
    let mut document = document();
    document.local_ports.insert(SERVER, LocalPort { public: public.into(), port });
    document
}

#[test]
fn a_port_of_its_own_on_a_public_address_keeps_all_rules() {
    assert_eq!(with_port([203, 0, 113, 10], 9443).problems(), []);
}

#[test]
fn a_port_that_is_none_or_leads_elsewhere_and_an_address_of_another_are_refused() {
    for (public, port, field) in [
        ([203, 0, 113, 10], 0, "local_ports.*.port"),
        ([203, 0, 113, 10], 443, "local_ports.*.port"),
        ([203, 0, 113, 99], 9443, "local_ports.*.public"),
        ([203, 0, 113, 11], 9443, "static_nats.*.public"),
    ] {
        assert_only(&with_port(public, port), field, usize::from(port));
    }
    let mut many = document();
    let port = |number: u16| LocalPort { public: [203, 0, 113, 10].into(), port: 9000 + number };
    many.local_ports = (0..17).map(|number: u16| (ConsoleServerId::new(), port(number))).collect();
    assert_only(&many, "local_ports", 17);
}

#[test]
fn a_document_without_them_says_nothing_of_them_and_a_delta_brings_them() {
    assert!(!serde_json::to_string(&document()).unwrap().contains("local_ports"));
    let with = Document { generation: podzol_vocab::Generation(1), ..with_port([203, 0, 113, 10], 9443) };
    let mut changed = document();
    crate::Delta::between(&changed, &with).unwrap().apply(&mut changed).unwrap();
    assert_eq!(changed, with);
}
