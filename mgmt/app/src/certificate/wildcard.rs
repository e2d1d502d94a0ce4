//! The certificate that console proxies show: for all names directly below the console domain.
//!
//! ```text
//!   made by the installation's own authority ── two thirds of its life ─▶ made anew, with a new key
//!   brought by an operator ── looked at ─▶ shown as it is
//! ```
//! It proves to browsers whom they have reached, and nothing to parts of Podzol: it holds none of their names and is good for
//! servers alone, so who has its key can neither call anybody nor answer for anybody else.

use podzol_mgmt_api::Timestamp;
use podzol_mgmt_api::load_balancer::Certificate;
use podzol_vocab::{DomainName, Secret};
use rcgen::{ExtendedKeyUsagePurpose, KeyPair};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::{Brought, checked};
use crate::AppError;
use crate::authority::{Authority, AuthorityError, CLOCK_SKEW, leaf};

/// How long one of our own holds. Short, as a key that has got away is good for so long; and long enough that a service
/// which is down for weeks is no trouble.
const LIFE: Duration = Duration::days(90);

/// A wildcard certificate of the installation's own authority.
#[derive(Debug, Clone)]
pub struct Wildcard {
    /// The certificate as PEM. Who believes the authority needs no other one.
    pub certificates: String,
    /// Its private key as PEM.
    pub key: Secret<String>,
    /// Since when it holds.
    pub valid_from: Timestamp,
    /// Until when it holds.
    pub valid_until: Timestamp,
}

impl Authority {
    /// A certificate for all names directly below a domain, with a new key.
    ///
    /// # Errors
    /// When a key or certificate cannot be made.
    pub fn wildcard(&self, domain: &DomainName, now: Timestamp) -> Result<Wildcard, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = leaf(&[wildcard_of(domain)], &[])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = OffsetDateTime::UNIX_EPOCH + Duration::seconds(now.0 / 1000) - CLOCK_SKEW;
        params.not_after = params.not_before + LIFE;
        let at = |time: OffsetDateTime| Timestamp(time.unix_timestamp() * 1000);
        let (valid_from, valid_until) = (at(params.not_before), at(params.not_after));
        let certificates = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Wildcard { certificates, key: Secret::new(key.serialize_pem()), valid_from, valid_until })
    }
}

/// When a certificate that we have made is to be made anew: when two thirds of its life are over. The last third is for
/// trouble that somebody must look at.
pub fn renewal_at(valid_from: Timestamp, valid_until: Timestamp) -> Timestamp {
    let life = i128::from(valid_until.0) - i128::from(valid_from.0);
    Timestamp((i128::from(valid_from.0) + life * 2 / 3) as i64)
}

/// A certificate that an operator has brought for console proxies as it is shown, if it is good at a time, and browsers take
/// it for all names directly below a domain.
///
/// # Errors
/// The first rule that is broken, with its field. No part of the key is in it.
pub fn checked_wildcard(
    brought: &Brought<'_>,
    domain: &DomainName,
    now: Timestamp,
) -> Result<Certificate, AppError> {
    let shown = checked(brought, now)?;
    let chain = brought.chain()?;
    let parsed = brought.parsed(&chain)?;
    let first = parsed.first().ok_or_else(|| brought.refused("must be at least one certificate"))?;
    let wanted = wildcard_of(domain);
    if !is_for(first, &wanted) {
        let rule = format!("must be for {wanted}, but the first is for {}", listed(&shown.names));
        return Err(brought.refused(rule));
    }
    must_be_for_servers(first).map_err(|rule| brought.refused(rule))?;
    Ok(shown)
}

fn wildcard_of(domain: &DomainName) -> String {
    format!("*.{domain}")
}

/// Whether one of its alternative names is this one: browsers look at no other.
fn is_for(certificate: &X509Certificate<'_>, wanted: &str) -> bool {
    let names = certificate.subject_alternative_name().ok().flatten();
    let is_wanted = |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(name) if name.eq_ignore_ascii_case(wanted));
    names.is_some_and(|names| names.value.general_names.iter().any(is_wanted))
}

fn must_be_for_servers(certificate: &X509Certificate<'_>) -> Result<(), &'static str> {
    match certificate.extended_key_usage() {
        Ok(None) => {}
        Ok(Some(usage)) if usage.value.any || usage.value.server_auth => {}
        _ => return Err("must be of a server, but the first has another use (extended key usage)"),
    }
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(_) | PublicKey::EC(_)) => Ok(()),
        _ => Err("must be for a key of RSA or ECDSA, as browsers take no others"),
    }
}

/// Some names, for a sentence.
fn listed(names: &[String]) -> String {
    /// Enough to know which certificate it is.
    const SOME: usize = 5;
    match names.len() {
        0 => "no name".to_owned(),
        1..=SOME => names.join(", "),
        count => format!("{} and {} more", names[..SOME].join(", "), count - SOME),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use podzol_rpc::{Identity, tls};
    use rcgen::{CertificateParams, DnType};
    use rustls::{ClientConnection, ServerConnection};

    use super::*;
    use crate::certificate::tests::{NOW, Pair, own, params};

    const DAY: i64 = 86_400_000;

    fn domain() -> DomainName {
        "console.example.org".parse().unwrap()
    }

    fn made(at: Timestamp) -> (Authority, Wildcard) {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path()).unwrap();
        let wildcard = authority.wildcard(&domain(), at).unwrap();
        (authority, wildcard)
    }

    /// What a browser that believes the authority says of a proxy that shows the certificate under a name.
    fn shown_to_browser(
        authority: &Authority,
        wildcard: &Wildcard,
        name: &'static str,
    ) -> Result<(), rustls::Error> {
        let identity = Identity {
            ca_pem: String::new(),
            certificate_pem: wildcard.certificates.clone(),
            key_pem: wildcard.key.clone(),
        };
        let server = Arc::new(tls::public_server_config(&identity).unwrap());
        let client = Arc::new(tls::anonymous_client_config(authority.ca_pem()).unwrap());
        let mut server = ServerConnection::new(server)?;
        let mut client = ClientConnection::new(client, name.try_into().unwrap())?;
        while client.is_handshaking() {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            client.write_tls(&mut there).unwrap();
            server.read_tls(&mut &there[..]).unwrap();
            server.process_new_packets()?;
            server.write_tls(&mut back).unwrap();
            client.read_tls(&mut &back[..]).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[track_caller]
    fn refused(pair: &Pair, field: &str, rule: &str) {
        let error = checked_wildcard(&pair.brought(), &domain(), NOW).unwrap_err().to_string();
        assert!(error.starts_with(field) && error.contains(rule), "{error}");
        assert!(!error.contains("PRIVATE"), "{error}");
    }

    fn with(change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = params(&["*.console.example.org"]);
        change(&mut params);
        own(&params)
    }

    #[test]
    fn what_our_authority_makes_would_be_taken_from_an_operator_too() {
        let now = podzol_mgmt_db::now();
        let (authority, wildcard) = made(now);
        let pair = Pair { certificates: wildcard.certificates.clone(), key: wildcard.key.clone() };
        let shown = checked_wildcard(&pair.brought(), &domain(), now).unwrap();
        assert_eq!(shown.names, ["*.console.example.org"]);
        assert_eq!(shown.expires_at, wildcard.valid_until);
        let chain = Pair { certificates: format!("{}{}", wildcard.certificates, authority.ca_pem()), ..pair };
        checked_wildcard(&chain.brought(), &domain(), now).unwrap();
    }

    #[test]
    fn a_browser_that_believes_our_authority_takes_ours_for_each_proxy_and_for_nobody_else() {
        let (authority, wildcard) = made(podzol_mgmt_db::now());
        for name in ["192-0-2-7.console.example.org", "c-sg8u91d60breakr08i1tq49vb4.console.example.org"] {
            shown_to_browser(&authority, &wildcard, name).unwrap();
        }
        for name in ["console.example.org", "a.b.console.example.org", "www.example.org"] {
            shown_to_browser(&authority, &wildcard, name).unwrap_err();
        }
        let (stranger, _) = made(podzol_mgmt_db::now());
        shown_to_browser(&stranger, &wildcard, "192-0-2-7.console.example.org").unwrap_err();
    }

    #[test]
    fn ours_holds_ninety_days_and_is_made_anew_after_sixty() {
        let (_, wildcard) = made(NOW);
        let seconds = Timestamp(NOW.0 / 1000 * 1000);
        assert_eq!(wildcard.valid_from.0, seconds.0 - DAY);
        assert_eq!(wildcard.valid_until.0, seconds.0 + 89 * DAY);
        assert_eq!(renewal_at(wildcard.valid_from, wildcard.valid_until).0, seconds.0 + 59 * DAY);
    }

    #[test]
    fn each_of_ours_has_a_key_of_its_own_which_is_not_shown() {
        let (authority, wildcard) = made(NOW);
        assert_ne!(authority.wildcard(&domain(), NOW).unwrap().key, wildcard.key);
        assert!(!format!("{wildcard:?}").contains("PRIVATE"));
    }

    #[test]
    fn ours_is_no_identity_of_a_part() {
        let (_, wildcard) = made(NOW);
        let chain = podzol_rpc::identity::certificates(&wildcard.certificates, "it").unwrap();
        podzol_rpc::peer::CallerCertificate::from_der(&chain[0]).unwrap_err();
    }

    #[test]
    fn the_time_for_another_one_is_a_function_of_the_ones_life() {
        let renewal = |from, until| renewal_at(Timestamp(from), Timestamp(until)).0;
        assert_eq!(renewal(0, 90 * DAY), 60 * DAY);
        assert_eq!(renewal(DAY, DAY), DAY);
        assert_eq!(renewal(0, i64::MAX), (i128::from(i64::MAX) * 2 / 3) as i64);
        assert_eq!(renewal(i64::MIN, i64::MAX), (i128::from(i64::MIN) + i128::from(u64::MAX) * 2 / 3) as i64);
    }

    #[test]
    fn one_for_other_names_is_refused_with_what_it_is_for() {
        let wrong = |names: &[&str]| own(&params(names));
        for names in [
            &["console.example.org"][..],
            &["192-0-2-7.console.example.org"],
            &["*.example.org"],
            &["*.other.console.example.org"],
        ] {
            let rule = format!("must be for *.console.example.org, but the first is for {}", names[0]);
            refused(&wrong(names), "tls.certificates", &rule);
        }
        refused(
            &wrong(&["a.b", "b.b", "c.b", "d.b", "e.b", "f.b", "g.b"]),
            "tls.certificates",
            "e.b and 2 more",
        );
        // A common name is not looked at any more (RFC 9525, 6.3).
        let old = with(|params| {
            params.subject_alt_names.clear();
            params.distinguished_name.push(DnType::CommonName, "*.console.example.org");
        });
        refused(&old, "tls.certificates", "must be for *.console.example.org");
    }

    #[test]
    fn one_among_other_names_and_in_other_letters_is_taken() {
        let pair = own(&params(&["console.example.org", "*.Console.Example.ORG"]));
        checked_wildcard(&pair.brought(), &domain(), NOW).unwrap();
    }

    #[test]
    fn one_that_is_out_of_its_time_or_of_another_key_is_refused() {
        refused(
            &with(|params| params.not_after = rcgen::date_time_ymd(2026, 6, 1)),
            "tls.certificates",
            "run out",
        );
        refused(
            &with(|params| params.not_before = rcgen::date_time_ymd(2026, 12, 31)),
            "tls.certificates",
            "must be valid by now",
        );
        let other = Pair { key: with(|_| ()).key, ..with(|_| ()) };
        refused(&other, "tls.key", "must be that of the first certificate");
    }

    #[test]
    fn one_for_another_use_is_refused() {
        let usage = |usage| with(|params| params.extended_key_usages = vec![usage]);
        refused(&usage(ExtendedKeyUsagePurpose::ClientAuth), "tls.certificates", "must be of a server");
        checked_wildcard(&usage(ExtendedKeyUsagePurpose::Any).brought(), &domain(), NOW).unwrap();
    }

    #[test]
    fn one_of_a_key_that_browsers_do_not_take_is_refused() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificates = params(&["*.console.example.org"]).self_signed(&key).unwrap().pem();
        let pair = Pair { certificates, key: Secret::new(key.serialize_pem()) };
        refused(&pair, "tls.certificates", "RSA or ECDSA");
    }
}
