//! Certificates of customers, each for a name and with a key of its own.

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

/// A certificate for a name that nobody else has signed, and its key, as a balancer of HTTP is given them.
///
/// # Panics
/// When the name is none.
pub fn certificate(name: &str) -> Value {
    certificate_until(name, 2999)
}

/// As [`certificate`], until a year begins.
///
/// # Panics
/// When the name is none.
pub fn certificate_until(name: &str, year: i32) -> Value {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("it is a name");
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().expect("there is chance enough");
    let certificate = params.self_signed(&key).expect("a key signs its own certificate");
    json!({ "certificates": certificate.pem(), "key": key.serialize_pem() })
}
