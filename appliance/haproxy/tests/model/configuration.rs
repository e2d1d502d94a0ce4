use podzol_appliance_api::{CookieName, Document, Method};
use podzol_appliance_haproxy::{Folder, Model};

use crate::{PLAIN, SECURE, change, document, model, nic};

fn text(document: &Document) -> String {
    model(document).config(&"/run/x".parse().unwrap(), 500).text
}

#[test]
fn a_document_becomes_this_text() {
    let mut document = document();
    change(&mut document, nic(3), |member| member.drains = true);
    let model = Model::of(&document, &[(SECURE, nic(4))].into());
    let config = model.config(&"/run/x".parse().unwrap(), 500);
    assert_eq!(config.text, include_str!("golden.cfg"));
    let [certificate] = config.certificates.as_slice() else { panic!("one has TLS") };
    assert_eq!(certificate.path, format!("/run/x/{SECURE}.pem"));
    assert_eq!(certificate.pem.expose(), "A CHAIN\nA KEY\n");
}

#[test]
fn a_key_is_neither_in_the_text_nor_in_what_is_printed() {
    let model = model(&document());
    let config = model.config(&"/run/x".parse().unwrap(), 1);
    assert!(!config.text.contains("A KEY"));
    assert!(!format!("{model:?} {config:?}").contains("A KEY"));
}

/// Every text that a document can bring into the configuration: what its type takes has nothing that ends a word or a line.
#[test]
fn no_text_of_a_document_can_add_a_word_or_a_line() {
    let plain = text(&document());
    let count = |text: &str| (text.lines().count(), text.split_whitespace().count());
    let hostile = [
        "x dynamic",
        "x\n  server evil 192.0.2.1:80",
        "x\rserver",
        "x\tserver",
        "\"x",
        "x'",
        "x\\",
        "${HOME}",
        "x#",
        "%[env(PATH)]",
        "\u{85}x",
        "\u{2028}x",
    ];
    let mut json = serde_json::to_value(document()).unwrap();
    for text in hostile {
        assert!(text.parse::<CookieName>().is_err(), "{text:?}");
        assert!(format!("/run/{text}").parse::<Folder>().is_err(), "{text:?}");
        for field in ["cookie", "public", "method"] {
            json["http_balancers"][SECURE.to_string()][field] = text.into();
            assert!(serde_json::from_value::<Document>(json.clone()).is_err(), "{field} {text:?}");
        }
        json = serde_json::to_value(document()).unwrap();
        // Certificates and keys go into a file of their own, and only its path into the text.
        let tls = &mut json["http_balancers"][SECURE.to_string()]["tls"];
        tls["certificates"] = text.into();
        tls["key"] = text.into();
        let read: Document = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(count(&self::text(&read)), count(&plain), "{text:?}");
        json = serde_json::to_value(document()).unwrap();
    }
}

#[test]
fn each_method_is_haproxy_s() {
    for (method, expected) in [
        (Method::RoundRobin, "balance roundrobin"),
        (Method::SourceHash, "balance source\n  hash-type consistent"),
        (Method::LeastLoad, "balance leastconn"),
    ] {
        let mut document = document();
        document.http_balancers.get_mut(&PLAIN).unwrap().method = method;
        assert!(text(&document).contains(expected), "{expected}");
    }
}

#[test]
fn a_folder_is_absolute() {
    assert!("run/x".parse::<Folder>().is_err());
    assert_eq!("/run/x-1_2.3".parse::<Folder>().unwrap().as_str(), "/run/x-1_2.3");
}
