//! What is refused, and what is shown of the rest.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;

/// In November 2026.
pub(super) const NOW: Timestamp = Timestamp(1_795_366_800_000);

const CERTIFICATES: &str = "tls.certificates";
const KEY: &str = "tls.key";

/// Certificates and a key, for one who brings them.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) certificates: String,
    pub(super) key: Secret<String>,
}

impl Pair {
    pub(super) fn brought(&self) -> Brought<'_> {
        let fields = Fields { certificates: CERTIFICATES, key: KEY };
        Brought { certificates: &self.certificates, key: &self.key, fields }
    }
}

pub(super) fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    params
}

pub(super) fn own(params: &CertificateParams) -> Pair {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Pair { certificates: certificate.pem(), key: Secret::new(key.serialize_pem()) }
}

#[track_caller]
fn refused(pair: &Pair, field: &str, rule: &str) {
    let error = checked(&pair.brought(), NOW).unwrap_err().to_string();
    assert!(error.starts_with(field) && error.contains(rule), "{error}");
    assert!(!error.contains("PRIVATE"), "{error}");
}

#[test]
fn a_good_one_is_shown_with_its_names_and_its_end() {
    let shown = checked(&own(&params(&["www.example", "192.0.2.7"])).brought(), NOW).unwrap();
    assert_eq!(shown.names, ["www.example", "192.0.2.7"]);
    assert_eq!(shown.expires_at.to_string(), "2027-01-01T00:00:00.000Z");
}

#[test]
fn one_without_names_is_shown_by_its_common_name() {
    let mut nameless = params(&[]);
    nameless.distinguished_name.push(DnType::CommonName, "old.example");
    assert!(checked(&own(&nameless).brought(), NOW).unwrap().names.contains(&"old.example".to_owned()));
}

#[test]
fn one_that_is_out_of_its_time_is_refused_with_that_time() {
    let mut old = params(&["www.example"]);
    old.not_after = rcgen::date_time_ymd(2026, 6, 1);
    refused(
        &own(&old),
        CERTIFICATES,
        "must not have run out: one did at 2026-06-01T00:00:00.000Z (number 1)",
    );
    let mut early = params(&["www.example"]);
    early.not_before = rcgen::date_time_ymd(2026, 12, 31);
    refused(&own(&early), CERTIFICATES, "one is from 2026-12-31");
}

/// Made by openssl(1) for a hundred years; haproxy refuses both.
#[test]
fn what_tls_libraries_take_no_more_is_refused_before_a_router_does_so() {
    let at = Timestamp(2_000_000_000_000);
    for (certificates, rule) in [
        (include_str!("short-rsa.pem"), "must have keys of 2048 bits or more"),
        (include_str!("signed-with-sha1.pem"), "with SHA-256 or a longer hash"),
    ] {
        let tls = Pair { certificates: certificates.into(), key: Secret::new(String::new()) };
        let error = checked(&tls.brought(), at).unwrap_err().to_string();
        assert!(error.starts_with(CERTIFICATES) && error.contains(rule), "{error}");
    }
}

#[test]
fn the_key_is_the_certificates_own() {
    let (one, other) = (own(&params(&["www.example"])), own(&params(&["www.example"])));
    refused(&Pair { key: other.key, ..one.clone() }, KEY, "must be that of the first certificate");
    refused(&Pair { key: Secret::new("x".into()), ..one.clone() }, KEY, "must be one private key");
    let swapped = Pair { certificates: one.key.expose().clone(), key: Secret::new(one.certificates.clone()) };
    refused(&swapped, CERTIFICATES, "must be certificates as PEM");
    let both = format!("{}{}", one.certificates, one.key.expose());
    refused(&Pair { certificates: both, ..one.clone() }, CERTIFICATES, "and nothing else");
    let torn = one.certificates.replace("MII", "MI");
    refused(&Pair { certificates: torn, ..one }, CERTIFICATES, "must be");
}

#[test]
fn a_chain_is_in_order_and_ends_with_the_first_that_does() {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = params(&[]);
    authority.distinguished_name.push(DnType::CommonName, "Authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.not_after = rcgen::date_time_ymd(2026, 12, 24);
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::from_params(&authority, &authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = params(&["www.example"]).signed_by(&key, &issuer).unwrap().pem();
    let key = Secret::new(key.serialize_pem());

    let chain = Pair { certificates: format!("{leaf}{authority_pem}"), key: key.clone() };
    assert_eq!(checked(&chain.brought(), NOW).unwrap().expires_at.to_string(), "2026-12-24T00:00:00.000Z");
    let stranger = own(&params(&["other.example"])).certificates;
    let chain = Pair { certificates: format!("{leaf}{stranger}"), key };
    refused(&chain, CERTIFICATES, "number 2 is not of number 1's");
}
