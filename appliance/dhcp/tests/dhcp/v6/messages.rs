//! Each message of RFC 8415, 18.3, and who gets no answer.

use podzol_appliance_dhcp::EventKind;
use podzol_appliance_dhcp::v6::Table;
use podzol_vocab::NicId;

use super::packet::{
    CLIENT, CONFIRM, DECLINE, INFORMATION, Packet, REBIND, RELEASE, RENEW, REQUEST, SERVER, SOLICIT, address,
    association, codes, document, leases, options, own, source, status, table, values,
};
use crate::world::{FIRST, SECOND, WEB, WEB_SECOND, mac};

const NOT_ON_LINK: u16 = 4;

/// Another address of the first network, and one of none.
fn others() -> [std::net::Ipv6Addr; 2] {
    [address("2001:db8:64:10::77"), address("2001:db8:ffff::77")]
}

#[test]
fn a_solicit_is_answered_with_an_offer_or_at_once_to_who_takes_that() {
    let advertise = Packet::new(SOLICIT).wants(&[]).reply();
    assert_eq!((advertise[0], codes(&advertise)), (2, vec![1, 2, 7, 3, 23, 24]));
    let reply = Packet::new(SOLICIT).option(14, &[]).wants(&[]).reply();
    assert_eq!((reply[0], codes(&reply)), (7, vec![1, 2, 14, 3, 23, 24]));
    assert_eq!(leases(&values(&reply, 3)[0]), [(own(), 86_400, 86_400)]);
}

#[test]
fn a_client_that_would_like_another_address_gets_its_own() {
    for wanted in others() {
        let advertise = Packet::new(SOLICIT).wants(&[wanted]).reply();
        assert_eq!(leases(&values(&advertise, 3)[0]), [(own(), 86_400, 86_400)]);
    }
}

#[test]
fn a_request_gets_the_address_and_one_of_another_link_begins_anew() {
    let [near, far] = others();
    for wanted in [vec![], vec![own()], vec![near]] {
        let reply = Packet::to_server(REQUEST).wants(&wanted).reply();
        assert_eq!((reply[0], leases(&values(&reply, 3)[0])), (7, vec![(own(), 86_400, 86_400)]));
    }
    let refused = &values(&Packet::to_server(REQUEST).wants(&[far]).reply(), 3)[0];
    assert_eq!((status(refused, 12), leases(refused)), (Some(NOT_ON_LINK), vec![]));
}

#[test]
fn renew_and_rebind_prolong_the_address_and_end_those_that_are_not_its() {
    let [near, far] = others();
    for packet in [Packet::to_server(RENEW), Packet::new(REBIND)] {
        let reply = packet.clone().wants(&[own()]).reply();
        assert_eq!(leases(&values(&reply, 3)[0]), [(own(), 86_400, 86_400)]);
        let reply = packet.wants(&[near, own(), far]).reply();
        assert_eq!(leases(&values(&reply, 3)[0]), [(own(), 86_400, 86_400), (near, 0, 0), (far, 0, 0)]);
    }
}

#[test]
fn a_confirm_says_whether_the_addresses_are_the_client_s_own_on_this_link() {
    let [near, far] = others();
    let said = |addresses: &[std::net::Ipv6Addr]| {
        let reply = Packet::new(CONFIRM).wants(addresses).reply();
        assert_eq!((reply[0], codes(&reply)), (7, vec![1, 2, 13]));
        status(&reply, 4)
    };
    assert_eq!(said(&[own()]), Some(0));
    assert_eq!(said(&[own(), own()]), Some(0));
    assert_eq!(said(&[near]), Some(NOT_ON_LINK), "its host would drop what it sends from there");
    assert_eq!(said(&[own(), far]), Some(NOT_ON_LINK));
    assert_eq!(Packet::new(CONFIRM).wants(&[]).answer(), None, "there is nothing to confirm");
}

/// A VM that was made of another one's disk has that one's lease and name, and says so from an address of its own.
#[test]
fn a_confirm_of_another_vm_s_lease_is_denied_and_one_from_nobody_s_address_is_not_answered() {
    let mut document = document();
    let mut clone = document.nics[&NicId::from_bytes([1; 16])].clone();
    clone.mac = mac([2, 0, 0x5e, 0, 0, 0x20]);
    clone.address = [10, 1, 1, 77].into();
    clone.address6 = document.guests[&FIRST].prefix6.map(|prefix| prefix.of(clone.mac));
    let from = clone.mac.link_local();
    document.nics.insert(NicId::from_bytes([3; 16]), clone);
    let (table, theirs) = (Table::new(&document), Packet::new(CONFIRM).wants(&[own()]).0);
    let denied = table.answer(FIRST, &theirs, from).unwrap().bytes;
    assert_eq!((codes(&denied), status(&denied, 4)), (vec![1, 2, 13], Some(NOT_ON_LINK)));
    assert_eq!(status(&table.answer(FIRST, &theirs, source()).unwrap().bytes, 4), Some(0));
    // From nobody's address, from a VM's global one, and on a link that the VM is not on.
    for (link, from) in [(FIRST, address("fe80::5eff:fe00:99")), (FIRST, own()), (SECOND, source())] {
        assert_eq!(table.answer(link, &theirs, from), None, "{from}");
    }
}

#[test]
fn a_release_and_a_decline_are_answered_and_change_nothing() {
    for (kind, said) in [(RELEASE, EventKind::Released), (DECLINE, EventKind::Declined)] {
        let answer = Packet::to_server(kind).wants(&[own()]).answer().unwrap();
        assert_eq!((status(&answer.bytes, 4), answer.said), (Some(0), Some(said)));
        let again = Packet::new(SOLICIT).wants(&[]).reply();
        assert_eq!(leases(&values(&again, 3)[0])[0].0, own());
    }
}

#[test]
fn who_asks_only_for_settings_gets_no_address_and_need_not_say_who_it_is() {
    let reply = Packet::new(INFORMATION).option(6, &[0, 24]).reply();
    assert_eq!((reply[0], codes(&reply)), (7, vec![1, 2, 24]));
    assert_eq!(codes(&Packet::bare(INFORMATION).option(6, &[0, 23, 0, 24]).reply()), [2, 23, 24]);
    assert_eq!(codes(&Packet::to_server(INFORMATION).reply()), [1, 2, 23, 24]);
    assert_eq!(Packet::new(INFORMATION).wants(&[]).answer(), None);
    assert_eq!(Packet::new(INFORMATION).option(2, &CLIENT).answer(), None, "to another server");
}

#[test]
fn a_second_address_temporary_ones_and_prefixes_are_refused() {
    let packet = Packet::new(SOLICIT)
        .option(25, &association(12, &[]))
        .wants(&[])
        .wants(&[])
        .option(4, &association(4, &[]));
    let reply = packet.reply();
    assert_eq!(codes(&reply), [1, 2, 7, 25, 3, 3, 4, 23, 24]);
    assert_eq!(status(&values(&reply, 25)[0], 12), Some(6));
    let addresses = values(&reply, 3);
    assert_eq!((leases(&addresses[0]).len(), leases(&addresses[1]).len()), (1, 0));
    assert_eq!(status(&addresses[1], 12), Some(2));
    assert_eq!(status(&values(&reply, 4)[0], 4), Some(2));
}

#[test]
fn what_is_for_another_server_or_for_all_where_it_must_not_be_is_not_answered() {
    for kind in [REQUEST, RENEW, RELEASE, DECLINE] {
        assert_eq!(Packet::new(kind).wants(&[own()]).answer(), None, "{kind} to all");
        assert_eq!(Packet::new(kind).option(2, &CLIENT).wants(&[own()]).answer(), None, "{kind} to another");
    }
    for kind in [SOLICIT, CONFIRM, REBIND] {
        assert_eq!(Packet::to_server(kind).wants(&[own()]).answer(), None, "{kind} to one");
    }
}

#[test]
fn who_does_not_say_who_it_is_gets_no_answer() {
    for kind in [SOLICIT, CONFIRM, REBIND] {
        assert_eq!(Packet::bare(kind).wants(&[own()]).answer(), None, "{kind}");
    }
    for kind in [REQUEST, RENEW, RELEASE, DECLINE] {
        assert_eq!(Packet::bare(kind).option(2, &SERVER).wants(&[own()]).answer(), None, "{kind}");
    }
}

#[test]
fn who_wants_nothing_gets_no_answer() {
    assert_eq!(Packet::new(SOLICIT).answer(), None);
    assert_eq!(Packet::to_server(REQUEST).answer(), None);
}

#[test]
fn messages_of_servers_and_relays_are_not_answered() {
    for kind in [0, 2, 7, 10, 12, 13, 14, 36, 255] {
        for packet in [Packet::new(kind), Packet::to_server(kind)] {
            assert_eq!(packet.wants(&[own()]).answer(), None, "{kind}");
        }
    }
}

#[test]
fn only_known_interfaces_are_answered_each_on_its_own_link() {
    let (table, solicit) = (table(), Packet::new(SOLICIT).wants(&[]).0);
    let second = mac(WEB_SECOND).link_local();
    assert!(table.answer(FIRST, &solicit, source()).is_some());
    let on_second = table.answer(SECOND, &solicit, second).unwrap().bytes;
    assert_eq!(leases(&values(&on_second, 3)[0])[0].0, address("2001:db8:64:11:0:5eff:fe00:11"));
    assert_eq!(values(&on_second, 2)[0][9], 2, "each link has a server of its own");
    let stranger = address("fe80::5eff:fe00:66");
    for (link, from) in [(FIRST, second), (SECOND, source()), (FIRST, stranger), (FIRST, own())] {
        assert_eq!(table.answer(link, &solicit, from), None, "{from}");
        assert_eq!(table.owner(link, from), None, "{from}");
    }
    assert_eq!(table.owner(FIRST, source()), Some(mac(WEB)));
}

#[test]
fn a_network_without_ipv6_answers_nobody() {
    let mut without = document();
    without.guests.get_mut(&FIRST).unwrap().prefix6 = None;
    without.nics.values_mut().filter(|nic| nic.network == FIRST).for_each(|nic| nic.address6 = None);
    let table = Table::new(&without);
    assert_eq!(table.answer(FIRST, &Packet::new(SOLICIT).wants(&[]).0, source()), None);
    assert!(table.owner(SECOND, mac(WEB_SECOND).link_local()).is_some());
}

#[test]
fn the_client_s_own_words_come_back_as_they_were() {
    let longest = vec![7; 130];
    let reply = Packet::bare(SOLICIT).option(1, &longest).wants(&[]).reply();
    assert_eq!((values(&reply, 1)[0].as_slice(), &reply[1..4]), (&longest[..], &[0xab, 0xcd, 0xef][..]));
    assert_eq!(values(&reply, 3)[0][..4], super::packet::IA_ID);
    assert_eq!(options(&reply[4..]).len(), 6);
}
