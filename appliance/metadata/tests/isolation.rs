//! Nobody gets another VM's data.

mod sample;

use http::Method;
use podzol_appliance_metadata::{Facts, TokenKey};
use sample::{
    BARE, NOW, SECOND, WEB, add_nic, ask, document, facts, get, header_map, network, served, text, vm,
};

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";

#[test]
fn each_vm_gets_its_own_data() {
    for (address, name) in [(WEB, "web"), (BARE, "bare")] {
        assert_eq!(text(&get(address, "/latest/meta-data/local-hostname")), name);
    }
    let macs = "/latest/meta-data/network/interfaces/macs/02:00:00:00:00:01/mac";
    assert_eq!((get(WEB, macs).status.as_u16(), get(BARE, macs).status.as_u16()), (200, 404));
}

#[test]
fn who_is_no_vm_gets_404_for_everything() {
    let stranger = "10.1.1.9".parse().unwrap();
    for path in ["/", "/latest/meta-data/", "/nocloud/meta-data", "/latest/api/token", "bad"] {
        for method in [Method::GET, Method::PUT, Method::POST] {
            assert_eq!(ask(&served(), (1, stranger), &method, path, &[(TTL, "60")]).status, 404, "{path}");
        }
    }
}

#[test]
fn an_address_of_another_network_is_nobody() {
    assert_eq!(ask(&served(), (2, WEB), &Method::GET, "/", &[]).status, 404);
    assert_eq!(ask(&served(), (1, SECOND), &Method::GET, "/", &[]).status, 404);
    assert_eq!(ask(&served(), (2, SECOND), &Method::GET, "/", &[]).status, 200);
}

#[test]
fn the_same_address_in_two_networks_is_two_vms() {
    let mut document = document();
    document.vms.insert(vm(9), facts("twin"));
    add_nic(&mut document, 9, (9, 2), WEB);
    let served = Facts::new(&document, TokenKey::new(&[7; 32]));
    let name = |network| text(&ask(&served, (network, WEB), &Method::GET, "/latest/local-hostname", &[]));
    assert_eq!((name(1), name(2)), ("web".to_owned(), "twin".to_owned()));
}

#[test]
fn a_token_is_for_its_own_vm_only_and_not_needed() {
    let served = served();
    let given = ask(&served, (1, WEB), &Method::PUT, "/latest/api/token", &[(TTL, "60")]);
    assert_eq!(given.status, 200);
    assert_eq!(given.headers, [(TTL.parse().unwrap(), "60".parse().unwrap())]);
    let token = text(&given);
    let with =
        |from, token: &str| ask(&served, (1, from), &Method::GET, "/nocloud/meta-data", &[(TOKEN, token)]);
    assert_eq!(with(WEB, &token).status, 200);
    assert_eq!(with(BARE, &token).status, 401);
    assert_eq!(with(WEB, "wrong").status, 401);
    assert_eq!(ask(&served, (2, SECOND), &Method::GET, "/", &[(TOKEN, &token)]).status, 200);
}

#[test]
fn a_token_expires() {
    let served = served();
    let token = text(&ask(&served, (1, WEB), &Method::PUT, "/latest/api/token", &[(TTL, "60")]));
    let headers = header_map(&[(TOKEN, &token)]);
    let request = podzol_appliance_metadata::Request { method: &Method::GET, path: "/", headers: &headers };
    let after =
        |secs| served.answer(network(1), WEB, &request, NOW + std::time::Duration::from_secs(secs)).status;
    assert_eq!((after(59).as_u16(), after(60).as_u16()), (200, 401));
    assert!(!format!("{request:?}").contains(&token));
}

#[test]
fn a_token_is_refused_to_proxies_and_without_a_good_time_to_live() {
    let put =
        |headers: &[_]| ask(&served(), (1, WEB), &Method::PUT, "/latest/api/token", headers).status.as_u16();
    assert_eq!(put(&[(TTL, "60"), ("x-forwarded-for", "10.1.1.6")]), 403);
    assert_eq!(put(&[]), 400);
    assert_eq!(put(&[(TTL, "0")]), 400);
    assert_eq!(put(&[(TTL, "21601")]), 400);
    assert_eq!(ask(&served(), (1, WEB), &Method::GET, "/latest/api/token", &[]).status, 405);
}
