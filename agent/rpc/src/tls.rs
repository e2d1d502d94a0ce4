//! TLS settings between the parts: TLS 1.3 only, `ring` as the provider, and our own authority as the only root.

use std::path::Path;
use std::sync::Arc;

use podzol_vocab::Sha256;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ClientCertVerifierBuilder, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;

use crate::identity::{Identity, IdentityError, certificates};
use crate::peer::fingerprint;

/// Whether a server lets callers without a certificate in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// A certificate of our authority is needed to connect.
    MustShowCertificate,
    /// A caller may come without one, to join; one that is shown must be of our authority.
    MayJoin,
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn alpn() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

/// Settings for a server between the parts.
///
/// # Errors
/// When the identity cannot be used.
pub fn server_config(identity: &Identity, clients: Clients) -> Result<ServerConfig, IdentityError> {
    let builder = verifier(identity)?;
    let verifier = match clients {
        Clients::MustShowCertificate => builder.build()?,
        Clients::MayJoin => builder.allow_unauthenticated().build()?,
    };
    let (chain, key) = identity.parsed()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = alpn();
    Ok(config)
}

/// What verifies certificates of the identity's authority.
pub(crate) fn verifier(identity: &Identity) -> Result<ClientCertVerifierBuilder, IdentityError> {
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(identity.roots()?), provider()))
}

/// Settings for a server to the public: no client certificates, TLS 1.2 as well.
///
/// # Errors
/// When the identity cannot be used.
pub fn public_server_config(identity: &Identity) -> Result<ServerConfig, IdentityError> {
    let (chain, key) = identity.parsed()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = alpn();
    Ok(config)
}

/// Settings for a client that shows its identity and believes servers of our authority only.
///
/// # Errors
/// When the identity cannot be used.
pub fn client_config(identity: &Identity) -> Result<ClientConfig, IdentityError> {
    let (chain, key) = identity.parsed()?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(identity.roots()?)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = alpn();
    Ok(config)
}

/// Settings for a client without an identity that believes servers of this authority (PEM) only.
///
/// # Errors
/// When the authority's certificate cannot be used.
pub fn anonymous_client_config(ca_pem: &str) -> Result<ClientConfig, IdentityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_pem, "the authority's certificate")? {
        roots.add(certificate)?;
    }
    believing(roots)
}

/// Settings for a client that trusts the Internet's authorities as this machine does, for templates from anywhere.
///
/// # Errors
/// When the machine's list of authorities cannot be read, or has none that can be used.
pub fn public_client_config() -> Result<ClientConfig, IdentityError> {
    believing(public_roots(Path::new("/etc/ssl/certs/ca-certificates.crt"))?)
}

fn believing(roots: RootCertStore) -> Result<ClientConfig, IdentityError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn();
    Ok(config)
}

/// The authorities in a list of many: one that this library cannot read takes nothing from the others.
fn public_roots(path: &Path) -> Result<RootCertStore, IdentityError> {
    let text = std::fs::read(path).map_err(|source| IdentityError::File { path: path.to_owned(), source })?;
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).flatten()) {
        (0, _) => Err(IdentityError::NoAuthority { path: path.to_owned() }),
        _ => Ok(roots),
    }
}

/// Settings for the first call of a server that has only a join token: the authority in the server's chain must have
/// the fingerprint that the token names, and must have signed the server's certificate.
///
/// # Errors
/// When the provider does not support TLS 1.3.
pub fn pinned_client_config(authority: Sha256) -> Result<ClientConfig, IdentityError> {
    let provider = provider();
    let verifier = Arc::new(PinnedAuthority { authority, provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = alpn();
    Ok(config)
}

/// Believes a server whose chain ends in one authority, known by its fingerprint.
#[derive(Debug)]
struct PinnedAuthority {
    authority: Sha256,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = intermediates.iter().find(|certificate| fingerprint(certificate) == self.authority);
        let Some(pinned) = pinned else {
            return Err(rustls::Error::General(
                "the server's authority is not the one that the token names".into(),
            ));
        };
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone().into_owned())?;
        rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?
        .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority_pem() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&key).unwrap().pem()
    }

    fn roots(text: &str) -> Result<RootCertStore, IdentityError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        public_roots(file.path())
    }

    #[test]
    fn a_list_of_authorities_that_is_not_there_is_an_error() {
        let error = public_roots(Path::new("/nowhere/ca.crt")).unwrap_err();
        assert_eq!(error.to_string(), "cannot access /nowhere/ca.crt");
    }

    #[test]
    fn a_list_without_authorities_is_an_error() {
        assert!(matches!(roots("# none\n"), Err(IdentityError::NoAuthority { .. })));
    }

    #[test]
    fn one_bad_certificate_takes_nothing_from_the_others() {
        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(roots(&[bad, &authority_pem()].concat()).unwrap().len(), 1);
    }
}
