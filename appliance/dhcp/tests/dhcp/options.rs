//! The options of replies: RFC 2132, 3046, 3397, 3442 and 6842.

use podzol_appliance_dhcp::{Reply, Table};

use crate::packet::{DISCOVER, INFORM, Packet, REQUEST, codes, decoded, parts, value};
use crate::world::{
    ADDRESS, FIRST, GATEWAY, NOBODY, SECOND, SECOND_ADDRESS, SECOND_GATEWAY, WEB_SECOND, answer, document,
    reply, reply_of, table,
};

const ALL: [u8; 10] = [1, 3, 6, 12, 15, 26, 28, 42, 119, 121];

fn second(packet: &Packet) -> Reply {
    reply_of(table().answer(SECOND, &packet.clone().from(WEB_SECOND).bytes(), NOBODY))
}

#[test]
fn a_client_without_a_list_gets_the_usual_options() {
    assert_eq!(codes(&reply(&Packet::new(DISCOVER))), [53, 54, 51, 58, 59, 1, 26, 3, 6, 12, 15, 28]);
}

#[test]
fn a_client_with_a_list_gets_what_it_wants_once_after_what_it_must_have() {
    let offer = reply(&Packet::new(DISCOVER).option(55, &[15, 6, 15, 1, 54, 200, 42, 6]));
    assert_eq!(codes(&offer), [53, 54, 51, 58, 59, 1, 26, 15, 6]);
}

#[test]
fn gateway_and_name_server_are_the_router() {
    let offer = reply(&Packet::new(DISCOVER));
    for code in [3, 6, 54] {
        assert_eq!(value(&offer, code).unwrap(), GATEWAY.octets());
    }
}

#[test]
fn time_servers_are_never_sent() {
    assert!(!codes(&reply(&Packet::new(DISCOVER).option(55, &ALL))).contains(&42));
}

#[test]
fn classless_routes_lead_to_metadata_and_everywhere() {
    let offer = reply(&Packet::new(DISCOVER).option(55, &[121]));
    let metadata = [32, 169, 254, 169, 254, 10, 1, 1, 1];
    let default = [0, 10, 1, 1, 1];
    assert_eq!(value(&offer, 121).unwrap(), [&metadata[..], &default].concat());
    assert_eq!(value(&reply(&Packet::new(DISCOVER)), 121), None);
}

#[test]
fn a_secondary_interface_gets_no_way_to_the_outside() {
    let offer = second(&Packet::new(DISCOVER).option(55, &ALL));
    assert_eq!(decoded(&offer).yiaddr(), SECOND_ADDRESS);
    assert_eq!(value(&offer, 3), None);
    assert_eq!(value(&offer, 121).unwrap(), [32, 169, 254, 169, 254, 10, 2, 0, 1]);
    assert_eq!(value(&offer, 6).unwrap(), SECOND_GATEWAY.octets());
    assert_eq!(value(&second(&Packet::new(DISCOVER)), 3), None);
}

#[test]
fn mask_and_broadcast_address_are_the_networks() {
    let offer = second(&Packet::new(DISCOVER));
    assert_eq!(value(&offer, 1).unwrap(), [255, 255, 240, 0]);
    assert_eq!(value(&offer, 28).unwrap(), [10, 2, 15, 255]);
}

#[test]
fn the_search_domain_is_written_as_dns_labels() {
    let offer = reply(&Packet::new(DISCOVER).option(55, &[119]));
    assert_eq!(value(&offer, 119).unwrap(), b"\x05net-1\x07example\x08internal\0");
}

#[test]
fn the_client_identifier_comes_back_in_every_reply() {
    let id = [0, b'i', b'd'];
    let packets =
        [Packet::new(DISCOVER), Packet::new(REQUEST).requested(GATEWAY), Packet::new(INFORM).ciaddr(ADDRESS)];
    for packet in packets {
        assert_eq!(value(&reply(&packet.option(61, &id)), 61).unwrap(), id);
    }
}

#[test]
fn what_a_relay_added_comes_back_last_byte_for_byte() {
    // Two suboptions of the same number, out of order, and one that is cut short: none of our business.
    let relay = [2, 1, 9, 1, 1, 7, 1, 1, 8, 5, 200];
    for packet in [Packet::new(DISCOVER), Packet::new(REQUEST).requested(GATEWAY)] {
        let reply = reply(&packet.option(82, &relay).option(61, b"id"));
        assert_eq!(parts(&reply).pop().unwrap(), (82, relay.to_vec()));
    }
}

#[test]
fn an_option_in_two_parts_is_read_as_one() {
    let offer =
        reply(&Packet::new(DISCOVER).option(55, &[15]).option(61, b"a").option(55, &[6]).option(61, b"b"));
    assert_eq!(codes(&offer), [53, 54, 51, 58, 59, 1, 26, 15, 6, 61]);
    assert_eq!(value(&offer, 61).unwrap(), b"ab");
}

#[test]
fn replies_have_300_bytes_at_least() {
    assert_eq!(reply(&Packet::new(REQUEST).requested(GATEWAY)).bytes.len(), 300);
}

#[test]
fn the_largest_packet_is_what_the_client_says_less_the_headers_but_576_at_least() {
    let id = [7; 200];
    let sized = |size: Option<u16>| {
        let packet = Packet::new(DISCOVER).option(55, &[15, 12, 28, 6, 119, 121, 3]).option(61, &id);
        let packet = match size {
            Some(size) => packet.option(57, &size.to_be_bytes()),
            None => packet,
        };
        reply(&packet)
    };
    let whole = codes(&sized(Some(1500)));
    assert_eq!(whole.len(), 15);
    for size in [None, Some(0), Some(300), Some(576)] {
        let offer = sized(size);
        assert!(offer.bytes.len() <= 548, "{size:?}");
        assert!(!codes(&offer).contains(&119), "{size:?}");
    }
    for size in 576..1500 {
        assert!(sized(Some(size)).bytes.len() <= usize::from(size) - 28);
    }
}

#[test]
fn the_least_important_options_go_first_when_there_is_no_room() {
    let dropped = |id: usize| {
        let packet = Packet::new(DISCOVER).option(55, &[15, 12, 28, 6, 119, 121, 3]).option(61, &vec![7; id]);
        let there = codes(&reply(&packet));
        let all = [119, 28, 15, 12, 59, 58, 6, 26, 3, 121];
        all.into_iter().filter(|code| !there.contains(code)).collect::<Vec<u8>>()
    };
    // Every shorter list is the beginning of every longer one.
    let lists: Vec<Vec<u8>> = (100..=255).map(dropped).collect();
    assert!(lists.windows(2).all(|pair| pair[1].starts_with(&pair[0])));
    assert!(lists[0].is_empty());
    assert_eq!(lists[lists.len() - 1], [119, 28, 15, 12, 59, 58, 6]);
}

#[test]
fn a_relay_whose_information_does_not_fit_gets_no_answer_rather_than_one_without() {
    let packet = Packet::new(DISCOVER).option(61, &[7; 200]).option(82, &[9; 120]);
    assert_eq!(answer(&packet), None);
    assert!(answer(&packet.option(57, &[5, 0xdc])).is_some());
}

#[test]
fn no_packet_is_larger_than_the_networks_mtu() {
    let mut document = document();
    document.guests.get_mut(&FIRST).unwrap().mtu = 600;
    let packet = Packet::new(DISCOVER).option(57, &[5, 0xdc]).option(61, &[7; 250]).option(55, &ALL).bytes();
    let offer = reply_of(Table::new(&document).answer(FIRST, &packet, NOBODY));
    assert!(offer.bytes.len() <= 600 - 28);
}
