//! The installation's own certificate authority. Its key never leaves the management service.

use std::net::IpAddr;
use std::path::Path;

use podzol_rpc::identity::{certificates, write_file};
use podzol_rpc::peer::fingerprint;
use podzol_rpc::statement::Signer;
use podzol_rpc::{Identity, PeerId};
use podzol_vocab::{Invalid, Secret, Sha256};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType,
    SerialNumber,
};
use ring::hmac;
use time::{Duration, OffsetDateTime};

/// How long the authority's own certificate holds.
const AUTHORITY_YEARS: i64 = 20;

/// How long a server's certificate holds. Servers are refused by revocation, not by waiting for this.
pub(crate) const SERVER_DAYS: i64 = 825;

/// Clocks of servers may be this much behind: one whose time zone or hardware clock is wrong is still understood.
pub(crate) const CLOCK_SKEW: Duration = Duration::days(1);

/// Makes certificates for servers, and for this service itself.
pub struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    fingerprint: Sha256,
    names_key: Secret<[u8; 32]>,
    resume_key: hmac::Key,
    tickets_key: hmac::Key,
    signer: Signer,
}

/// For what the authority's key makes other keys, so that no two uses have the same.
const NAMES: &[u8] = b"podzol: opaque names of console proxies";
const RESUME: &[u8] = b"podzol: tokens by which console sessions are resumed";
const TICKETS: &[u8] = b"podzol: keys that tickets of console sessions are signed with";

/// Why the authority could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A certificate or key could not be made or read.
    #[error("cannot make or read a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The authority's files could not be read or written.
    #[error(transparent)]
    Identity(#[from] podzol_rpc::identity::IdentityError),
    /// The key for statements is not one.
    #[error("the key for statements {0}")]
    Statements(#[from] Invalid),
    /// The authority's certificate file is empty.
    #[error("the authority's file holds no certificate")]
    Empty,
    /// A file could not be read or written.
    #[error("cannot access {path}")]
    File {
        /// The file.
        path: String,
        /// What the operating system says.
        source: std::io::Error,
    },
}

impl Authority {
    /// Opens the authority in a folder, making it if there is none. The certificate is written last, so that a crash in
    /// between leaves none rather than half of one.
    ///
    /// # Errors
    /// When its files cannot be read or written.
    pub fn open(folder: &Path) -> Result<Self, AuthorityError> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |source| AuthorityError::File { path, source }
        };
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca-key.pem"));
        if !certificate.exists() {
            let (ca_pem, key_pem) = new_authority()?;
            std::fs::create_dir_all(folder).map_err(failed(folder))?;
            write_file(&key, key_pem.expose().as_bytes(), 0o600).map_err(failed(&key))?;
            write_file(&certificate, ca_pem.as_bytes(), 0o644).map_err(failed(&certificate))?;
        }
        let ca_pem = std::fs::read_to_string(&certificate).map_err(failed(&certificate))?;
        let key_pem = std::fs::read_to_string(&key).map_err(failed(&key))?;
        let der = certificates(&ca_pem, "the authority's certificate")?;
        let fingerprint = fingerprint(der.first().ok_or(AuthorityError::Empty)?);
        let key = KeyPair::from_pem(&key_pem)?;
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &key.serialize_der());
        let made_for = |purpose: &[u8]| -> [u8; 32] {
            hmac::sign(&secret, purpose).as_ref().try_into().expect("SHA-256 has 32 bytes")
        };
        let names_key = Secret::new(made_for(NAMES));
        let resume_key = hmac::Key::new(hmac::HMAC_SHA256, &made_for(RESUME));
        let tickets_key = hmac::Key::new(hmac::HMAC_SHA256, &made_for(TICKETS));
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, key)?;
        let signer = new_signer(&issuer)?;
        Ok(Self { issuer, ca_pem, fingerprint, names_key, resume_key, tickets_key, signer })
    }

    /// The authority's certificate (PEM).
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// What makes the tokens by which console sessions are resumed. It is the same as long as the authority is.
    pub(crate) fn resume_key(&self) -> &hmac::Key {
        &self.resume_key
    }

    /// What makes this service's statements. Its key is another one after each start: statements bring its certificate.
    pub(crate) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// What a key that signs tickets of console sessions is made of: another one for each number, and the same each time.
    pub(crate) fn ticket_seed(&self, number: i64) -> Secret<[u8; 32]> {
        let made = hmac::sign(&self.tickets_key, &number.to_be_bytes());
        Secret::new(made.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// What makes opaque names of console proxies. It is the same as long as the authority is.
    pub fn key_of_console_names(&self) -> Secret<[u8; 32]> {
        self.names_key.clone()
    }

    /// SHA-256 of the authority's certificate, for join tokens.
    pub fn fingerprint(&self) -> Sha256 {
        self.fingerprint
    }

    /// A certificate (PEM) for a server's own key, and its fingerprint. Nothing in the request counts but the key, whose
    /// possession its signature proves.
    ///
    /// # Errors
    /// When the request is not one.
    pub fn sign(&self, peer: PeerId, request_pem: &str) -> Result<(String, Sha256), AuthorityError> {
        let request = CertificateSigningRequestParams::from_pem(request_pem)?;
        let certificate = leaf(&[peer.to_string()], &[])?.signed_by(&request.public_key, &self.issuer)?;
        Ok((certificate.pem(), fingerprint(certificate.der())))
    }

    /// A new key and a certificate for it (both PEM), for a peer that is told who it is at its start.
    ///
    /// # Errors
    /// When a key or certificate cannot be made.
    pub fn identity_of(&self, peer: PeerId) -> Result<(String, Secret<String>), AuthorityError> {
        let key = KeyPair::generate()?;
        let certificate = leaf(&[peer.to_string()], &[])?.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), Secret::new(key.serialize_pem())))
    }

    /// Whether a certificate (PEM) is for the key in a request.
    pub fn is_for(certificate_pem: &str, request_pem: &str) -> bool {
        let key = CertificateSigningRequestParams::from_pem(request_pem).map(|request| request.public_key);
        let certificate = x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes());
        match (key, &certificate) {
            (Ok(key), Ok((_, pem))) => pem
                .parse_x509()
                .is_ok_and(|certificate| certificate.public_key().subject_public_key.data == key.der_bytes()),
            _ => false,
        }
    }

    /// A new identity for this service. `names` are the further names and addresses by which clients know it. The chain
    /// holds the authority's certificate too, for servers that have only its fingerprint.
    ///
    /// # Errors
    /// When a key or certificate cannot be made.
    pub fn own_identity(&self, names: &[String], addresses: &[IpAddr]) -> Result<Identity, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut all = vec![PeerId::Management.to_string()];
        all.extend(names.iter().cloned());
        let certificate = leaf(&all, addresses)?.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            ca_pem: self.ca_pem.clone(),
            certificate_pem: format!("{}{}", certificate.pem(), self.ca_pem),
            key_pem: Secret::new(key.serialize_pem()),
        })
    }
}

fn new_authority() -> Result<(String, Secret<String>), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Podzol installation authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = OffsetDateTime::now_utc() - CLOCK_SKEW;
    params.not_after = params.not_before + Duration::days(365 * AUTHORITY_YEARS);
    params.serial_number = Some(serial());
    Ok((params.self_signed(&key)?.pem(), Secret::new(key.serialize_pem())))
}

fn new_signer(issuer: &Issuer<'_, KeyPair>) -> Result<Signer, AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let certificate = leaf(&[PeerId::Management.to_string()], &[])?.signed_by(&key, issuer)?;
    Ok(Signer::new(certificate.der(), key)?)
}

/// A certificate for names and addresses, of a part of Podzol unless it is said otherwise.
pub(crate) fn leaf(names: &[String], addresses: &[IpAddr]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
    params.distinguished_name = name(names.first().map_or("Podzol", String::as_str));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = OffsetDateTime::now_utc() - CLOCK_SKEW;
    params.not_after = params.not_before + Duration::days(SERVER_DAYS);
    params.serial_number = Some(serial());
    Ok(params)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // A common name is at most 64 characters (RFC 5280, appendix A.1).
    name.push(DnType::CommonName, common.chars().take(64).collect::<String>());
    name
}

fn serial() -> SerialNumber {
    let mut bytes: [u8; 16] = rand::random();
    // Positive (RFC 5280, 4.1.2.2).
    bytes[0] &= 0x7f;
    SerialNumber::from_slice(&bytes)
}
