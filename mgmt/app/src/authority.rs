//! The installation's own certificate authority. Its key never leaves the management service.

use std::net::IpAddr;
use std::path::Path;

use podzol_rpc::identity::{certificates, write_file};
use podzol_rpc::peer::fingerprint;
use podzol_rpc::{Identity, PeerId};
use podzol_vocab::{Secret, Sha256};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};

/// How long the authority's own certificate holds.
const AUTHORITY_YEARS: i64 = 20;

/// How long a server's certificate holds. Servers are refused by revocation, not by waiting for this.
const SERVER_DAYS: i64 = 825;

/// Clocks of servers may be this much behind: one whose time zone or hardware clock is wrong is still understood.
const CLOCK_SKEW: Duration = Duration::days(1);

/// Makes certificates for servers, and for this service itself.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    fingerprint: Sha256,
}

/// Why the authority could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A certificate or key could not be made or read.
    #[error("cannot make or read a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The authority's files could not be read or written.
    #[error(transparent)]
    Identity(#[from] podzol_rpc::identity::IdentityError),
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
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, KeyPair::from_pem(&key_pem)?)?;
        Ok(Self { issuer, ca_pem, fingerprint })
    }

    /// The authority's certificate (PEM).
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
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

fn leaf(names: &[String], addresses: &[IpAddr]) -> Result<CertificateParams, rcgen::Error> {
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
