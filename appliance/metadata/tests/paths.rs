//! What a VM gets under each family of paths.

mod sample;

use http::Method;
use podzol_appliance_metadata::{Facts, TokenKey};
use sample::{BARE, WEB, ask, document, get, got, network, served, text, vm};

fn check(path: &str, expected: &str) {
    assert_eq!(got(WEB, path), (200, expected.to_owned()), "{path}");
}

#[test]
fn nocloud_gives_meta_data_and_the_owners_user_data() {
    let id = vm(1);
    check(
        "/nocloud/meta-data",
        &format!(
            r#"{{"instance-id":"{id}","local-hostname":"web","public-keys":["ssh-ed25519 AAAA ann","ssh-ed25519 BBBB bob"]}}"#
        ),
    );
    check("/nocloud/user-data", "#!/bin/sh\necho hunter2\n");
    check("/nocloud/vendor-data", "");
}

#[test]
fn nocloud_makes_a_cloud_config_where_there_is_no_user_data() {
    let made = "#cloud-config\n{\"hostname\":\"bare\",\"ssh_authorized_keys\":[]}\n";
    assert_eq!(got(BARE, "/nocloud/user-data"), (200, made.to_owned()));
}

#[test]
fn nocloud_has_all_interfaces_and_a_gateway_for_the_primary_one_only() {
    check(
        "/nocloud/network-config",
        concat!(
            r#"{"ethernets":{"nic0":{"addresses":["10.1.1.5/24"],"gateway4":"10.1.1.1","#,
            r#""match":{"macaddress":"02:00:00:00:00:01"},"mtu":1430,"#,
            r#""nameservers":{"addresses":["10.1.1.1"],"search":["net-1.example.internal"]}},"#,
            r#""nic1":{"addresses":["10.1.2.5/24"],"match":{"macaddress":"02:00:00:00:00:03"},"mtu":1430,"#,
            r#""nameservers":{"addresses":["10.1.2.1"],"search":["net-2.example.internal"]}}},"version":2}"#,
        ),
    );
}

#[test]
fn nocloud_has_dhcp_for_an_interface_that_has_an_address_of_ipv6() {
    let mut document = document();
    let prefix: podzol_vocab::Prefix64 = "2001:db8:64:10::/64".parse().unwrap();
    document.guests.get_mut(&network(1)).unwrap().prefix6 = Some(prefix);
    let of_first = document.nics.values_mut().filter(|nic| nic.network == network(1));
    of_first.for_each(|nic| nic.address6 = Some(prefix.of(nic.mac)));
    let facts = Facts::new(&document, TokenKey::new(&[7; 32]));
    let text = text(&ask(&facts, (1, WEB), &Method::GET, "/nocloud/network-config", &[]));
    assert!(
        text.contains(r#"{"nic0":{"addresses":["10.1.1.5/24"],"dhcp6":true,"gateway4":"10.1.1.1","#),
        "{text}"
    );
    assert_eq!(text.matches("dhcp6").count(), 1, "{text}");
}

#[test]
fn cloudstack_leaves_are_under_latest_and_1_0_with_and_without_meta_data() {
    let id = vm(1).to_string();
    for (leaf, expected) in [
        ("service-offering", "small"),
        ("availability-zone", "oslo"),
        ("local-ipv4", "10.1.1.5"),
        ("local-hostname", "web"),
        ("public-ipv4", "203.0.113.6"),
        ("public-hostname", "203.0.113.6"),
        ("instance-id", &id),
        ("vm-id", &id),
        ("public-keys", "ssh-ed25519 AAAA ann\nssh-ed25519 BBBB bob"),
        ("cloud-identifier", "podzol"),
    ] {
        for base in ["/latest/meta-data", "/1.0/meta-data", "/latest", "/1.0"] {
            check(&format!("{base}/{leaf}"), expected);
        }
    }
    check("/latest/user-data", "#!/bin/sh\necho hunter2\n");
    check("/1.0/user-data", "#!/bin/sh\necho hunter2\n");
}

#[test]
fn keys_are_a_list_with_a_slash_or_under_a_date_and_text_without_both() {
    let (list, keys) = ("0=key-0\n1=key-1", "ssh-ed25519 AAAA ann\nssh-ed25519 BBBB bob");
    check("/latest/meta-data/public-keys", keys);
    check("/latest/meta-data/public-keys/", list);
    check("/2009-04-04/meta-data/public-keys", list);
    check("/2009-04-04/meta-data/public-keys/", list);
    check("/latest/meta-data/public-keys/1/", "openssh-key");
    check("/latest/meta-data/public-keys/1/openssh-key", "ssh-ed25519 BBBB bob");
    for wrong in ["2", "00", "-1", "key-0"] {
        assert_eq!(got(WEB, &format!("/latest/meta-data/public-keys/{wrong}/openssh-key")).0, 404);
    }
}

#[test]
fn the_root_lists_versions_and_each_has_the_same_tree() {
    let versions = got(WEB, "/").1;
    assert!(versions.starts_with("1.0\n2007-01-19\n") && versions.ends_with("\n2021-03-23\nlatest"));
    for version in versions.lines() {
        check(&format!("/{version}/"), "dynamic/\nmeta-data/\nuser-data");
        check(&format!("/{version}/meta-data/instance-type"), "small");
    }
    assert_eq!(got(WEB, "/2009-04-05/meta-data/").0, 404);
}

#[test]
fn directories_are_lists_with_or_without_a_slash_and_leaves_have_none() {
    let list = "availability-zone\ncloud-identifier\nhostname\ninstance-id\ninstance-type\nlocal-hostname\n\
        local-ipv4\nmac\nnetwork/\nplacement/\npublic-hostname\npublic-ipv4\npublic-keys/\nservice-offering\nvm-id";
    check("/latest/meta-data/", list);
    check("/latest/meta-data", list);
    check("//latest//meta-data//instance-type", "small");
    assert_eq!(got(WEB, "/latest/meta-data/instance-type/").0, 404);
    assert_eq!(got(WEB, "/latest/meta-data/instance-type/more").0, 404);
}

#[test]
fn every_name_in_a_list_is_there() {
    let mut to_visit = vec!["/2021-03-23/".to_owned()];
    while let Some(path) = to_visit.pop() {
        let (status, list) = got(WEB, &path);
        assert_eq!(status, 200, "{path}");
        if path.ends_with('/') {
            let name =
                |line: &str| line.split_once('=').map_or(line.to_owned(), |(key, _)| format!("{key}/"));
            to_visit.extend(list.lines().map(|line| format!("{path}{}", name(line))));
        }
    }
}

#[test]
fn ec2_gives_each_interface_by_its_mac_address() {
    let base = "/2021-03-23/meta-data/network/interfaces/macs/";
    check("/2021-03-23/meta-data/mac", "02:00:00:00:00:01");
    check(base, "02:00:00:00:00:01/\n02:00:00:00:00:03/");
    check(&format!("{base}02:00:00:00:00:01/device-number"), "0");
    check(&format!("{base}02:00:00:00:00:01/public-ipv4s"), "203.0.113.6");
    check(&format!("{base}02%3A00%3a00:00:00:03/device-number"), "1");
    check(&format!("{base}02:00:00:00:00:03/local-ipv4s"), "10.1.2.5");
    check(&format!("{base}02:00:00:00:00:03/subnet-ipv4-cidr-block"), "10.1.2.0/24");
    assert_eq!(got(WEB, &format!("{base}02:00:00:00:00:03/public-ipv4s")).0, 404);
}

#[test]
fn ec2_gives_names_the_zone_and_the_identity_document() {
    check("/latest/meta-data/hostname", "web.net-1.example.internal");
    check("/latest/meta-data/placement/availability-zone", "oslo");
    check("/latest/dynamic/instance-identity", "document");
    let document = got(WEB, "/latest/dynamic/instance-identity/document").1;
    assert!(document.starts_with('{') && document.contains(&format!("\"instanceId\": \"{}\"", vm(1))));
}

#[test]
fn what_a_vm_has_not_is_404_and_in_no_list() {
    assert_eq!(got(BARE, "/latest/user-data").0, 404);
    assert_eq!(got(BARE, "/latest/"), (200, "dynamic/\nmeta-data/".to_owned()));
    assert_eq!(got(BARE, "/latest/meta-data/public-keys/").0, 404);
    assert_eq!(got(BARE, "/latest/meta-data/public-keys"), (200, String::new()));
    assert_eq!(got(BARE, "/latest/meta-data/public-ipv4"), (200, "203.0.113.5".to_owned()));
    let elsewhere = ask(&served(), (2, sample::SECOND), &Method::GET, "/latest/meta-data/public-ipv4", &[]);
    assert_eq!(elsewhere.status, 404);
}

#[test]
fn only_get_and_head_read() {
    let asked = |method: &Method| ask(&served(), (1, WEB), method, "/latest/meta-data/mac", &[]);
    assert_eq!(asked(&Method::HEAD), asked(&Method::GET));
    for method in [Method::PUT, Method::POST, Method::DELETE, Method::OPTIONS] {
        assert_eq!(asked(&method).status, 405, "{method}");
    }
}

#[test]
fn bad_paths_are_refused_and_dots_lead_nowhere() {
    for (path, status) in
        [("/latest/%zz", 400), ("latest", 400), ("/..%2flatest", 404), ("/a/../latest", 404)]
    {
        assert_eq!(got(WEB, path).0, status, "{path}");
    }
    assert_eq!(got(WEB, &format!("/{}", "a".repeat(1024))).0, 414);
}

#[test]
fn a_response_is_printed_without_its_body() {
    let response = get(WEB, "/latest/user-data");
    assert!(text(&response).contains("hunter2"));
    assert!(!format!("{response:?} {:?}", served()).contains("hunter2"));
}
