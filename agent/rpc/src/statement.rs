//! Statements: what one part says to another through a third, which could lie about it.
//!
//! ```text
//!   part A ── signs ──▶ text ──▶ part B ── shows ──▶ part C, which believes it as if it had heard it from A
//! ```
//! A statement's text is `base64url(JSON) "." base64url(signature) "." base64url(certificate)`, without padding. The signature is
//! Ed25519 (RFC 8032) over `podzol <kind>`, a line feed, and the text before the first dot; the certificate (DER) is of the key that
//! made it. Whoever reads it needs only what it has for TLS: the certificate must be of the installation's authority and in its time,
//! and says who speaks, as [`PeerId`] does for a connection. What a statement is good for, and until when, stands in it; whether the
//! one who speaks may say that is for the reader to decide.
//!
//! As each brings its certificate, a statement holds when the part that made it is down, was started anew with another key, or
//! is one of several: nothing has to be known of keys beforehand, and nothing told when they change. It ends with its certificate.
//!
//! Design notes: the same claims give the same text while a signer lives, as Ed25519 has no chance in it: so what was told can be
//! compared with what is to be told. The key is the signer's for statements alone, for a key of TLS is of a kind that has.
//! Refused: the authority's own key, whose certificate is for certificates alone, and which may one day be kept elsewhere. A public
//! key that readers are told: one more thing to be told, kept through restarts, and changed everywhere at once. Certificates
//! between the authority's and the signer's: the authority allows none. JWT: its header lets the sender choose how it is checked.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use podzol_vocab::Invalid;
use rcgen::{KeyPair, PKCS_ED25519, SigningKey};
use rustls::SignatureScheme;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use serde::Serialize;
use serde::de::DeserializeOwned;
use x509_parser::oid_registry::OID_SIG_ED25519;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::{Identity, IdentityError};
use crate::peer::{CallerCertificate, PeerId};
use crate::tls;

/// The longest text of a statement, in bytes: three times what one takes whose certificate has one name.
pub const MAX_STATEMENT: usize = 4096;

/// What can be stated.
pub trait Statement: Serialize + DeserializeOwned {
    /// What it is, and in which form: a signature of one kind is none of another.
    const KIND: &'static str;
}

/// Makes statements.
pub struct Signer {
    key: KeyPair,
    certificate: String,
}

impl Signer {
    /// One with a key (Ed25519) and the certificate for it.
    ///
    /// # Errors
    /// When the key is of another kind.
    pub fn new(certificate: &CertificateDer<'_>, key: KeyPair) -> Result<Self, Invalid> {
        if *key.algorithm() != PKCS_ED25519 {
            return Err(Invalid::new("must be an Ed25519 key"));
        }
        Ok(Self { key, certificate: URL_SAFE_NO_PAD.encode(certificate) })
    }

    /// The text of a statement.
    ///
    /// # Panics
    /// When the statement has something that JSON lacks, such as a map whose keys are no texts.
    pub fn sign<S: Statement>(&self, statement: &S) -> String {
        let json = serde_json::to_vec(statement).expect("a statement has nothing that JSON lacks");
        let body = URL_SAFE_NO_PAD.encode(json);
        let signature = self.key.sign(&signed::<S>(&body)).expect("an Ed25519 key signs everything");
        format!("{body}.{}.{}", URL_SAFE_NO_PAD.encode(signature), self.certificate)
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

/// Why a statement is not believed. There is nothing of the statement in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// It is no statement.
    #[error("is malformed")]
    Malformed,
    /// Its certificate is not of the authority, or not in its time.
    #[error("is signed by nobody of this installation")]
    Stranger,
    /// The signature is of something else.
    #[error("has a wrong signature")]
    Signature,
    /// What it says is not of this kind, or of a version that is not known here.
    #[error("says what is not known here")]
    Unknown,
}

/// Reads statements, and knows whom to believe.
#[derive(Debug)]
pub struct Verifier(Arc<dyn ClientCertVerifier>);

impl Verifier {
    /// One that believes whom this identity's authority has certified.
    ///
    /// # Errors
    /// When the authority's certificate cannot be used.
    pub fn new(identity: &Identity) -> Result<Self, IdentityError> {
        Ok(Self(tls::verifier(identity)?.build()?))
    }

    /// What is stated, and by whom, if the certificate is good at this time (Unix seconds).
    ///
    /// # Errors
    /// See [`StatementError`].
    pub fn verify<S: Statement>(&self, text: &str, now: u64) -> Result<(PeerId, S), StatementError> {
        if text.len() > MAX_STATEMENT {
            return Err(StatementError::Malformed);
        }
        let mut parts = text.split('.');
        let (Some(body), Some(signature), Some(certificate), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(StatementError::Malformed);
        };
        let decode = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| StatementError::Malformed);
        let certificate = CertificateDer::from(decode(certificate)?);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        self.0.verify_client_cert(&certificate, &[], now).map_err(|_| StatementError::Stranger)?;
        let who = CallerCertificate::from_der(&certificate).map_err(|_| StatementError::Stranger)?.peer;
        verify_signature(&certificate, &signed::<S>(body), &decode(signature)?)?;
        let statement = serde_json::from_slice(&decode(body)?).map_err(|_| StatementError::Unknown)?;
        Ok((who, statement))
    }
}

/// What is signed of a statement.
fn signed<S: Statement>(body: &str) -> Vec<u8> {
    format!("podzol {}\n{body}", S::KIND).into_bytes()
}

/// Verifies an Ed25519 signature by a certificate's key.
fn verify_signature(certificate: &[u8], message: &[u8], signature: &[u8]) -> Result<(), StatementError> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| StatementError::Stranger)?;
    let key = certificate.public_key();
    let known = tls::provider().signature_verification_algorithms.mapping;
    let ed25519 = known.iter().find(|(scheme, _)| *scheme == SignatureScheme::ED25519);
    let ed25519 = ed25519.and_then(|(_, algorithms)| algorithms.first());
    let (true, Some(ed25519)) = (key.algorithm.algorithm == OID_SIG_ED25519, ed25519) else {
        return Err(StatementError::Signature);
    };
    ed25519
        .verify_signature(&key.subject_public_key.data, message, signature)
        .map_err(|_| StatementError::Signature)
}

#[cfg(test)]
mod tests {
    use podzol_vocab::Secret;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, SignatureAlgorithm};
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Word(String);

    impl Statement for Word {
        const KIND: &'static str = "word 1";
    }

    /// The same claims, of another kind.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Other(String);

    impl Statement for Other {
        const KIND: &'static str = "other 1";
    }

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        verifier: Verifier,
    }

    impl Authority {
        fn new() -> Self {
            let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let ca_pem = params.self_signed(&key).unwrap().pem();
            let identity =
                Identity { ca_pem, certificate_pem: String::new(), key_pem: Secret::new(String::new()) };
            let verifier = Verifier::new(&identity).unwrap();
            Self { issuer: Issuer::new(params, key), verifier }
        }

        fn signer_with(
            &self,
            key: &'static SignatureAlgorithm,
            change: impl Fn(&mut CertificateParams),
        ) -> Result<Signer, Invalid> {
            let key = KeyPair::generate_for(key).unwrap();
            let mut params = CertificateParams::new([PeerId::Management.to_string()]).unwrap();
            change(&mut params);
            Signer::new(params.signed_by(&key, &self.issuer).unwrap().der(), key)
        }

        fn signer(&self) -> Signer {
            self.signer_with(&PKCS_ED25519, |_| ()).unwrap()
        }

        fn read(&self, text: &str) -> Result<(PeerId, Word), StatementError> {
            self.verifier.verify(text, NOW)
        }
    }

    /// In the year 2026.
    const NOW: u64 = 1_780_000_000;

    fn word() -> Word {
        Word("yes".into())
    }

    #[test]
    fn a_statement_is_read_as_it_was_made_by_whom_it_was_made_and_always_the_same() {
        let (authority, word) = (Authority::new(), word());
        let signer = authority.signer();
        let text = signer.sign(&word);
        assert_eq!(authority.read(&text), Ok((PeerId::Management, word)));
        assert_eq!(signer.sign(&super::tests::word()), text);
        assert!(text.len() < MAX_STATEMENT / 3, "{}", text.len());
    }

    #[test]
    fn a_statement_holds_when_its_signer_has_another_key() {
        let authority = Authority::new();
        let text = authority.signer().sign(&word());
        drop(authority.signer());
        assert!(authority.read(&text).is_ok());
    }

    #[test]
    fn a_statement_that_was_changed_anywhere_is_not_believed() {
        let authority = Authority::new();
        let text = authority.signer().sign(&word());
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(authority.read(&changed).is_err(), "{at}: {changed}");
        }
        for changed in [
            "",
            ".",
            "..",
            "...",
            &text[1..],
            &text[..text.len() - 4],
            &format!("{text}."),
            &format!("{text}.AAAA"),
        ] {
            assert!(authority.read(changed).is_err(), "{changed}");
        }
        assert_eq!(authority.read(&"A".repeat(MAX_STATEMENT + 1)), Err(StatementError::Malformed));
    }

    #[test]
    fn a_strangers_statement_is_not_believed_nor_one_whose_certificate_has_ended() {
        let authority = Authority::new();
        let strange = Authority::new().signer().sign(&word());
        assert_eq!(authority.read(&strange), Err(StatementError::Stranger));
        let ended = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2026, 1, 1);
        let ended = authority.signer_with(&PKCS_ED25519, ended).unwrap().sign(&word());
        assert_eq!(authority.read(&ended), Err(StatementError::Stranger));
        let nobody = |params: &mut CertificateParams| params.subject_alt_names.clear();
        let nobody = authority.signer_with(&PKCS_ED25519, nobody).unwrap().sign(&word());
        assert_eq!(authority.read(&nobody), Err(StatementError::Stranger));
    }

    #[test]
    fn a_signature_of_another_kind_or_another_certificates_is_none() {
        let authority = Authority::new();
        let signer = authority.signer();
        let other = signer.sign(&Other("yes".into()));
        assert_eq!(authority.read(&other), Err(StatementError::Signature));
        let (text, theirs) = (signer.sign(&word()), authority.signer().sign(&word()));
        let (said, _) = text.rsplit_once('.').unwrap();
        let (_, certificate) = theirs.rsplit_once('.').unwrap();
        assert_eq!(authority.read(&format!("{said}.{certificate}")), Err(StatementError::Signature));
    }

    #[test]
    fn keys_of_other_kinds_make_no_statements() {
        let authority = Authority::new();
        assert!(authority.signer_with(&rcgen::PKCS_ECDSA_P256_SHA256, |_| ()).is_err());
        // Not even if their certificate stands where one of the right kind should.
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([PeerId::Management.to_string()]).unwrap();
        let certificate = params.signed_by(&key, &authority.issuer).unwrap();
        let text = authority.signer().sign(&word());
        let (said, _) = text.rsplit_once('.').unwrap();
        let text = format!("{said}.{}", URL_SAFE_NO_PAD.encode(certificate.der()));
        assert_eq!(authority.read(&text), Err(StatementError::Signature));
    }
}
