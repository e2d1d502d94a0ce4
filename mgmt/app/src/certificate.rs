//! Certificates of others, for balancers of HTTP and for consoles: whether those take them who show them, and clients would.
//!
//! All is looked at when a certificate is given, so that no router or console proxy refuses a document because of one.
//! Whether anybody trusts who has issued it is the affair of who brings it. One that runs out later stays in force: who sees
//! a certificate that has run out knows what to do, and who finds a closed port does not.

mod wildcard;

use std::net::IpAddr;

use podzol_appliance_api::Termination;
use podzol_mgmt_api::Timestamp;
use podzol_mgmt_api::load_balancer::Certificate;
use podzol_rpc::identity::certificates;
use podzol_rpc::peer::fingerprint;
use podzol_vocab::Secret;
use rustls_pki_types::CertificateDer;
use x509_parser::oid_registry::{
    OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA,
    OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512, OID_SIG_ED25519, Oid,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Version};
use x509_parser::public_key::PublicKey;

use crate::AppError;

pub use wildcard::{Wildcard, checked_wildcard, renewal_at};

/// The shortest keys of RSA in bits: TLS libraries take no shorter ones any more.
const RSA_BITS: usize = 2048;

/// The kinds of signatures that haproxy's TLS library takes as Debian sets it up: none with a hash that can be forged.
const SIGNATURES: [Oid<'static>; 8] = [
    OID_PKCS1_RSASSAPSS,
    OID_PKCS1_SHA256WITHRSA,
    OID_PKCS1_SHA384WITHRSA,
    OID_PKCS1_SHA512WITHRSA,
    OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384,
    OID_SIG_ECDSA_WITH_SHA512,
    OID_SIG_ED25519,
];

/// Certificates and a key, as somebody has brought them.
#[derive(Debug, Clone, Copy)]
pub struct Brought<'a> {
    /// The certificate and those between it and its authority, in this order, as PEM.
    pub certificates: &'a str,
    /// The certificate's private key as PEM.
    pub key: &'a Secret<String>,
    /// What the fields are called in which they came.
    pub fields: Fields,
}

/// What fields are called, for who has filled them.
#[derive(Debug, Clone, Copy)]
pub struct Fields {
    /// That of the certificates.
    pub certificates: &'static str,
    /// That of the key.
    pub key: &'static str,
}

/// A certificate as it is shown, if it and its key are good at a time.
///
/// # Errors
/// The first rule that is broken, with its field. No part of the key is in it.
pub fn checked(brought: &Brought<'_>, now: Timestamp) -> Result<Certificate, AppError> {
    let chain = brought.chain()?;
    let parsed = brought.parsed(&chain)?;
    for (number, certificate) in (1..).zip(&parsed) {
        must_be_good(number, certificate, now).map_err(|rule| brought.refused(rule))?;
    }
    must_be_in_order(&parsed).map_err(|rule| brought.refused(rule))?;
    let termination = Termination { certificates: brought.certificates.to_owned(), key: brought.key.clone() };
    match termination.problem() {
        Some(("key", rule)) => return Err(AppError::invalid(brought.fields.key, rule)),
        Some((_, rule)) => return Err(brought.refused(rule)),
        None => {}
    }
    let (Some(first), Some(der)) = (parsed.first(), chain.first()) else {
        return Err(brought.refused("must be at least one certificate"));
    };
    let ends = parsed.iter().map(|certificate| certificate.validity().not_after.timestamp());
    Ok(Certificate {
        names: names(first),
        sha256: fingerprint(der),
        expires_at: Timestamp(ends.min().unwrap_or_default().saturating_mul(1000)),
    })
}

impl Brought<'_> {
    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, AppError> {
        let chain = certificates(self.certificates, "the certificate");
        chain.map_err(|_| self.refused("must be certificates as PEM and nothing else"))
    }

    fn parsed<'c>(&self, chain: &'c [CertificateDer<'_>]) -> Result<Vec<X509Certificate<'c>>, AppError> {
        let parsed =
            chain.iter().map(|der| X509Certificate::from_der(der).map(|(_, certificate)| certificate));
        parsed.collect::<Result<_, _>>().map_err(|_| self.refused("must be X.509 certificates"))
    }

    fn refused(&self, rule: impl Into<String>) -> AppError {
        AppError::invalid(self.fields.certificates, rule)
    }
}

/// Refuses a certificate, the so manyth of its chain, that clients or the router refuse.
fn must_be_good(number: usize, certificate: &X509Certificate<'_>, now: Timestamp) -> Result<(), String> {
    let refused = |what: String| Err(format!("{what} (number {number})"));
    let validity = certificate.validity();
    let at = |time: x509_parser::time::ASN1Time| Timestamp(time.timestamp().saturating_mul(1000));
    let (begins, ends) = (at(validity.not_before), at(validity.not_after));
    if now >= ends {
        return refused(format!("must not have run out: one did at {ends}"));
    }
    if now < begins {
        return refused(format!("must be valid by now: one is from {begins} on"));
    }
    if certificate.version() != X509Version::V3 {
        return refused("must be certificates of version 3".into());
    }
    // Nobody asks how an authority has signed its own.
    let is_own = certificate.issuer().as_raw() == certificate.subject().as_raw();
    if !is_own && !SIGNATURES.contains(&certificate.signature_algorithm.algorithm) {
        return refused("must be signed by RSA, ECDSA or Ed25519, with SHA-256 or a longer hash".into());
    }
    if let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed()
        && key.key_size() < RSA_BITS
    {
        return refused(format!("must have keys of {RSA_BITS} bits or more, if of RSA"));
    }
    Ok(())
}

fn must_be_in_order(chain: &[X509Certificate<'_>]) -> Result<(), String> {
    let follows = |pair: &[X509Certificate<'_>]| pair[0].issuer().as_raw() == pair[1].subject().as_raw();
    match chain.windows(2).position(|pair| !follows(pair)) {
        None => Ok(()),
        Some(place) => {
            let (one, next) = (place + 1, place + 2);
            Err(format!(
                "must each be followed by that of its issuer, but number {next} is not of number {one}'s"
            ))
        }
    }
}

/// The names and addresses that a certificate is for.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternative.iter().flat_map(|names| &names.value.general_names);
    let names: Vec<String> = alternative.filter_map(name).collect();
    if !names.is_empty() {
        return names;
    }
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    common.map(str::to_owned).collect()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| v6()).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
