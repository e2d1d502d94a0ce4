//! The certificate that browsers are shown, which can be replaced while connections go on.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use podzol_console_proxy_api::{Certificate, Domain};
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, client::verify_server_name};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("certificate.chain: must be certificates in PEM form")]
    Chain(#[source] rustls_pki_types::pem::Error),
    #[error("certificate.chain: must not be empty")]
    Empty,
    #[error("certificate.key: must be a private key in PEM form")]
    Key,
    #[error("certificate.key: must be the certificate's")]
    Match(#[source] rustls::Error),
    #[error("certificate.chain: must be for *.{0}")]
    Name(Domain),
}

/// What is shown. Cloning is cheap, and all show the same.
#[derive(Clone, Default)]
pub(crate) struct ShownCertificate(Arc<RwLock<Option<Arc<CertifiedKey>>>>);

impl fmt::Debug for ShownCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShownCertificate")
    }
}

impl ShownCertificate {
    /// Shows another from now on. Sessions of TLS that there are go on.
    pub(crate) fn replace(&self, certificate: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(certificate));
    }
}

impl ResolvesServerCert for ShownCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads a certificate for the names below a domain.
///
/// # Errors
/// What is wrong with it; nothing of the key is in it.
pub(crate) fn read(certificate: &Certificate, domain: &Domain) -> Result<CertifiedKey, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(certificate.chain.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(CertificateError::Chain)?;
    let first = chain.first().ok_or(CertificateError::Empty)?;
    let parsed = ParsedCertificate::try_from(first).map_err(CertificateError::Match)?;
    let name = ServerName::try_from(format!("0-0-0-0.{domain}"))
        .map_err(|_| CertificateError::Name(domain.clone()))?;
    verify_server_name(&parsed, &name).map_err(|_| CertificateError::Name(domain.clone()))?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key.expose().as_bytes())
        .map_err(|_| CertificateError::Key)?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(CertificateError::Match)
}

/// TLS to browsers.
///
/// # Errors
/// When there are no random numbers, or no versions of TLS.
pub(crate) fn tls(shown: ShownCertificate) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A browser opens several connections at once: the later ones cost no signature.
    config.ticketer = Ticketer::new()?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use podzol_vocab::Secret;

    use super::*;

    fn made(name: &str) -> Certificate {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Certificate { chain: made.cert.pem(), key: Secret::new(made.signing_key.serialize_pem()) }
    }

    fn check(certificate: &Certificate, expected: &str) {
        let error = read(certificate, &"console.example".parse().unwrap()).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
    }

    #[test]
    fn a_certificate_must_be_for_the_names_below_the_domain_and_have_its_own_key() {
        let good = made("*.console.example");
        assert!(read(&good, &"console.example".parse().unwrap()).is_ok());
        check(&made("console.example"), "certificate.chain: must be for *.console.example");
        check(
            &Certificate { key: made("*.console.example").key, ..good.clone() },
            "certificate.key: must be the",
        );
        check(
            &Certificate { key: Secret::new("x".into()), ..good.clone() },
            "certificate.key: must be a private",
        );
        check(&Certificate { chain: String::new(), ..good }, "certificate.chain: must not be empty");
    }
}
